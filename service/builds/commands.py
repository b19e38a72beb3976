"""What maintainers may ask for. Each function commits, and raises CommandRefused with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.access.audit import note_audit
from service.builds.follow_ups import look_for_surplus
from service.catalog import Catalog
from service.domain.errors import CommandRefused, NotFound
from service.domain.planning import PlannedBuild, target_refusal
from service.domain.sources import LICENSE_CHANGED
from service.domain.states import ENDED_BUILD, BuildState, ChrootState, DeliveryState
from service.domain.versions import parse_tag
from service.releases.announce import BY_HAND, Announced, Announcement, add_attempt, announce, lock_stream
from service.store.options import deadline_of
from service.store.schema import DistGitChange, PackageBuild, UpstreamRelease, WebhookDelivery
from service.store.session import Database, database_now
from service.store.transitions import move_build, move_chroot, move_delivery, note_event


@dataclass(frozen=True)
class Requested:
    """The build that a command made or touched, and what became of it."""

    build_id: int
    sentence: str


def add_release(
    db: Database, catalog: Catalog, family_name: str, tag: str, *, bugs: Sequence[int] = (), by: str,
    address: str = "",
) -> Announced:  # fmt: skip
    """Announce a release by hand, as a webhook would have; a pre-release asked for by name is built, too.

    ``bugs`` ask for the release in Bugzilla: commits of dist-git that are made from now on resolve them.
    Raises CommandRefused, BadTag.
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
    """A new attempt at the cell of an ended build. A live attempt in the cell is a refusal: never two.

    ``strategy`` overrides the old build's for this attempt; one that the source cannot have is a refusal.
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


def request_cancel(db: Database, build_id: int, *, by: str, address: str = "") -> Requested:
    """Ask for a build's end; the next step or poll carries it out. Raises CommandRefused for an ended build."""
    with db.transaction() as session:
        build = session.get(PackageBuild, build_id, with_for_update=True)
        if build is None:
            raise NotFound(f"there is no build {build_id}")
        if build.state in ENDED_BUILD:
            raise CommandRefused(f"build {build_id} is {build.state} already")
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
    """Let a held build go on: from the start, or from the search if it was handed over. CommandRefused if not held.

    It gets its target's whole time anew: what passed while it waited for a person is not the build's. A build that
    was held for a changed license takes all such builds of its release with it, and the license is accepted. Where
    dist-git and its forge are is read from the catalogue again, where a person may have put it right.
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
            held.deadline_at = at + deadline_of(held)
            if held.submission_key is None:
                _read_dist_git_again(session, catalog, held, at)
                move_build(session, held, BuildState.PENDING, at=at, reason=f"resumed by {by}", due_at=at)
            else:
                _back_to_search(session, held, at=at, reason=f"resumed by {by}")
        detail += f"goes on as {build.state}"
        note_audit(
            session, at=at, by=by, address=address, action="build.resume", subject=f"build {build_id}",
            detail=detail, before={"state": BuildState.HELD.value}, after={"state": build.state},
        )  # fmt: skip
        return Requested(build.id, f"build {build_id} goes on")


def _read_dist_git_again(session: Session, catalog: Catalog, build: PackageBuild, at: datetime) -> None:
    """Take dist-git's addresses as they are by now, unless something of the build is at a forge or landed already."""
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


def give_up_build(
    db: Database, build_id: int, *, by: str, why: str, surplus_seconds: float, address: str = ""
) -> Requested:
    """End a build that waits for a build system which may never answer; a person vouches for it.

    Raises CommandRefused for an ended build. What the build system may hold under its submission key is looked
    for after ``surplus_seconds``, when no upload can be late any more, and cancelled; a new attempt at the cell
    waits for that.
    """
    with db.transaction() as session:
        build = session.get(PackageBuild, build_id, with_for_update=True)
        if build is None:
            raise NotFound(f"there is no build {build_id}")
        if build.state in ENDED_BUILD:
            raise CommandRefused(f"build {build_id} is {build.state} already")
        at = database_now(session)
        detail = f"was {build.state}: {build.reason}"
        before = {"state": build.state, "reason": build.reason}
        reason = f"given up by {by}: {why}" if why else f"given up by {by}"
        if build.submission_key is not None:
            reason += f"; {build.system} is being asked to end what it has of it"
        for row in build.chroots:
            if move_chroot(session, build, row, ChrootState.CANCELED, at=at, reason=reason):
                row.ended_at = at
        move_build(session, build, BuildState.ERRORED, at=at, reason=reason)
        if build.submission_key is not None:
            look_for_surplus(session, build, at, delay_seconds=surplus_seconds)
        note_audit(
            session, at=at, by=by, address=address, action="build.give-up", subject=f"build {build_id}",
            detail=detail, before=before, after={"state": build.state},
        )  # fmt: skip
        return Requested(build.id, f"build {build_id} is given up")


def _back_to_search(session: Session, build: PackageBuild, *, at: datetime, reason: str) -> None:
    """A held build that was handed over before: the other side may have it, so the next step looks for it."""
    build.fence = {key: value for key, value in (build.fence or {}).items() if key != "doubt_since"}
    move_build(session, build, BuildState.SUBMITTING, at=at, reason=reason, due_at=at)


def replay_delivery(db: Database, guid: str, *, by: str, address: str = "") -> int:
    """Make an ended delivery due again; returns its id. A processed one is refused: planning repeats by itself."""
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
