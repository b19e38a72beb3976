"""Commands of maintainers: add a release, retry, rebuild, cancel, resume or give up builds, replay a delivery.

Each command is one transaction, commits, and leaves an entry of the audit trail. Each raises NotFound where what it
names does not exist, and CommandRefused with the reason where it may not be done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.access.audit import note_audit
from service.builds.claims import restart_held
from service.builds.follow_ups import look_for_surplus
from service.builds.polls import close_chroots
from service.catalog import Catalog
from service.domain.errors import BadName, CommandRefused, NotFound
from service.domain.planning import BuildTarget, Family, PlannedBuild, plan, target_refusal
from service.domain.sources import LICENSE_CHANGED
from service.domain.states import (
    ENDED_BUILD,
    LIVE_BUILD,
    BuildState,
    DeliveryState,
    ReleaseState,
)
from service.domain.versions import Stream, Version, parse_tag
from service.releases.planning import BY_HAND, Announced, Announcement, add_attempt, announce, lock_stream
from service.store.options import deadline_of
from service.store.schema import DistGitChange, PackageBuild, UpstreamRelease, WebhookDelivery
from service.store.session import Database, database_now
from service.store.transitions import move_build, move_delivery, note_event

FAILED = frozenset({BuildState.FAILED.value, BuildState.ERRORED.value})
# More than this for one press of a button is a mistake, or deserves a second thought.
CELLS_AT_ONCE = 200


@dataclass(frozen=True)
class Requested:
    """The build that a command made or touched, and what became of it."""

    build_id: int
    sentence: str


@dataclass(frozen=True)
class RebuildRequest:
    """Which cells to build again. It names at least one of stream, version, branch and target; all it names must fit.

    Without a version it means each stream's newest planned release. ``failed_only``: only cells whose last attempt
    failed or errored. ``strategy`` replaces the target's own.
    """

    family: str
    stream: str | None = None
    version: str | None = None
    branch: str | None = None
    system: str | None = None
    target: str | None = None
    failed_only: bool = False
    strategy: str | None = None


@dataclass(frozen=True)
class RebuildCell:
    """One cell that a request names, its last attempt, and ``refusal``: why it is not built again, else empty."""

    package: str
    version: str
    target: str
    branch: str
    system: str
    last_build: int | None
    last_state: str
    refusal: str
    build: int | None = None


@dataclass(frozen=True)
class Rebuilt:
    """The cells of a request, and the ids of the new builds, which are due now."""

    cells: tuple[RebuildCell, ...]
    builds: tuple[int, ...]


def add_release(
    db: Database, catalog: Catalog, family_name: str, tag: str, *, bugs: Sequence[int] = (), by: str,
    address: str = "",
) -> Announced:  # fmt: skip
    """Add a release by hand, as its webhook would have; a pre-release that is named here is built, too.

    ``bugs`` are the numbers of Bugzilla that ask for the release: commits in dist-git from now on resolve them.
    Raises NotFound for an unknown family and BadTag for a tag that is no version.
    """
    family = catalog.families.get(family_name)
    if family is None:
        raise NotFound(f"the catalogue has no family {family_name}")
    version = parse_tag(tag)
    with db.transaction() as session:
        at = database_now(session)
        told = Announcement(origin=BY_HAND, bugs=tuple(bugs))
        done = announce(session, catalog, family, version, told, at=at)
        subject = f"release {family.name} {version}"
        note_audit(
            session, at=at, by=by, address=address, action="release.add", subject=subject,
            detail=done.sentence, after={"builds": list(done.builds), "bugs": sorted(bugs)},
        )  # fmt: skip
        return done


def request_build(
    db: Database, catalog: Catalog, build_id: int, *, by: str, strategy: str | None = None, address: str = ""
) -> Requested:
    """Start a new attempt at the cell of an ended build; refused while another attempt of the cell is live.

    ``strategy`` replaces the old build's for this attempt; one that the release's source does not allow is refused.
    """
    with db.transaction() as session:
        old = session.get(PackageBuild, build_id)
        if old is None:
            raise NotFound(f"there is no build {build_id}")
        family = catalog.families.get(old.family)
        if family is None:
            raise CommandRefused(f"the catalogue has no family {old.family} any more")
        lock_stream(session, family, parse_tag(old.release.tag).stream)
        live = session.scalars(
            select(PackageBuild).where(
                PackageBuild.release_id == old.release_id,
                PackageBuild.target == old.target,
                PackageBuild.state.not_in([state.value for state in ENDED_BUILD]),
            )
        ).one_or_none()
        if live is not None:
            raise CommandRefused(
                f"build {live.id} of this cell is {live.state}; cancel it or wait for its end"
            )
        target = next((t for t in catalog.targets if t.id == old.target), None)
        if target is None:
            raise CommandRefused(f"the catalogue has no target {old.target} any more")
        at = database_now(session)
        stream = parse_tag(old.release.tag).stream
        refusal = target_refusal(stream, target, catalog.branches.get(target.branch.name), at.date())
        if refusal:
            raise CommandRefused(refusal)
        release: UpstreamRelease = old.release
        policy = family.policy(stream)
        known = release.facts or (policy.facts if policy else {})
        vendored = [name for name in ("wazero", "nri") if known.get(name)]
        wanted = strategy or old.strategy
        refusal = catalog.strategy_refusal(family, stream, wanted, vendored)
        if refusal:
            raise CommandRefused(refusal)
        planned = PlannedBuild(old.package, target, wanted)
        build = add_attempt(session, release, planned, at=at, requested_by=by)
        sentence = f"build {build.id} is attempt {build.attempt} at {old.package} on {old.target}"
        note_audit(
            session, at=at, by=by, address=address, action="build.retry", subject=f"build {old.id}",
            detail=sentence, before={"build": old.id, "state": old.state, "strategy": old.strategy},
            after={"build": build.id, "state": build.state, "strategy": build.strategy},
        )  # fmt: skip
        return Requested(build.id, sentence)


def check_strategy(catalog: Catalog, strategy: str | None, stream: Stream) -> str:
    """Return why a strategy cannot be used for a stream; empty text where it can, or where ``strategy`` is None."""
    if strategy is None:
        return ""
    known = catalog.strategies.get(strategy)
    if known is None:
        return f"the catalogue has no strategy {strategy[:40]}; it has {', '.join(catalog.strategies)}"
    if known.first_stream is not None and stream < known.first_stream:
        return f"strategy {strategy} works from stream {known.first_stream} on"
    return ""


def check_retry(db: Database, catalog: Catalog, build_id: int, strategy: str | None) -> None:
    """Raise CommandRefused if a strategy cannot be used for a build. Reads only; ``request_build`` checks the rest."""
    with db.reader() as session:
        build = session.get(PackageBuild, build_id)
        refusal = check_strategy(catalog, strategy, _stream(build.stream)) if build else ""
    if refusal:
        raise CommandRefused(refusal)


def preview_rebuild(db: Database, catalog: Catalog, asked: RebuildRequest) -> Rebuilt:
    """Return what ``request_rebuild`` would do now, without doing it. Raises what it raises. Reads only."""
    with db.reader() as session:
        at = database_now(session)
        cells = tuple(shown for shown, _, _ in _cells(session, catalog, asked, at, lock=False))
    return Rebuilt(_check_count(cells), ())


def request_rebuild(
    db: Database, catalog: Catalog, asked: RebuildRequest, *, by: str, address: str = ""
) -> Rebuilt:
    """Start a new attempt at every cell of the request that may have one.

    A cell with a live attempt is left alone. Where no cell may be built again, CommandRefused gives the first cell's
    reason.
    """
    with db.transaction() as session:
        at = database_now(session)
        cells, builds = [], []
        for shown, release, target in _cells(session, catalog, asked, at, lock=True):
            if shown.refusal:
                cells.append(shown)
                continue
            planned = PlannedBuild(shown.package, target, asked.strategy or target.strategy)
            build = add_attempt(session, release, planned, at=at, requested_by=by)
            builds.append(build.id)
            cells.append(replace(shown, build=build.id))
        _check_count(cells)
        refused = [cell for cell in cells if cell.refusal]
        if not builds:
            raise CommandRefused(f"nothing can be built again: {refused[0].target}: {refused[0].refusal}")
        note_audit(
            session, at=at, by=by, address=address, action="rebuild", subject=_subject(asked),
            detail=f"{len(builds)} builds, {len(refused)} cells left alone",
            before={cell.target + " " + cell.version: cell.last_state for cell in cells if cell.build},
            after={"builds": builds, "strategy": asked.strategy},
        )  # fmt: skip
        return Rebuilt(tuple(cells), tuple(builds))


def request_cancel(db: Database, build_id: int, *, by: str, address: str = "") -> Requested:
    """Ask for a build to be canceled; its next step or poll does it. An ended build is refused."""
    with db.transaction() as session:
        build = _lock_live_build(session, build_id)
        at = database_now(session)
        detail = f"was {build.state}"
        before = {"state": build.state, "cancel_requested": build.cancel_requested is not None}
        build.cancel_requested = f"canceled by {by}"
        note_event(session, build, at=at, kind="request", text=build.cancel_requested)
        if build.state == BuildState.HELD and build.submission_key is None:
            move_build(session, build, BuildState.CANCELED, at=at, reason=build.cancel_requested)
        elif build.state == BuildState.HELD:
            _back_to_search(session, build, at=at, reason=build.cancel_requested)
        else:
            build.due_at = at if build.lease_until is None else build.due_at
        note_audit(
            session, at=at, by=by, address=address, action="build.cancel", subject=f"build {build_id}",
            detail=detail, before=before, after={"state": build.state, "cancel_requested": True},
        )  # fmt: skip
        return Requested(build.id, f"build {build_id} will be canceled")


def resume_build(db: Database, catalog: Catalog, build_id: int, *, by: str, address: str = "") -> Requested:
    """Let a held build go on: from its start, or from the search at the build system if it was submitted before.

    It gets its target's whole time anew, because the time that it waited for a person does not count. For a build that
    was held for a changed license, all such builds of its release go on, and the license is accepted. The addresses of
    dist-git and its forge are read from the catalogue again, where a person may have corrected them. A build that is
    not held is refused.
    """
    with db.transaction() as session:
        release = session.scalars(
            select(UpstreamRelease)
            .join(PackageBuild, PackageBuild.release_id == UpstreamRelease.id)
            .where(PackageBuild.id == build_id)
            .with_for_update(of=UpstreamRelease)
        ).one_or_none()
        build = session.get(PackageBuild, build_id, with_for_update=True)
        if build is None or release is None:
            raise NotFound(f"there is no build {build_id}")
        if build.state != BuildState.HELD:
            raise CommandRefused(f"build {build_id} is {build.state}, not held")
        at = database_now(session)
        going = [build]
        detail = ""
        if build.reason.startswith(LICENSE_CHANGED):
            going = _held_for_license(session, release)
            release.facts = {**release.facts, "license_accepted_by": by[:100]}
            detail = f"accepts the license {release.facts.get('license')}; "
        for held in going:
            if held.submission_key is None:
                _read_dist_git_again(session, catalog, held, at)
                restart_held(session, held, at=at, reason=f"resumed by {by}")
            else:
                held.deadline_at = at + deadline_of(held)
                _back_to_search(session, held, at=at, reason=f"resumed by {by}")
        detail += f"goes on as {build.state}"
        note_audit(
            session, at=at, by=by, address=address, action="build.resume", subject=f"build {build_id}",
            detail=detail, before={"state": BuildState.HELD.value}, after={"state": build.state},
        )  # fmt: skip
        return Requested(build.id, f"build {build_id} goes on")


def give_up_build(
    db: Database, build_id: int, *, by: str, why: str, surplus_seconds: float, address: str = ""
) -> Requested:
    """End a build as errored although the build system has not confirmed its end. An ended build is refused.

    What the build system may have under its submission key is looked for after ``surplus_seconds``, when no upload can
    arrive any more, and cancelled; a new attempt at the cell waits for that.
    """
    with db.transaction() as session:
        build = _lock_live_build(session, build_id)
        at = database_now(session)
        detail = f"was {build.state}: {build.reason}"
        before = {"state": build.state, "reason": build.reason}
        reason = f"given up by {by}: {why}" if why else f"given up by {by}"
        if build.submission_key is not None:
            reason += f"; {build.system} is being asked to end what it has of it"
        close_chroots(session, build, BuildState.CANCELED, reason, at)
        move_build(session, build, BuildState.ERRORED, at=at, reason=reason)
        if build.submission_key is not None:
            look_for_surplus(session, build, at, delay_seconds=surplus_seconds)
        note_audit(
            session, at=at, by=by, address=address, action="build.give-up", subject=f"build {build_id}",
            detail=detail, before=before, after={"state": build.state},
        )  # fmt: skip
        return Requested(build.id, f"build {build_id} is given up")


def replay_delivery(db: Database, guid: str, *, by: str, address: str = "") -> int:
    """Make an ended delivery due again and return its id. A processed one is refused: planning repeats by itself."""
    with db.transaction() as session:
        delivery = session.scalars(
            select(WebhookDelivery).where(WebhookDelivery.guid == guid).with_for_update()
        ).one_or_none()
        if delivery is None:
            raise NotFound(f"there is no delivery {guid}")
        if delivery.state in (DeliveryState.PROCESSED, DeliveryState.RECEIVED):
            raise CommandRefused(
                f"delivery {guid} is {delivery.state}; use 'cryopack reconcile' to plan again"
            )
        at = database_now(session)
        note_audit(
            session, at=at, by=by, address=address, action="delivery.replay", subject=f"delivery {guid}",
            detail=f"was {delivery.state}: {delivery.reason}", before={"state": delivery.state},
            after={"state": DeliveryState.RECEIVED.value},
        )  # fmt: skip
        move_delivery(delivery, DeliveryState.RECEIVED, at=at, reason=f"replayed by {by}")
        return delivery.id


def _lock_live_build(session: Session, build_id: int) -> PackageBuild:
    """Return a build that has not ended, locked. Raises NotFound, and CommandRefused for an ended one."""
    build = session.get(PackageBuild, build_id, with_for_update=True)
    if build is None:
        raise NotFound(f"there is no build {build_id}")
    if build.state in ENDED_BUILD:
        raise CommandRefused(f"build {build_id} is {build.state} already")
    return build


def _read_dist_git_again(session: Session, catalog: Catalog, build: PackageBuild, at: datetime) -> None:
    """Take dist-git's addresses from the catalogue again, unless the build has a pull request or has landed."""
    target = next((t for t in catalog.targets if t.id == build.target), None)
    row = session.scalars(select(DistGitChange).where(DistGitChange.build_id == build.id)).one_or_none()
    begun = row is not None and (row.pull_asked_at is not None or row.landed_commit)
    if target is None or target.dist_git is None or build.options.get("dist_git") is None or begun:
        return
    now = target.dist_git.as_json()
    if now != build.options["dist_git"]:
        build.options = {**build.options, "dist_git": now}
        if row is not None:
            row.repository = target.dist_git.repository_url(build.package)
        note_event(session, build, at=at, kind="request", text="takes dist-git as the catalogue has it now")


def _held_for_license(session: Session, release: UpstreamRelease) -> list[PackageBuild]:
    found = session.scalars(
        select(PackageBuild)
        .where(
            PackageBuild.release_id == release.id,
            PackageBuild.state == BuildState.HELD.value,
            PackageBuild.reason.startswith(LICENSE_CHANGED),
        )
        .order_by(PackageBuild.id)
        .with_for_update()
    )
    return list(found)


def _back_to_search(session: Session, build: PackageBuild, *, at: datetime, reason: str) -> None:
    """Move a held build that was submitted before to submitting: its next step looks for it at the build system."""
    build.fence = {key: value for key, value in (build.fence or {}).items() if key != "doubt_since"}
    move_build(session, build, BuildState.SUBMITTING, at=at, reason=reason, due_at=at)


def _cells(
    session: Session, catalog: Catalog, asked: RebuildRequest, at: datetime, *, lock: bool
) -> Iterable[tuple[RebuildCell, UpstreamRelease, BuildTarget]]:
    family = catalog.families.get(asked.family)
    if family is None:
        raise NotFound(f"the catalogue has no family {asked.family[:40]}")
    if not (asked.stream or asked.version or asked.branch or asked.target):
        raise CommandRefused("say which cells: a stream, a version, a branch or a target")
    for release in _releases(session, family, asked, lock=lock):
        version = Version.parse(release.version)
        refused = _refusals(catalog, family, release, version, at)
        last = _last_attempts(session, release)
        for target in catalog.targets:
            if family.name not in target.families or not _meets(target, asked):
                continue
            build = last.get(target.id)
            if asked.failed_only and (build is None or build.state not in FAILED):
                continue
            refusal = refused.get(target.id, "") or check_strategy(catalog, asked.strategy, version.stream)
            if build is not None and build.state in LIVE_BUILD:
                refusal = f"build {build.id} of this cell is {build.state}; cancel it or wait for its end"
            yield (
                RebuildCell(
                    package=family.package(version.stream),
                    version=release.version,
                    target=target.id,
                    branch=target.branch.name,
                    system=target.system,
                    last_build=build.id if build else None,
                    last_state=build.state if build else "",
                    refusal=refusal,
                ),
                release,
                target,
            )


def _meets(target: BuildTarget, asked: RebuildRequest) -> bool:
    return (
        asked.branch in (None, target.branch.name)
        and asked.system in (None, target.system)
        and asked.target in (None, target.id)
    )


def _releases(
    session: Session, family: Family, asked: RebuildRequest, *, lock: bool
) -> list[UpstreamRelease]:
    """The releases of a request, each stream's newest where no version is named; their streams are locked in order."""
    r = UpstreamRelease
    statement = select(r).where(r.family == family.name)
    if asked.version is not None:
        statement = statement.where(r.version == asked.version.removeprefix("v"))
    else:
        statement = statement.where(r.state == ReleaseState.PLANNED.value)
    if asked.stream is not None:
        statement = statement.where(r.stream == asked.stream)
    newest: dict[str, UpstreamRelease] = {}
    for release in session.scalars(statement.order_by(r.sort_key)):
        newest[release.stream] = release
    if not newest:
        what = (
            f"release {asked.version}"
            if asked.version
            else f"planned release of stream {asked.stream or 'any'}"
        )
        raise NotFound(f"we know no {what[:80]} of {family.name}")
    for stream in sorted(newest, key=_stream) if lock else ():
        lock_stream(session, family, _stream(stream))
    return [newest[stream] for stream in sorted(newest, key=_stream, reverse=True)]


def _stream(text: str) -> Stream:
    try:
        return Stream.parse(text)
    except BadName as error:
        raise CommandRefused(str(error)) from None


def _refusals(
    catalog: Catalog, family: Family, release: UpstreamRelease, version: Version, at: datetime
) -> dict[str, str]:
    """Why each target would not build the release today."""
    if release.state == ReleaseState.WITHDRAWN:
        return {target.id: f"{version.tag} is withdrawn: {release.reason}" for target in catalog.targets}
    decision = plan(
        version,
        family=family.with_prereleases() if release.state == ReleaseState.PLANNED else family,
        targets=catalog.targets,
        branches=catalog.branches,
        today=at.date(),
        marked_prerelease=release.prerelease,
    )
    if not decision.builds and not decision.skipped:
        return {target.id: decision.reason for target in catalog.targets}
    return {skipped.target_id: skipped.reason for skipped in decision.skipped}


def _last_attempts(session: Session, release: UpstreamRelease) -> dict[str, PackageBuild]:
    rows = session.scalars(
        select(PackageBuild).where(PackageBuild.release_id == release.id).order_by(PackageBuild.attempt)
    )
    return {build.target: build for build in rows}


def _check_count(cells: Iterable[RebuildCell]) -> tuple[RebuildCell, ...]:
    """The cells as a tuple. Raises CommandRefused where there are none, or too many."""
    found = tuple(cells)
    if not found:
        raise CommandRefused("no cell is like that: nothing was built there, or nothing has failed")
    if sum(not cell.refusal for cell in found) > CELLS_AT_ONCE:
        raise CommandRefused(f"these are more than {CELLS_AT_ONCE} cells; ask for fewer at once")
    return found


def _subject(asked: RebuildRequest) -> str:
    words = (asked.family, asked.version or asked.stream, asked.branch, asked.system, asked.target)
    return "cells " + " ".join(word for word in words if word) + (" failed" if asked.failed_only else "")
