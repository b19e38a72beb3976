"""Claiming builds, backing off, giving up, and what is due. Each function is one transaction and commits."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from service.builds.work import BuildWork, Due, work_of
from service.domain.planning import superseded_by
from service.domain.states import BuildState, DeliveryState, ReleaseState, SideTagState
from service.domain.versions import Version
from service.store.options import deadline_of
from service.store.schema import FollowUp, PackageBuild, SideTag, UpstreamRelease, WebhookDelivery
from service.store.session import Database, database_now
from service.store.transitions import move_build, move_delivery, note_event

Leased = WebhookDelivery | PackageBuild | FollowUp | SideTag
STEPS_BEFORE_RUNNING = (BuildState.PENDING.value, BuildState.PREPARING.value, BuildState.SUBMITTING.value)
SWEEP_LIMIT = 200
# Seconds between two looks at whether an earlier attempt has surely ended.
EARLIER_PAUSE = 5.0
# A build that is due for longer than this was not late in its turn: there was no worker.
NOBODY_CAME = timedelta(minutes=10)
# In ``submitting`` tries count only what killed its worker; the search itself spends none.
SUBMITTING_TRIES = 2


def claim_delivery(db: Database, delivery_id: int, *, lease_seconds: float, max_tries: int) -> str | None:
    """Lease a delivery that is due; returns the lease's token, or None if there is nothing to do.

    One whose tries are spent without an answer kills its worker, and ends as errored here.
    """
    with db.transaction() as session:
        now = database_now(session)
        delivery = session.scalars(
            select(WebhookDelivery)
            .where(
                WebhookDelivery.id == delivery_id,
                WebhookDelivery.state == DeliveryState.RECEIVED.value,
                WebhookDelivery.due_at <= now,
                _lease_free(WebhookDelivery, now),
            )
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if delivery is None:
            return None
        if delivery.tries >= max_tries:
            why = f"gave up after {delivery.tries} tries that ended without an answer"
            move_delivery(
                delivery, DeliveryState.ERRORED, at=now, reason=f"{why}; deliver it again or replay it"
            )
            return None
        return take_lease(delivery, now, lease_seconds)


def claim_build(db: Database, build_id: int, *, lease_seconds: float, max_tries: int) -> BuildWork | None:
    """Lease a build that is due and not running yet; None if there is nothing to do.

    What needs no step is settled here: superseded by a newer patch, canceled before anything was submitted,
    past its deadline, out of tries. In ``submitting`` nothing is settled, because the other side may have it; but
    what has killed its worker too often there is held for a person.
    """
    with db.transaction() as session:
        now = database_now(session)
        build = session.scalars(
            select(PackageBuild)
            .where(
                PackageBuild.id == build_id,
                PackageBuild.state.in_(STEPS_BEFORE_RUNNING),
                PackageBuild.due_at <= now,
                _lease_free(PackageBuild, now),
            )
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if build is None:
            return None
        if build.state == BuildState.PENDING and build.tries == 0:
            # A build that no worker could begin has not used any of its time.
            build.deadline_at = max(build.deadline_at, now + deadline_of(build))
        elif (late := now - (build.due_at or now)) > NOBODY_CAME:
            # Nor does one spend it that waited, as for its turn in a side tag, while there was no worker.
            build.deadline_at += late
        if build.state != BuildState.SUBMITTING and _settle(session, build, now, max_tries):
            return None
        if build.state == BuildState.SUBMITTING and build.tries >= SUBMITTING_TRIES * max_tries:
            why = (
                f"gave up after {build.tries} tries that ended without an answer; {build.system} may have it"
            )
            move_build(session, build, BuildState.HELD, at=now, reason=f"{why}: resume it to look again")
            return None
        tries = build.tries
        if build.state == BuildState.PENDING:
            move_build(session, build, BuildState.PREPARING, at=now, reason="", due_at=now)
            build.tries = tries
        token = take_lease(build, now, lease_seconds)
        return work_of(build, token, now=now, max_tries=max_tries)


def _settle(session: Session, build: PackageBuild, now: datetime, max_tries: int) -> bool:
    asked_for = build.requested_by is not None
    if build.cancel_requested:
        move_build(session, build, BuildState.CANCELED, at=now, reason=build.cancel_requested)
        return True
    if build.release.state in (ReleaseState.WITHDRAWN, ReleaseState.UNSUPPORTED) and not asked_for:
        why = f"{build.release.reason}; this build had not begun"
        move_build(session, build, BuildState.CANCELED, at=now, reason=why)
        return True
    if build.state == BuildState.PENDING and not asked_for:
        newer = newer_planned(session, build)
        if newer:
            move_build(session, build, BuildState.SUPERSEDED, at=now, reason=f"{newer} is newer")
            return True
    trouble = f": {build.reason}" if build.reason else ""
    if now > build.deadline_at:
        why = f"not submitted by its deadline, {build.deadline_at:%Y-%m-%d %H:%M} UTC{trouble}"
        move_build(session, build, BuildState.ERRORED, at=now, reason=why)
        return True
    if build.tries >= max_tries:
        why = f"gave up after {build.tries} tries that ended without an answer{trouble}"
        move_build(session, build, BuildState.ERRORED, at=now, reason=why)
        return True
    return _waits_for_earlier(session, build, now)


def _waits_for_earlier(session: Session, build: PackageBuild, now: datetime) -> bool:
    """Put a build off while an earlier attempt at its cell may still run at the other side: never two at once."""
    earlier = session.scalars(
        select(PackageBuild)
        .join(FollowUp, FollowUp.build_id == PackageBuild.id)
        .where(
            PackageBuild.release_id == build.release_id,
            PackageBuild.target == build.target,
            PackageBuild.attempt < build.attempt,
            FollowUp.kind == "surplus",
            FollowUp.ended_at.is_(None),
        )
        .limit(1)
    ).one_or_none()
    if earlier is None:
        return False
    reason = f"waits until {build.system} has surely ended build {earlier.id}, an earlier attempt"
    if build.reason != reason:
        note_event(session, build, at=now, kind="retry", text=reason)
    build.reason = reason
    build.due_at = now + timedelta(seconds=EARLIER_PAUSE)
    return True


def newer_planned(session: Session, build: PackageBuild) -> str:
    """The tag of a newer patch of the stream that is planned for the same target, empty where there is none."""
    texts = session.scalars(
        select(UpstreamRelease.version)
        .join(PackageBuild, PackageBuild.release_id == UpstreamRelease.id)
        .where(
            UpstreamRelease.family == build.family,
            UpstreamRelease.stream == build.stream,
            UpstreamRelease.state == ReleaseState.PLANNED.value,
            UpstreamRelease.sort_key > build.sort_key,
            PackageBuild.target == build.target,
        )
    )
    newer = superseded_by(Version.parse(build.version), [Version.parse(text) for text in texts])
    return newer.tag if newer else ""


def back_off(
    db: Database, work: BuildWork, reason: str, *, delay_seconds: float, spend_try: bool = True
) -> bool:
    """Give a claimed build back, due again after ``delay_seconds``, with the reason shown meanwhile.

    Trouble of the other side spends no try (``spend_try=False``), only the deadline. False: the lease was lost.
    """
    with db.transaction() as session:
        build = held_row(session, work)
        if build is None:
            return False
        now = database_now(session)
        if build.reason != reason:
            note_event(session, build, at=now, kind="retry", text=reason)
        build.reason = reason
        build.due_at = now + timedelta(seconds=delay_seconds)
        build.lease_token = None
        build.lease_until = None
        if not spend_try:
            build.tries = max(build.tries - 1, 0)
        return True


def end_build(db: Database, work: BuildWork, state: BuildState, reason: str) -> bool:
    """End (or hold) a claimed build with a reason that a maintainer can act on. False: the lease was lost.

    From ``submitting`` this is allowed only after a certain search, or after a refusal: the caller vouches.
    """
    with db.transaction() as session:
        build = held_row(session, work)
        if build is None:
            return False
        move_build(session, build, state, at=database_now(session), reason=reason)
        return True


def permit_submission(db: Database, work: BuildWork, *, lease_seconds: float) -> bool:
    """The last look before the act: lengthens the lease. False: the act must not happen.

    The lease was lost, or somebody asked for a cancel meanwhile. The caller vouches that nothing was handed over
    under the present intent, so that the cancel is carried out here.
    """
    with db.transaction() as session:
        build = held_row(session, work)
        if build is None:
            return False
        if build.cancel_requested:
            move_build(
                session, build, BuildState.CANCELED, at=database_now(session), reason=build.cancel_requested
            )
            return False
        build.lease_until = database_now(session) + timedelta(seconds=lease_seconds)
        build.due_at = build.lease_until
        return True


def held_row(session: Session, work: BuildWork) -> PackageBuild | None:
    """The claimed row, locked, if its state and lease token are still the claim's."""
    return session.scalars(
        select(PackageBuild)
        .where(
            PackageBuild.id == work.id,
            PackageBuild.state == work.state.value,
            PackageBuild.lease_token == work.token,
        )
        .with_for_update()
    ).one_or_none()


def take_lease(row: Leased, now: datetime, seconds: float) -> str:
    """Put a fresh token on a locked row and count the claim. Due again when the lease ends."""
    token = secrets.token_hex(12)
    row.lease_token = token
    row.lease_until = now + timedelta(seconds=seconds)
    row.due_at = row.lease_until
    row.tries += 1
    return token


def find_due(db: Database) -> Due:
    """Everything whose time has come and that nobody holds. Reads only."""
    with db.reader() as session:
        now = database_now(session)
        deliveries = _ids(
            session, WebhookDelivery, WebhookDelivery.state == DeliveryState.RECEIVED.value, now
        )
        builds = _ids(session, PackageBuild, PackageBuild.state.in_(STEPS_BEFORE_RUNNING), now)
        follow_ups = _ids(session, FollowUp, FollowUp.ended_at.is_(None), now)
        side_tags = _ids(session, SideTag, SideTag.state != SideTagState.REMOVED.value, now)
        projects = session.execute(
            select(PackageBuild.system, PackageBuild.project)
            .where(
                PackageBuild.state == BuildState.RUNNING.value,
                PackageBuild.due_at <= now,
                _lease_free(PackageBuild, now),
            )
            .distinct()
        ).all()
        oldest = session.scalar(
            select(func.min(PackageBuild.due_at)).where(
                PackageBuild.state.in_((*STEPS_BEFORE_RUNNING, BuildState.RUNNING.value))
            )
        )
        return Due(
            deliveries=deliveries,
            # What waited together, as for a build system that was away, goes on in the order of its planning.
            builds=tuple(sorted(builds)),
            projects=tuple((system, project) for system, project in projects),
            follow_ups=follow_ups,
            side_tags=side_tags,
            oldest_seconds=max((now - oldest).total_seconds(), 0.0) if oldest else 0.0,
        )


def _ids(
    session: Session, table: type[Leased], condition: ColumnElement[bool], now: datetime
) -> tuple[int, ...]:
    query: Select[int] = (
        select(table.id)
        .where(condition, table.due_at <= now, _lease_free(table, now))
        .order_by(table.due_at)
        .limit(SWEEP_LIMIT)
    )
    return tuple(session.scalars(query))


def _lease_free(table: type[Leased], now: datetime) -> ColumnElement[bool]:
    return or_(table.lease_until.is_(None), table.lease_until <= now)
