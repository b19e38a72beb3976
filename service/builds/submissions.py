"""Record a build's way to the build system: source facts, release number, submission key, and the build there.

The submission key is committed before anything is uploaded, so that a build whose worker was killed meanwhile can be
found again. Each function is one transaction and commits, unless it takes a ``Session``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.builds.claims import BuildWork, claimed_build, take_lease, work_of
from service.builds.follow_ups import look_for_surplus
from service.domain.reports import BuildRef, SubmissionKey
from service.domain.sources import NOT_COMPUTED, SourceFacts, computed_license, license_holds
from service.domain.specs import ChangelogEntry, SpecFile
from service.domain.states import BuildState, ChrootState
from service.releases.planning import note_commit
from service.store.schema import (
    ChrootBuild,
    PackageBuild,
    PackageSrpm,
    PackageStream,
    UpstreamRelease,
    VendoredModules,
)
from service.store.session import Database, database_now
from service.store.transitions import move_build, move_chroot, note_event

CHANGELOG_LENGTH = 15
_LICENSE_FACTS = ("license", "licensed_by", "license_accepted_by", "license_waits")


@dataclass(frozen=True)
class ReleaseNumber:
    """The n of Release ``0.<n>`` of one SRPM content, when it was made, and the changelog, newest entry first."""

    number: int
    made_on: datetime
    changelog: tuple[ChangelogEntry, ...]


@dataclass(frozen=True)
class RecordedSource:
    """What is known of a release's source after recording it.

    ``contradiction`` says why the source is not the one seen before; it is empty where it is the same. ``released_on``
    is fixed by the first record: it stands in the spec, and what upstream's list says of the day later must not make
    another content of the same source. ``facts`` are the release's facts as they are stored now, ``license_before`` is
    the license of the stream's last release whose license holds.
    """

    contradiction: str
    released_on: date
    facts: Mapping[str, Any] = field(default_factory=dict)
    license_before: str = ""


def record_source_facts(db: Database, release_id: int, facts: SourceFacts) -> RecordedSource:
    """Store the facts that were read from a release's source archive, and the day of the release. Commits.

    Where the archive or its commit is not the one seen before, nothing but a mark on the release is stored.
    """
    with db.transaction() as session:
        release = session.scalars(
            select(UpstreamRelease).where(UpstreamRelease.id == release_id).with_for_update()
        ).one()
        known_day = release.facts.get("released_on")
        released_at = release.published_at or release.first_seen_at
        day = date.fromisoformat(str(known_day)) if known_day else released_at.date()
        before = str(release.facts.get("sha256", ""))
        if before and before != facts.sha256:
            change = f"sha256 {before[:12]} to {facts.sha256[:12]}"
            release.mark = f"the source archive changed from {change}; nothing is rebuilt"
            what = f"the source archive of {release.tag} is not the one seen before ({release.mark})"
            return RecordedSource(what, day)
        if facts.commit and note_commit(release, facts.commit):
            what = f"{release.mark}: the archive is not of the commit that was announced"
            return RecordedSource(what, day)
        # A license that was computed once stays: another worker may lack the tool, and a person may have agreed.
        settled = computed_license(release.facts)
        told = {key: release.facts.get(key, "") for key in _LICENSE_FACTS if settled}
        release.facts = {
            "origin": facts.origin, "go": facts.go, "wazero": facts.wazero, "nri": facts.nri,
            "commit": facts.commit, "sha256": facts.sha256, "url": facts.url, "size": facts.size,
            "partial": facts.partial, "released_on": day.isoformat(),
            "license": facts.license or NOT_COMPUTED, "licensed_by": facts.licensed_by, **told,
        }  # fmt: skip
        _keep_modules(session, release.id, facts.modules)
        return RecordedSource("", day, release.facts, license_before(session, release))


def _keep_modules(session: Session, release_id: int, modules: Mapping[str, str]) -> None:
    """Write down what a release vendors, once. The release's row must be locked; the caller commits."""
    known = select(VendoredModules.id).where(VendoredModules.release_id == release_id)
    if modules and session.scalar(known) is None:
        session.add(VendoredModules(release_id=release_id, modules=dict(modules)))


def license_before(session: Session, release: UpstreamRelease) -> str:
    """Return the license of the stream's newest older release whose license was computed and holds; else empty text.

    A release whose license waits for a person's decision is passed over. Reads only.
    """
    older = session.scalars(
        select(UpstreamRelease.facts)
        .where(
            UpstreamRelease.family == release.family,
            UpstreamRelease.stream == release.stream,
            UpstreamRelease.sort_key < release.sort_key,
        )
        .order_by(UpstreamRelease.sort_key.desc())
    )
    return next((computed_license(facts) for facts in older if license_holds(facts)), "")


def note_license_question(db: Database, release_id: int) -> None:
    """Record that a release's license waits for a person's decision, before its builds are held for it. Commits."""
    with db.transaction() as session:
        release = session.scalars(
            select(UpstreamRelease).where(UpstreamRelease.id == release_id).with_for_update()
        ).one()
        release.facts = {**release.facts, "license_waits": True}


def mark_release(db: Database, release_id: int, mark: str) -> None:
    """Put a mark on a release, which its page shows. Commits."""
    with db.transaction() as session:
        release = session.get_one(UpstreamRelease, release_id)
        release.mark = mark


def reserve_release_number(db: Database, work: BuildWork, *, content_sha256: str, why: str) -> ReleaseNumber:
    """Return the release number of an SRPM's content; a content that is new to the package gets the next. Commits.

    The number never falls for a package, so that no two SRPMs of different content have the same NEVRA. ``why`` becomes
    the text of the changelog's entry.
    """
    with db.transaction() as session:
        stream = session.scalars(
            select(PackageStream)
            .where(PackageStream.family == work.family, PackageStream.package == work.package)
            .with_for_update()
        ).one()
        known = session.scalars(
            select(PackageSrpm).where(
                PackageSrpm.package == work.package, PackageSrpm.content_sha256 == content_sha256
            )
        ).one_or_none()
        if known is None:
            stream.last_release_number += 1
            known = PackageSrpm(
                package=work.package,
                version=work.version,
                number=stream.last_release_number,
                content_sha256=content_sha256,
                made_on=database_now(session),
                why=why,
            )
            session.add(known)
            session.flush()
        rows = session.scalars(
            select(PackageSrpm)
            .where(PackageSrpm.package == work.package, PackageSrpm.number <= known.number)
            .order_by(PackageSrpm.number.desc())
            .limit(CHANGELOG_LENGTH)
        )
        changelog = tuple(
            ChangelogEntry(
                day=row.made_on.date(), evr=f"{row.version.replace('-', '~')}-0.{row.number}", text=row.why
            )
            for row in rows
        )
        return ReleaseNumber(known.number, known.made_on, changelog)


def begin_submit(
    db: Database,
    work: BuildWork,
    *,
    spec: SpecFile,
    srpm_name: str | None,
    srpm_sha256: str | None,
    release_number: int | None,
    key: SubmissionKey,
    fence: Mapping[str, Any],
    lease_seconds: float,
) -> BuildWork | None:
    """Record what is about to be submitted, and under which key, before it is uploaded (T4). Commits.

    Returns the work under a new lease, or None if nothing may be submitted: the lease was lost, or somebody asked for
    a cancel meanwhile, and then the build is ended as canceled here.
    """
    with db.transaction() as session:
        build = claimed_build(session, work)
        if build is None:
            return None
        now = database_now(session)
        if build.cancel_requested:
            move_build(session, build, BuildState.CANCELED, at=now, reason=build.cancel_requested)
            return None
        build.spec_text = spec.text
        build.spec_sha256 = spec.sha256
        build.workarounds = list(spec.workarounds)
        build.srpm_name = srpm_name
        build.srpm_sha256 = srpm_sha256
        build.release_number = release_number
        build.submission_key = str(key)
        build.fence = dict(fence)
        build.submissions = 1
        move_build(
            session, build, BuildState.SUBMITTING, at=now, reason="",
            due_at=now + timedelta(seconds=lease_seconds),
        )  # fmt: skip
        what = srpm_name or "a commit of dist-git"
        note_event(session, build, at=now, kind="submission", text=f"{what}, submission key {key}")
        token = take_lease(build, now, lease_seconds)
        return work_of(build, token, now=now, max_tries=build.tries + work.tries_left)


def begin_resubmit(db: Database, work: BuildWork, *, fence: Mapping[str, Any], lease_seconds: float) -> bool:
    """Record, before the upload, that a build is submitted again because a certain search found nothing. Commits.

    Returns False if the lease was lost; then nothing may be submitted.
    """
    with db.transaction() as session:
        build = claimed_build(session, work)
        if build is None:
            return False
        now = database_now(session)
        build.submissions += 1
        build.fence = {key: value for key, value in fence.items() if key != "doubt_since"}
        build.lease_until = now + timedelta(seconds=lease_seconds)
        build.due_at = build.lease_until
        note_event(
            session, build, at=now, kind="submission",
            text="a certain search found no earlier submission; submitting again under the same key",
        )  # fmt: skip
        return True


def note_doubt(db: Database, work: BuildWork) -> float | None:
    """Return the seconds since a search first looked for this submission; the first call starts the clock. Commits.

    None: the lease was lost.
    """
    with db.transaction() as session:
        build = claimed_build(session, work)
        if build is None:
            return None
        now = database_now(session)
        fence = dict(build.fence or {})
        since = fence.get("doubt_since")
        if since is None:
            fence["doubt_since"] = now.isoformat()
            build.fence = fence
            note_event(
                session,
                build,
                at=now,
                kind="submission",
                text="looking for an earlier submission under this key",
            )
            return 0.0
        return max((now - datetime.fromisoformat(str(since))).total_seconds(), 0.0)


def record_submission(
    db: Database,
    work: BuildWork,
    ref: BuildRef,
    *,
    skipped: Mapping[str, str],
    adopted: bool,
    poll_seconds: float,
    surplus_seconds: float,
) -> bool:
    """Record the build that the build system made of a submission, or that was adopted, as running (T5). Commits.

    ``skipped`` maps chroots that were left out of the submission to the reason. Returns False if the lease was lost:
    then the answer becomes a line of history, and a follow-up looks for a surplus build.
    """
    with db.transaction() as session:
        now = database_now(session)
        build = claimed_build(session, work)
        if build is None:
            stale = session.get_one(PackageBuild, work.id, with_for_update=True)
            note_event(
                session, stale, at=now, kind="submission",
                text=f"{ref.system} build {ref.external_id} was answered to a worker whose lease had ended",
            )  # fmt: skip
            look_for_surplus(session, stale, now, delay_seconds=surplus_seconds)
            return False
        build.external_id = ref.external_id
        build.web_url = ref.web_url
        build.submitted_at = now
        for chroot in dict.fromkeys(work.target.chroots):
            row = ChrootBuild(build_id=build.id, chroot=chroot, state=ChrootState.PENDING.value)
            session.add(row)
            session.flush()
            if chroot in skipped:
                move_chroot(session, build, row, ChrootState.SKIPPED, at=now, reason=skipped[chroot])
        verb = "adopted" if adopted else "accepted"
        move_build(
            session,
            build,
            BuildState.RUNNING,
            at=now,
            reason="",
            due_at=now + timedelta(seconds=poll_seconds),
        )
        note_event(
            session, build, at=now, kind="submission", text=f"{verb}: {ref.system} build {ref.external_id}"
        )
        if adopted or build.submissions > 1:
            look_for_surplus(session, build, now, delay_seconds=surplus_seconds)
        return True
