"""Store upstream's releases and plan their builds; mark withdrawn releases and moved tags.

Planning can be repeated at any time: it adds only what is missing. The callers commit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.catalog import Catalog
from service.domain.planning import BuildTarget, Family, PlannedBuild, plan, superseded_by
from service.domain.states import BuildState, ReleaseState
from service.domain.versions import Stream, Version
from service.store.options import stored_options
from service.store.schema import PackageBuild, PackageStream, UpstreamRelease
from service.store.transitions import move_build, move_release, start_build

# The origin of a release that a maintainer asked for, whoever else told of it before or later.
BY_HAND = "maintainer"


@dataclass(frozen=True)
class Announcement:
    """What is told about a release by its ``origin``: a webhook, upstream's list, or a maintainer.

    ``bugs`` are the numbers in Fedora's Bugzilla that ask for the release; those told before stay.
    """

    origin: str
    prerelease: bool = False
    published_at: datetime | None = None
    html_url: str = ""
    commit: str = ""
    delivery_id: int | None = None
    bugs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Announced:
    """The result of planning a release in one sentence, and the ids of builds that are now due."""

    sentence: str
    builds: tuple[int, ...] = ()


def announce(
    session: Session, catalog: Catalog, family: Family, version: Version, told: Announcement, *, at: datetime
) -> Announced:
    """Store a release and plan its builds; repeating it only adds facts that were missing. The caller commits."""
    lock_stream(session, family, version.stream)
    release = find_release(session, family, version)
    if release is None:
        release = UpstreamRelease(
            family=family.name,
            version=str(version),
            sort_key=version.sort_key,
            stream=str(version.stream),
            tag=version.tag,
            first_seen_at=at,
            origin=told.origin,
            delivery_id=told.delivery_id,
            state=ReleaseState.KNOWN.value,
            facts={},
        )
        session.add(release)
    elif release.state == ReleaseState.WITHDRAWN:
        release.mark = f"published again after it was withdrawn ({release.reason})"
        move_release(release, ReleaseState.KNOWN, reason="")
    if told.origin == BY_HAND:
        release.origin = BY_HAND
    if told.delivery_id is not None and release.delivery_id is None:
        # Upstream's list may be read between a delivery's arrival and its turn.
        release.delivery_id = told.delivery_id
        release.origin = BY_HAND if release.origin == BY_HAND else told.origin
    release.prerelease = told.prerelease or (told.origin == BY_HAND and release.prerelease)
    release.published_at = told.published_at or release.published_at
    release.html_url = told.html_url or release.html_url
    release.bugs = sorted({*(release.bugs or ()), *told.bugs})
    if told.commit:
        note_commit(release, told.commit)
    session.flush()
    return plan_release(session, catalog, family, release, at=at)


def plan_release(
    session: Session, catalog: Catalog, family: Family, release: UpstreamRelease, *, at: datetime
) -> Announced:
    """Add the builds of a release that the catalogue wants and that it does not have. The caller commits.

    Existing builds stay as they are. A release that is older than the newest planned patch of its stream gets builds
    in state superseded when it is planned first, and nothing later.
    """
    version = Version.parse(release.version)
    if release.state == ReleaseState.WITHDRAWN:
        return Announced(f"{version.tag} is withdrawn: {release.reason}")
    decision = plan(
        version,
        # A pre-release is built where somebody asked for it by name, and stays so whenever it is planned again.
        family=family.with_prereleases() if release.origin == BY_HAND else family,
        targets=catalog.targets,
        branches=catalog.branches,
        today=at.date(),
        marked_prerelease=release.prerelease,
    )
    first_time = release.state != ReleaseState.PLANNED
    if decision.state is ReleaseState.UNSUPPORTED:
        if release.state == ReleaseState.KNOWN:
            move_release(release, decision.state, reason=decision.reason)
        elif release.state == ReleaseState.UNSUPPORTED:
            release.reason = decision.reason
        elif release.prerelease and not handed_over(session, release):
            # Upstream says only now that it is a pre-release: what has not begun is left to its claim to cancel.
            move_release(release, decision.state, reason=decision.reason)
        return Announced(f"{version.tag} is not built: {decision.reason}")
    if first_time:
        move_release(release, ReleaseState.PLANNED, reason="")
    newer = superseded_by(version, planned_versions(session, family, version.stream))
    if newer is not None and not first_time:
        return Announced(f"{version.tag} stays as it is: {newer.tag} is newer")
    last: dict[str, int] = {}
    have: set[str] = set()
    for build in session.scalars(select(PackageBuild).where(PackageBuild.release_id == release.id)):
        last[build.target] = max(build.attempt, last.get(build.target, 0))
        if newer is not None or not _ended_unbegun(build):
            have.add(build.target)
    made = [
        _insert_build(
            session, release, planned, attempt=last.get(planned.target.id, 0) + 1, at=at, newer=newer
        )
        for planned in decision.builds
        if planned.target.id not in have
    ]
    if newer is not None:
        return Announced(f"{version.tag} is superseded: {newer.tag} is newer and planned already")
    _supersede_older(session, release, decision.builds, at=at)
    due = tuple(build.id for build in made)
    package = family.package(version.stream)
    if due:
        places = ", ".join(build.target for build in made)
        return Announced(f"{package} {version} is planned for {places}", due)
    return Announced(f"{package} {version} has all its builds already")


def _ended_unbegun(build: PackageBuild) -> bool:
    """Whether we ended a build before it was handed over, for a reason that may be gone: nobody asked for that.

    A release that is published again, or whose newer patch was withdrawn, would otherwise never be built.
    """
    ended = build.state in (BuildState.CANCELED, BuildState.SUPERSEDED)
    return ended and build.submission_key is None and not build.cancel_requested


def lock_stream(session: Session, family: Family, stream: Stream) -> PackageStream:
    """Return the stream's row, added if it is missing and locked, so that a stream is planned by one at a time.

    The lock lasts until the caller ends the transaction.
    """
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    session.execute(
        insert(PackageStream)
        .values(
            family=family.name,
            stream=str(stream),
            sort_key=f"{stream.major:06d}.{stream.minor:06d}",
            package=family.package(stream),
            last_release_number=0,
        )
        .on_conflict_do_nothing(index_elements=["family", "stream"])
    )
    return session.scalars(
        select(PackageStream)
        .where(PackageStream.family == family.name, PackageStream.stream == str(stream))
        .with_for_update()
    ).one()


def add_attempt(
    session: Session,
    release: UpstreamRelease,
    planned: PlannedBuild,
    *,
    at: datetime,
    requested_by: str | None,
) -> PackageBuild:
    """Add a further attempt at a cell, due now, and return it.

    The caller holds the stream's lock, has checked that no attempt is live, and commits.
    """
    last = session.scalar(
        select(func.max(PackageBuild.attempt)).where(
            PackageBuild.release_id == release.id, PackageBuild.target == planned.target.id
        )
    )
    return _insert_build(
        session, release, planned, attempt=(last or 0) + 1, at=at, newer=None, requested_by=requested_by
    )


def planned_versions(session: Session, family: Family, stream: Stream) -> Iterable[Version]:
    """Return the versions of a stream whose releases are planned. Reads only."""
    texts = session.scalars(
        select(UpstreamRelease.version).where(
            UpstreamRelease.family == family.name,
            UpstreamRelease.stream == str(stream),
            UpstreamRelease.state == ReleaseState.PLANNED.value,
        )
    )
    return [Version.parse(text) for text in texts]


def find_release(
    session: Session, family: Family, version: Version, *, lock: bool = False
) -> UpstreamRelease | None:
    """Return the release of a family with this version, or None if we do not know it. ``lock`` locks its row."""
    r = UpstreamRelease
    statement = select(r).where(r.family == family.name, r.version == str(version))
    return session.scalars(statement.with_for_update() if lock else statement).one_or_none()


def withdraw(session: Session, family: Family, version: Version, *, at: datetime, reason: str) -> bool:
    """Mark a release as withdrawn and return whether we knew it. The caller commits.

    Its builds stay. Those that have not begun are canceled with this reason when they are claimed.
    """
    release = find_release(session, family, version, lock=True)
    if release is None:
        return False
    if release.state != ReleaseState.WITHDRAWN:
        move_release(release, ReleaseState.WITHDRAWN, reason=reason)
        release.mark = f"withdrawn {at:%Y-%m-%d %H:%M} UTC: {reason}"
    return True


def note_commit(release: UpstreamRelease, commit: str) -> bool:
    """Store the commit of a release's tag, or mark that the tag has moved, and return whether it has.

    Nothing is rebuilt for a moved tag. The caller commits.
    """
    if not release.commit:
        release.commit = commit
        return False
    if release.commit == commit:
        return False
    if not release.facts.get("sha256"):
        moved = f"tag moved from {release.commit[:12]} to {commit[:12]}"
        release.mark = f"{moved} before its source was fetched; the new one counts"
        release.commit = commit
        return True
    release.mark = (
        f"tag moved from {release.commit[:12]} to {commit[:12]}; existing builds stay and nothing is rebuilt"
    )
    return True


def handed_over(session: Session, release: UpstreamRelease) -> bool:
    """Return whether any build of the release was ever submitted to a build system. Reads only."""
    return bool(
        session.scalar(
            select(func.count())
            .select_from(PackageBuild)
            .where(PackageBuild.release_id == release.id, PackageBuild.submission_key.is_not(None))
        )
    )


def _insert_build(
    session: Session,
    release: UpstreamRelease,
    planned: PlannedBuild,
    *,
    attempt: int,
    at: datetime,
    newer: Version | None,
    requested_by: str | None = None,
) -> PackageBuild:
    target: BuildTarget = planned.target
    build = PackageBuild(
        release_id=release.id,
        target=target.id,
        attempt=attempt,
        family=release.family,
        stream=release.stream,
        package=planned.package,
        version=release.version,
        sort_key=release.sort_key,
        branch=target.branch.name,
        dist=target.branch.dist,
        system=target.system,
        project=target.project,
        options=stored_options(target),
        strategy=planned.strategy,
        created_at=at,
        deadline_at=at + target.deadline,
        requested_by=requested_by,
    )
    why = f"attempt {attempt}, asked for by {requested_by}" if requested_by else f"planned for {target.id}"
    start_build(session, build, at=at, text=why)
    if newer is not None:
        move_build(
            session,
            build,
            BuildState.SUPERSEDED,
            at=at,
            reason=f"{newer.tag} was known before this older patch",
        )
    return build


def _supersede_older(
    session: Session, release: UpstreamRelease, builds: Iterable[PlannedBuild], *, at: datetime
) -> None:
    older = session.scalars(
        select(PackageBuild)
        .where(
            PackageBuild.family == release.family,
            PackageBuild.stream == release.stream,
            PackageBuild.sort_key < release.sort_key,
            PackageBuild.target.in_([planned.target.id for planned in builds]),
            PackageBuild.state.in_([BuildState.PENDING.value, BuildState.HELD.value]),
            PackageBuild.requested_by.is_(None),
            # A held build that was handed over may exist at the other side: a person decides about it.
            PackageBuild.submission_key.is_(None),
        )
        .order_by(PackageBuild.id)
        .with_for_update()
    )
    for build in older:
        move_build(
            session,
            build,
            BuildState.SUPERSEDED,
            at=at,
            reason=f"{release.tag} is newer than {build.version}",
        )
