"""Claim deliveries and builds that are due, put claimed builds back or end them, and find everything that is due.

A claim is a lease on a row: a random token and the time at which the lease ends. A worker records results only while
the row still has its token. Functions that take a ``Database`` are one transaction and commit; those that take a
``Session`` leave the commit to the caller.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from service.domain.planning import BuildTarget, superseded_by
from service.domain.states import BuildState, DeliveryState, ReleaseState, SideTagState
from service.domain.versions import Version
from service.store.options import deadline_of, target_of
from service.store.schema import FollowUp, PackageBuild, SideTag, UpstreamRelease, WebhookDelivery
from service.store.session import Database, database_now
from service.store.transitions import move_build, move_delivery, note_event

Leased = WebhookDelivery | PackageBuild | FollowUp | SideTag
_Row = TypeVar("_Row", bound=Leased)

STEPS_BEFORE_RUNNING = (BuildState.PENDING.value, BuildState.PREPARING.value, BuildState.SUBMITTING.value)
SWEEP_LIMIT = 200
# Seconds after which a build looks again whether an earlier attempt has surely ended.
EARLIER_PAUSE = 5.0
# A build that is due for longer than this has waited because there was no worker.
NOBODY_CAME = timedelta(minutes=10)
# In ``submitting`` only a claim that killed its worker counts as a try; a search spends none.
SUBMITTING_TRIES = 2


@dataclass(frozen=True)
class BuildWork:
    """A claimed build: its row as it was at the claim, and the token of the lease, needed to record anything.

    ``tries_left`` is 0 at the last allowed claim. ``facts`` are the release's source facts, ``commit`` is the commit
    of its tag.
    """

    id: int
    token: str
    state: BuildState
    release_id: int
    family: str
    package: str
    version: str
    tag: str
    commit: str
    facts: Mapping[str, Any]
    bugs: tuple[int, ...]
    branch: str
    target: BuildTarget
    strategy: str
    attempt: int
    release_number: int | None
    spec_text: str | None
    srpm_name: str | None
    srpm_sha256: str | None
    workarounds: tuple[str, ...]
    submission_key: str | None
    submissions: int
    fence: Mapping[str, Any]
    tries_left: int
    past_deadline: bool
    cancel_requested: str
    last_reason: str


@dataclass(frozen=True)
class Due:
    """What is due: ids of rows, and the projects (build system, project) that have running builds to poll.

    ``oldest_seconds`` is how long the build that is due for longest has been due.
    """

    deliveries: tuple[int, ...] = ()
    builds: tuple[int, ...] = ()
    projects: tuple[tuple[str, str], ...] = ()
    follow_ups: tuple[int, ...] = ()
    side_tags: tuple[int, ...] = ()
    oldest_seconds: float = 0.0


def lock_due_row(
    session: Session, table: type[_Row], row_id: int, now: datetime, *conditions: ColumnElement[bool]
) -> _Row | None:
    """Return a row, locked, if it is due, has no lease that still runs, and meets ``conditions``; else None.

    A row that another transaction has locked is None, too.
    """
    return session.scalars(
        select(table)
        .where(table.id == row_id, table.due_at <= now, lease_is_free(table, now), *conditions)
        .with_for_update(skip_locked=True)
    ).one_or_none()


def lock_claimed_row(
    session: Session, table: type[_Row], row_id: int, token: str, *conditions: ColumnElement[bool]
) -> _Row | None:
    """Return a claimed row, locked, if its lease token is still ``token`` and it meets ``conditions``.

    None means that the lease was lost: it ended, and another worker may have claimed the row.
    """
    return session.scalars(
        select(table).where(table.id == row_id, table.lease_token == token, *conditions).with_for_update()
    ).one_or_none()


def lease_is_free(table: type[_Row], now: datetime) -> ColumnElement[bool]:
    """Return the SQL condition for rows without a lease that still runs."""
    return or_(table.lease_until.is_(None), table.lease_until <= now)


def take_lease(row: Leased, now: datetime, seconds: float) -> str:
    """Lease a locked row for ``seconds`` under a new token, which is returned, and count the claim as a try.

    The row is due again when the lease ends. The caller commits.
    """
    token = secrets.token_hex(12)
    row.lease_token = token
    row.lease_until = now + timedelta(seconds=seconds)
    row.due_at = row.lease_until
    row.tries += 1
    return token


def end_lease(row: Leased, due_at: datetime | None) -> None:
    """End the lease of a locked row, which is due again at ``due_at``; None: never by itself. The caller commits."""
    row.due_at = due_at
    row.lease_token = None
    row.lease_until = None


def claim_delivery(db: Database, delivery_id: int, *, lease_seconds: float, max_tries: int) -> str | None:
    """Claim a delivery that is due and return the lease's token, or None if there is nothing to do.

    A delivery that was claimed ``max_tries`` times without an answer has probably killed its workers, and ends as
    errored here.
    """
    with db.transaction() as session:
        now = database_now(session)
        received = WebhookDelivery.state == DeliveryState.RECEIVED.value
        delivery = lock_due_row(session, WebhookDelivery, delivery_id, now, received)
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
    """Claim a build that is due and not running yet and return its work, or None if there is nothing to do.

    Builds that need no further step are ended here instead: superseded by a newer patch, canceled before anything was
    submitted, past their deadline, out of tries. One in ``submitting`` is not ended, because the build system may
    have it; but one that has killed its worker too often there is held for a person.
    """
    with db.transaction() as session:
        now = database_now(session)
        not_running_yet = PackageBuild.state.in_(STEPS_BEFORE_RUNNING)
        build = lock_due_row(session, PackageBuild, build_id, now, not_running_yet)
        if build is None:
            return None
        if build.state == BuildState.PENDING and build.tries == 0:
            # A build that no worker has begun has not used any of its time.
            build.deadline_at = max(build.deadline_at, now + deadline_of(build))
        elif (late := now - (build.due_at or now)) > NOBODY_CAME:
            # Time in which there was no worker does not count, as for a build that waits for its turn in a side tag.
            build.deadline_at += late
        if build.state != BuildState.SUBMITTING and _end_or_put_off(session, build, now, max_tries):
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


def _end_or_put_off(session: Session, build: PackageBuild, now: datetime, max_tries: int) -> bool:
    """End a build that must not be submitted, or put it off. Returns whether the claim is over with that."""
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
    """Put a build off while an earlier attempt at its cell may still run at the build system: never two at once."""
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
    note_retry(session, build, now, reason)
    build.due_at = now + timedelta(seconds=EARLIER_PAUSE)
    return True


def newer_planned(session: Session, build: PackageBuild) -> str:
    """Return the tag of a newer patch of the stream that is planned for the same target; empty if there is none."""
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
    """Put a claimed build back, due again after ``delay_seconds``, with the reason shown meanwhile. Commits.

    Trouble of the build system spends no try (``spend_try=False``), only time until the deadline. Returns False if
    the lease was lost; then nothing is written.
    """
    with db.transaction() as session:
        build = claimed_build(session, work)
        if build is None:
            return False
        now = database_now(session)
        note_retry(session, build, now, reason)
        end_lease(build, now + timedelta(seconds=delay_seconds))
        if not spend_try:
            build.tries = max(build.tries - 1, 0)
        return True


def end_build(db: Database, work: BuildWork, state: BuildState, reason: str) -> bool:
    """End a claimed build, or hold it, with a reason that a maintainer can act on. Commits.

    In ``submitting`` the caller may do so only after a search that was certain, or after the build system has refused
    the submission. Returns False if the lease was lost; then nothing is written.
    """
    with db.transaction() as session:
        build = claimed_build(session, work)
        if build is None:
            return False
        move_build(session, build, state, at=database_now(session), reason=reason)
        return True


def permit_submission(db: Database, work: BuildWork, *, lease_seconds: float) -> bool:
    """Lengthen a claimed build's lease right before it is submitted, and return whether it may be. Commits.

    Returns False if the lease was lost, or if somebody asked for a cancel meanwhile: then the build is ended as
    canceled here. The caller must know that nothing was submitted under the present submission key.
    """
    with db.transaction() as session:
        build = claimed_build(session, work)
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


def claimed_build(session: Session, work: BuildWork) -> PackageBuild | None:
    """Return a claimed build's row, locked, if its state and lease token are still those of the claim; else None."""
    return lock_claimed_row(
        session, PackageBuild, work.id, work.token, PackageBuild.state == work.state.value
    )


def note_retry(session: Session, build: PackageBuild, now: datetime, reason: str) -> None:
    """Show why a build is tried again, with a line of history if the reason is a new one. The caller commits."""
    if build.reason != reason:
        note_event(session, build, at=now, kind="retry", text=reason)
    build.reason = reason


def restart_held(session: Session, build: PackageBuild, *, at: datetime, reason: str) -> None:
    """Move a held build back to pending, due now, with its whole time until the deadline. The caller commits."""
    build.deadline_at = at + deadline_of(build)
    move_build(session, build, BuildState.PENDING, at=at, reason=reason, due_at=at)


def work_of(build: PackageBuild, token: str, *, now: datetime, max_tries: int) -> BuildWork:
    """Return a claimed build's row as frozen work. The session must be open: the spec's text is loaded on access."""
    release = build.release
    return BuildWork(
        id=build.id,
        token=token,
        state=BuildState(build.state),
        release_id=release.id,
        family=build.family,
        package=build.package,
        version=build.version,
        tag=release.tag,
        commit=release.commit,
        facts=dict(release.facts),
        bugs=tuple(release.bugs),
        branch=build.branch,
        target=target_of(build),
        strategy=build.strategy,
        attempt=build.attempt,
        release_number=build.release_number,
        spec_text=build.spec_text,
        srpm_name=build.srpm_name,
        srpm_sha256=build.srpm_sha256,
        workarounds=tuple(build.workarounds),
        submission_key=build.submission_key,
        submissions=build.submissions,
        fence=dict(build.fence or {}),
        tries_left=max(max_tries - build.tries, 0),
        past_deadline=now > build.deadline_at,
        cancel_requested=build.cancel_requested or "",
        last_reason=build.reason,
    )


def find_due(db: Database) -> Due:
    """Return everything that is due and not leased, at most SWEEP_LIMIT rows of a kind. Reads only."""
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
                lease_is_free(PackageBuild, now),
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
            # Builds that waited together, as for a build system that was away, go on in the order of their planning.
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
        .where(condition, table.due_at <= now, lease_is_free(table, now))
        .order_by(table.due_at)
        .limit(SWEEP_LIMIT)
    )
    return tuple(session.scalars(query))
