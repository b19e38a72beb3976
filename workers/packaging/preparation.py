"""From a planned build to its SRPM: sources, facts, spec, check, release number, rpmbuild."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import structlog

from service.builds.claims import BuildWork
from service.builds.submissions import note_license_question, record_source_facts, reserve_release_number
from service.domain.errors import DomainError
from service.domain.reports import Srpm
from service.domain.sources import SourceFacts, computed_license, license_question
from service.domain.specs import ChangelogEntry, SpecFile, SpecRequest
from service.domain.versions import Version
from service.specs.render import render_spec
from workers.context import Context
from workers.packaging.licenses import Computed, compute, same
from workers.packaging.spec_check import SpecRefused, check_spec
from workers.packaging.spec_lint import lint_spec
from workers.packaging.srpm import SrpmFailed, build_srpm
from workers.sources.archives import SourceRefused, inspect
from workers.sources.fetch import SourceUnavailable, fetch

log = structlog.get_logger()
LOCK_SECONDS = 60.0


class PreparationFailed(Exception):
    """The package itself is at fault; ``str(error)`` is the reason that the build's page shows."""


class SrpmLost(Exception):
    """The SRPM of the first submission is gone and cannot be made again: our fault, not the package's."""


class LicenseQuestion(Exception):
    """A person must look at the license first; ``str(error)`` says what changed and how to go on."""


@dataclass(frozen=True)
class Prepared:
    """What is ready to be submitted."""

    spec: SpecFile
    srpm: Srpm
    release_number: int


def prepare_srpm(ctx: Context, work: BuildWork) -> Prepared:
    """Fetch, inspect, render, check and pack. Repeatable: the same inputs give the same SRPM, byte by byte.

    Raises SourceUnavailable, SourceChanged, SourceRefused, LicenseQuestion, PreparationFailed, and OSError for our
    own machine's sake.
    """
    version = Version.parse(work.version)
    archive, facts, day = _sources(ctx, work, version)
    try:
        # The number depends on the content and stands in the spec: content is judged with a fixed number and entry.
        draft = render_spec(_request(work, version, facts, day, 1, _draft_changelog(work)), ctx.catalog)
        reserved = reserve_release_number(
            ctx.db, work, content_sha256=_content_sha256(draft, facts), why=_why(work)
        )
        spec = render_spec(
            _request(work, version, facts, day, reserved.number, reserved.changelog), ctx.catalog
        )
        check_spec(spec, branch=work.target.branch, archive=archive.name)
        if note := lint_spec(spec, branch=work.target.branch):
            log.warning(note, build=work.id, spec=spec.name)
    except (DomainError, SpecRefused) as error:
        raise PreparationFailed(f"spec: {error}") from error
    srpm = _pack(ctx, work, spec, archive, reserved.made_on)
    return Prepared(spec, srpm, reserved.number)


def prepare_commit_files(ctx: Context, work: BuildWork) -> tuple[SpecFile, Path]:
    """The spec in the dist-git style, checked, and the upstream archive on disk: what a commit is made of.

    Raises what ``prepare_srpm`` raises.
    """
    version = Version.parse(work.version)
    archive, facts, day = _sources(ctx, work, version)
    try:
        spec = render_spec(_request(work, version, facts, day, 1, ()), ctx.catalog)
        check_spec(spec, branch=work.target.branch)
    except (DomainError, SpecRefused) as error:
        raise PreparationFailed(f"spec: {error}") from error
    return spec, archive


def restore_srpm(ctx: Context, work: BuildWork) -> Srpm:
    """The SRPM that was written down before the submission: from disk, else made again and compared.

    Raises SrpmLost where it cannot be made again byte by byte, and what ``prepare_srpm`` raises.
    """
    path = _srpm_folder(ctx, work) / str(work.srpm_name)
    if path.is_file():
        digest = _file_sha256(path)
        if digest == work.srpm_sha256:
            return Srpm(path, path.name, digest, path.stat().st_size)
    made = prepare_srpm(ctx, work).srpm
    if made.sha256 != work.srpm_sha256:
        raise SrpmLost(
            "the SRPM of the first submission is lost and cannot be made again byte by byte; retry the build"
        )
    return made


def _sources(ctx: Context, work: BuildWork, version: Version) -> tuple[Path, SourceFacts, date]:
    packaging = ctx.catalog.packaging[work.family]
    family = ctx.catalog.families[work.family]
    name = packaging.layout.source_name(version)
    url = ctx.settings.source_url_template.format(
        repository=family.repository, tag=work.tag, name=family.repository.rpartition("/")[2], version=version
    )
    folder = ctx.settings.state_dir / "sources" / work.family / str(version)
    known = str(work.facts.get("sha256", "")) or None
    # Four targets of one release start at once; one of them downloads, the others wait for its file.
    with locked(folder):
        fetched = fetch(url, folder / name, known_sha256=known)
        try:
            facts = inspect(fetched.path, version, packaging.layout)
        except SourceRefused:
            # What was refused must not be taken for the release's source by the next attempt.
            fetched.path.unlink(missing_ok=True)
            raise
        found = _license(fetched.path, packaging.layout.root_folder(version), fetched.sha256)
    facts = replace(
        facts,
        sha256=fetched.sha256,
        url=url,
        size=fetched.size,
        modules=facts.modules,
        license=found.expression,
        licensed_by=found.by,
    )
    recorded = record_source_facts(ctx.db, work.release_id, facts)
    if recorded.contradiction:
        raise SourceRefused(recorded.contradiction)
    kept, before = computed_license(recorded.facts), recorded.license_before
    question = license_question(recorded.facts, before, same=same(kept, before))
    if question:
        note_license_question(ctx.db, work.release_id)
        raise LicenseQuestion(question)
    facts = replace(facts, license=kept, licensed_by=str(recorded.facts.get("licensed_by", "")))
    return fetched.path, facts, recorded.released_on


def _license(archive: Path, root: str, sha256: str) -> Computed:
    """Computed once an archive, and kept beside it: it takes minutes, and four targets of a release want it."""
    note = archive.with_name(f"{archive.name}.license.json")
    with suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["sha256"] == sha256:
            return Computed(str(known["expression"]), str(known["by"]))
    found = compute(archive, root, folder=archive.parent)
    if found.expression:
        text = json.dumps({"sha256": sha256, "expression": found.expression, "by": found.by})
        note.write_text(text, encoding="utf-8")
    return found


def _request(
    work: BuildWork,
    version: Version,
    facts: SourceFacts,
    day: date,
    number: int,
    changelog: tuple[ChangelogEntry, ...],
) -> SpecRequest:
    return SpecRequest(
        family=work.family,
        package=work.package,
        version=version,
        branch=work.branch,
        strategy=work.strategy,
        style=work.target.style,
        facts=facts,
        release_number=number,
        released_on=day,
        changelog=changelog,
    )


def _draft_changelog(work: BuildWork) -> tuple[ChangelogEntry, ...]:
    version = Version.parse(work.version)
    return (ChangelogEntry(datetime(2000, 1, 1, tzinfo=UTC).date(), f"{version.rpm}-0.1", "draft"),)


def _why(work: BuildWork) -> str:
    return f"Update to upstream {work.tag}"


def _content_sha256(draft: SpecFile, facts: SourceFacts) -> str:
    digest = hashlib.sha256()
    for part in (
        draft.text,
        facts.sha256,
        *(f"{name}\n{text}" for name, text in sorted(draft.files.items())),
    ):
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()


def _pack(ctx: Context, work: BuildWork, spec: SpecFile, archive: Path, made_on: datetime) -> Srpm:
    folder = _srpm_folder(ctx, work)
    midnight = int(made_on.replace(hour=0, minute=0, second=0, microsecond=0).timestamp())
    try:
        with locked(folder):
            return build_srpm(spec, [archive], directory=folder, epoch=midnight)
    except SrpmFailed as error:
        raise PreparationFailed(f"SRPM: {error}") from error


def _srpm_folder(ctx: Context, work: BuildWork) -> Path:
    return ctx.settings.state_dir / "srpms" / work.package


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """One process at a time in a folder of the state directory; the kernel frees the lock of a killed one.

    Raises SourceUnavailable where the other one takes longer than LOCK_SECONDS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # Waiting for a slow download would keep this worker from everything else that is due.
                if time.monotonic() > deadline:
                    raise SourceUnavailable(f"another worker is busy with {folder.name}") from None
                time.sleep(0.05)
        yield folder


def _file_sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
