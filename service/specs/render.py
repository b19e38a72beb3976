"""Renders a spec from a request and the catalogue's templates: the same request gives the same bytes. Pure."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

from service.catalog import Catalog, Strategy, Workaround
from service.domain.errors import BadCatalog, BadSpec
from service.domain.planning import Family, StreamPolicy
from service.domain.sources import SourceFacts
from service.domain.specs import STYLES, ChangelogEntry, SpecFile, SpecRequest
from service.domain.versions import Stream, Version
from service.specs import template
from service.specs.template import comment, rpm_text
from service.specs.workarounds import applicable, build_tags, builds_in_module_mode, linker_block

# Weekday and month must be English whatever the locale says, or RPM refuses the entry.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_GO = re.compile(r"\d{1,3}\.\d{1,3}(?:\.\d{1,3})?(?:rc\d{1,2})?", re.ASCII)
_MODULE_VERSION = re.compile(r"v[0-9A-Za-z.+-]{1,80}", re.ASCII)
_LICENSE = re.compile(r"[A-Za-z0-9.+() -]{1,400}", re.ASCII)
_EVR = re.compile(r"[0-9A-Za-z.~^_+]{1,60}-[0-9A-Za-z.~^_+]{1,30}", re.ASCII)

NAMES = frozenset(
    {
        "template",
        "tag",
        "commit_comment",
        "provenance",
        "strategy_comment",
        "module",
        "prerelease",
        "linker_block",
        "module_mode",
        "guards",
        "package",
        "rpm_version",
        "upstream_version",
        "release",
        "dist_git",
        "license",
        "license_computed",
        "go",
        "stream",
        "next_stream",
        "epoch",
        "commit",
        "extra_tags",
        "changelog",
    }
)
"""Every name that a template may use."""


def render_spec(request: SpecRequest, catalog: Catalog) -> SpecFile:
    """Render the spec of ``request``, with the workarounds that apply.

    Nothing in it names the branch, so that one source package serves all branches on which the same workarounds
    apply. Raises BadSpec where the request does not fit (unknown family or strategy, facts of a wrong form, a
    changelog that does not begin with this build) and BadCatalog where the template is wrong.
    """
    family = catalog.families.get(request.family)
    if family is None:
        raise BadSpec(f"family {request.family[:40]!r} is not in the catalogue")
    policy = _check_request(request, family)
    packaging = catalog.packaging[family.name]
    stream = request.version.stream
    chosen = packaging.template(stream)
    rows = applicable(request, catalog)
    values = _values(request, catalog, family, policy, rows)
    values["template"] = rpm_text(chosen.file)
    if set(values) != NAMES:
        raise BadCatalog(f"names of the template language are out of step: {sorted(set(values) ^ NAMES)}")
    file = f"families/{family.name}/{chosen.file}"
    text = template.fill(chosen.text, file=file, stream=stream, values=values)
    beside = packaging.dist_git_files.items() if request.style == "dist-git" else ()
    return SpecFile(
        name=f"{request.package}.spec",
        text=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        workarounds=tuple(row.id for row in rows),
        package=request.package,
        version=request.version.rpm,
        release=_release(request),
        source_url=packaging.layout.source_url(request.version),
        files=packaging.files,
        dist_git_files={name.replace("{package}", request.package): text for name, text in beside},
    )


def catalogue_facts(catalog: Catalog, family: str, version: Version) -> SourceFacts:
    """Return the catalogue's facts about a source whose archive is not at hand.

    Raises BadSpec where the catalogue does not have the family or the version's stream.
    """
    known = catalog.families.get(family)
    policy = known.policy(version.stream) if known else None
    if policy is None:
        raise BadSpec(f"the catalogue has no stream {version.stream} of {family[:40]}")
    facts = policy.facts
    url = catalog.packaging[family].layout.source_url(version)
    return SourceFacts("catalogue", go=facts["go"], wazero=facts["wazero"], nri=facts["nri"], url=url)


def check_templates(catalog: Catalog) -> None:
    """Check every template of the catalogue for names and directives, also those that no stream uses today.

    Raises BadCatalog with file and line.
    """
    for name, packaging in catalog.packaging.items():
        for each in packaging.templates:
            template.check(each.text, file=f"families/{name}/{each.file}", names=NAMES)


def _check_request(request: SpecRequest, family: Family) -> StreamPolicy:
    stream, facts = request.version.stream, request.facts
    policy = family.policy(stream)
    if policy is None or stream < family.first_stream:
        raise BadSpec(f"the catalogue has no stream {stream} of {family.name}")
    if request.package != family.package(stream):
        raise BadSpec(
            f"stream {stream} is packaged as {family.package(stream)}, not {request.package[:60]!r}"
        )
    if request.release_number < 1:
        raise BadSpec(f"release number {request.release_number} is below 1")
    if not _GO.fullmatch(facts.go):
        raise BadSpec(f"{facts.go[:40]!r} is not a Go version such as 1.24.6")
    for name, value in (("wazero", facts.wazero), ("nri", facts.nri)):
        if value and not _MODULE_VERSION.fullmatch(value):
            raise BadSpec(f"{value[:40]!r} is not a version of {name} such as v1.8.2")
    if facts.commit and not _COMMIT.fullmatch(facts.commit):
        raise BadSpec(f"{facts.commit[:80]!r} is not a full git commit")
    if facts.origin not in {"archive", "catalogue"}:
        raise BadSpec(f"facts come from archive or catalogue, not from {facts.origin[:40]!r}")
    if facts.license and not _LICENSE.fullmatch(facts.license):
        raise BadSpec(f"{facts.license[:80]!r} is not an SPDX license expression")
    if request.style not in STYLES:
        raise BadSpec(f"style {request.style[:40]!r} is neither {' nor '.join(STYLES)}")
    if request.style == "dist-git":
        return policy
    planned = f"{request.version.rpm}-{_release(request)}"
    newest = request.changelog[0].evr if request.changelog else "nothing"
    if newest != planned:
        raise BadSpec(f"the changelog must begin with {planned}, not with {newest[:60]}")
    return policy


def _release(request: SpecRequest) -> str:
    """Return the spec's Release without the dist tag: below any official 1, and rising (docs: Release 0.<n>).

    In dist-git rpmautospec counts from the history; a package's first commit gives 1.
    """
    return "1" if request.style == "dist-git" else f"0.{request.release_number}"


def _values(
    request: SpecRequest, catalog: Catalog, family: Family, policy: StreamPolicy, rows: tuple[Workaround, ...]
) -> dict[str, str]:
    stream, facts = request.version.stream, request.facts
    strategy = catalog.strategies[request.strategy]
    released = datetime(*request.released_on.timetuple()[:3], tzinfo=UTC)
    packaging = catalog.packaging[family.name]
    return {
        "tag": request.version.tag,
        "commit_comment": f", commit {facts.commit}" if facts.commit else "",
        "provenance": _provenance(request, family, confirmed=policy.confirmed),
        "strategy_comment": _strategy_comment(request, strategy, rows),
        "module": packaging.layout.module,
        "prerelease": request.version.pre,
        "linker_block": linker_block(rows),
        "module_mode": "yes" if builds_in_module_mode(rows) else "",
        "guards": "yes" if strategy.guards else "",
        "package": request.package,
        "rpm_version": request.version.rpm,
        "upstream_version": str(request.version),
        "release": _release(request),
        "dist_git": "yes" if request.style == "dist-git" else "",
        "license": rpm_text(facts.license or policy.facts["license"]),
        "license_computed": rpm_text(facts.licensed_by) if facts.license else "",
        "go": facts.go,
        "stream": str(stream),
        "next_stream": str(Stream(stream.major, stream.minor + 1)),
        "epoch": str(int(released.timestamp())),
        "commit": facts.commit,
        "extra_tags": "".join(f" {tag}" for tag in build_tags(rows)),
        "changelog": _changelog(request.changelog, packaging.changelog_author),
    }


def _strategy_comment(request: SpecRequest, strategy: Strategy, rows: tuple[Workaround, ...]) -> str:
    why = strategy.why
    if not rows and strategy.id != "none":
        why = "no workaround applies, because this source does not vendor wazero."
    reason = comment(f"Strategy {strategy.id}: {why}")
    return f"{reason}\n{comment(f'See {strategy.reference}')}" if strategy.reference and rows else reason


def _provenance(request: SpecRequest, family: Family, *, confirmed: bool) -> str:
    facts = request.facts
    vendored = ", ".join(
        f"{name} {value}" if value else f"no {name}"
        for name, value in (("wazero", facts.wazero), ("NRI", facts.nri))
    )
    said = f"Go {facts.go}, {vendored}"
    if facts.origin == "archive":
        digest = f" (sha256 {facts.sha256})" if re.fullmatch(r"[0-9a-f]{64}", facts.sha256) else ""
        text = f"Read from the source archive{digest}: {said}."
    else:
        text = (
            f"Taken from the catalogue, because no source archive was at hand: {said}. "
            "The archive may say otherwise, and it wins."
        )
    lines = [comment(text)]
    stream = request.version.stream
    if stream not in family.streams:
        lines.append(
            comment(
                f"Stream {stream} is newer than the catalogue, so this is the template of {family.newest_known}: "
                "compare it with upstream's changes before a build of it is shipped."
            )
        )
    elif not confirmed:
        lines.append(comment(f"Nobody has confirmed yet what the catalogue says of stream {stream}."))
    return "\n".join(lines)


def _changelog(entries: tuple[ChangelogEntry, ...], author: str) -> str:
    blocks = []
    for entry in entries:
        if not _EVR.fullmatch(entry.evr):
            raise BadSpec(f"{entry.evr[:60]!r} is not a version-release for the changelog")
        day = entry.day
        date = f"{_DAYS[day.weekday()]} {_MONTHS[day.month - 1]} {day.day:02d} {day.year}"
        text = rpm_text(entry.text) or "No text"
        blocks.append(f"* {date} {rpm_text(author)} - {entry.evr}\n- {text}")
    return "\n\n".join(blocks)
