"""Claim the running builds of a project for one poll, and record what the poll saw of each (T6).

A report becomes states of chroots, from which the build's state is rolled up; the end of a build or of a chroot adds
its follow-ups in the same transaction. Functions that take a ``Database`` are one transaction and commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.builds.claims import end_lease, lease_is_free, lock_claimed_row, note_retry, take_lease
from service.builds.follow_ups import follow_ends, follow_tags, look_for_surplus, record_name
from service.domain.reports import BuildRef, BuildReport, PollProblem
from service.domain.states import ENDED_CHROOT, BuildState, ChrootState, rollup
from service.domain.verification import other_build
from service.store.schema import ChrootBuild, PackageBuild
from service.store.session import Database, database_now
from service.store.transitions import move_build, move_chroot, note_event

POLL_LIMIT = 100
# A build that ended well while nobody could read it must not be lost to one bad answer after its deadline.
UNREAD_GRACE = timedelta(hours=1)


@dataclass(frozen=True)
class PollWork:
    """A running build that is leased for one poll.

    ``long_past``: its deadline passed so long ago that it ends although it cannot be read.
    """

    build_id: int
    token: str
    ref: BuildRef
    cancel_requested: str
    past_deadline: bool
    long_past: bool


def claim_polls(
    db: Database, system: str, project: str, *, lease_seconds: float, max_tries: int
) -> list[PollWork]:
    """Claim the running builds of one project that are due, so that one poll reads them together. Commits.

    At most POLL_LIMIT builds. One that was claimed ``max_tries`` times without an answer is claimed alone, because it
    may be what kills the worker; an hour after its deadline it is given up here without another poll.
    """
    with db.transaction() as session:
        now = database_now(session)
        rows = session.scalars(
            select(PackageBuild)
            .where(
                PackageBuild.state == BuildState.RUNNING.value,
                PackageBuild.system == system,
                PackageBuild.project == project,
                PackageBuild.due_at <= now,
                lease_is_free(PackageBuild, now),
            )
            .order_by(PackageBuild.due_at)
            .limit(POLL_LIMIT)
            .with_for_update(skip_locked=True)
        ).all()
        doubtful = [row for row in rows if row.tries >= max_tries]
        for row in doubtful:
            if now > row.deadline_at + UNREAD_GRACE:
                why = f"no end by its deadline, and {row.tries} polls ended without an answer"
                _abandon(session, row, now, why)
                return []
        return [
            PollWork(
                build_id=row.id,
                token=take_lease(row, now, lease_seconds),
                ref=ref_of(row),
                cancel_requested=row.cancel_requested or "",
                past_deadline=now > row.deadline_at,
                long_past=now > row.deadline_at + UNREAD_GRACE,
            )
            for row in (doubtful[:1] or rows)
        ]


def ref_of(build: PackageBuild) -> BuildRef:
    """Return the reference of a build at its build system. The row must have an external id."""
    chroots = tuple(build.options.get("chroots", ()))
    return BuildRef(build.system, build.project, build.external_id or "", build.web_url, chroots)


def record_report(
    db: Database, poll: PollWork, report: BuildReport, *, poll_seconds: float
) -> BuildState | None:
    """Record what the build system reports of one build, and return the build's state after it. Commits.

    Writes the states of the chroots, rolls the build's state up from them, and makes it due for the next poll, or ends
    it and adds its follow-ups. A chroot that has ended keeps its state; what an older report says of it is dropped. A
    build of another version than was planned is errored, however well it ended. Returns None if the lease was lost;
    then nothing is written.
    """
    with db.transaction() as session:
        build = _claimed(session, poll)
        if build is None:
            return None
        now = database_now(session)
        build.observed_at = now
        if report.instead is not None and report.instead.external_id != build.external_id:
            _follow_instead(session, build, report.instead, report.reason, now)
            return BuildState.RUNNING
        build.source_log_url = report.source_log_url or build.source_log_url
        record_name(session, build, report.nvr, now)
        other = other_build(build.built_nvr, build.package, build.version)
        _record_chroots(session, build, report, now)
        if report.complete:
            _close_unlisted(session, build, report, now)
        state = (
            BuildState(report.ended) if report.ended else rollup(ChrootState(c.state) for c in build.chroots)
        )
        if state is BuildState.RUNNING:
            build.reason = other
            _next_poll(build, now, poll_seconds)
        else:
            if report.ended:
                close_chroots(session, build, state, report.reason, now)
            if other and state is BuildState.SUCCEEDED:
                state = BuildState.ERRORED
            reason = "; ".join(filter(None, (_end_reason(build, state, report.reason), other)))
            move_build(session, build, state, at=now, reason=reason)
            if state is BuildState.SUCCEEDED and report.tagged:
                follow_tags(session, build, now)
        follow_ends(session, build, now)
        return state


def record_poll_problem(
    db: Database, poll: PollWork, problem: PollProblem, *, poll_seconds: float
) -> BuildState | None:
    """Record that a poll could not read one build, and return the build's state after it. Commits.

    The build is polled again later, or ends as errored if the build system does not know it any more. Returns None if
    the lease was lost.
    """
    with db.transaction() as session:
        build = _claimed(session, poll)
        if build is None:
            return None
        now = database_now(session)
        if problem.vanished:
            why = f"{build.system} does not know build {build.external_id} any more: {problem.reason}"
            close_chroots(session, build, BuildState.CANCELED, why, now)
            move_build(session, build, BuildState.ERRORED, at=now, reason=why)
            return BuildState.ERRORED
        note_retry(session, build, now, problem.reason)
        # What this round had no time for comes first in the next one, or the same few would be read for ever.
        _next_poll(build, now, 0.0 if problem.unread else poll_seconds)
        return BuildState.RUNNING


def give_up_polling(db: Database, poll: PollWork, reason: str, *, cancel_confirmed: bool) -> bool:
    """End a running build as errored because its deadline has passed. Commits. Returns False if the lease was lost.

    If the build system has not confirmed the cancel, the build may go on there: a follow-up asks until it is confirmed,
    and a new attempt at the cell waits for that.
    """
    with db.transaction() as session:
        build = _claimed(session, poll)
        if build is None:
            return False
        now = database_now(session)
        if not cancel_confirmed:
            _abandon(session, build, now, reason)
            return True
        close_chroots(session, build, BuildState.CANCELED, reason, now)
        move_build(session, build, BuildState.ERRORED, at=now, reason=reason)
        follow_ends(session, build, now)
        return True


def _abandon(session: Session, build: PackageBuild, now: datetime, reason: str) -> None:
    close_chroots(session, build, BuildState.CANCELED, reason, now)
    move_build(session, build, BuildState.ERRORED, at=now, reason=reason)
    look_for_surplus(session, build, now, delay_seconds=0)


def note_cancel_sent(db: Database, poll: PollWork, text: str) -> None:
    """Record in the history that the build system was asked to cancel a build. Commits.

    The outcome comes with the next report.
    """
    with db.transaction() as session:
        build = _claimed(session, poll)
        if build is not None:
            note_event(session, build, at=database_now(session), kind="request", text=text)


def _follow_instead(
    session: Session, build: PackageBuild, other: BuildRef, reason: str, now: datetime
) -> None:
    """Follow somebody else's build of the same commit from now on, to which ours gave way."""
    text = f"adopted: {other.system} build {other.external_id} instead of {build.external_id}: {reason}"
    build.external_id, build.web_url = other.external_id, other.web_url
    build.reason = ""
    note_event(session, build, at=now, kind="submission", text=text)
    _next_poll(build, now, 0.0)


def _record_chroots(session: Session, build: PackageBuild, report: BuildReport, now: datetime) -> None:
    rows = {row.chroot: row for row in build.chroots}
    for seen in report.chroots:
        row = rows.get(seen.chroot)
        if row is None:
            row = ChrootBuild(build_id=build.id, chroot=seen.chroot, state=ChrootState.PENDING.value)
            session.add(row)
            build.chroots.append(row)
            session.flush()
        if ChrootState(row.state) in ENDED_CHROOT and row.state != seen.state:
            continue
        row.started_at = seen.started_at or row.started_at
        row.ended_at = seen.ended_at or row.ended_at
        row.result_url = seen.result_url or row.result_url
        row.log_url = seen.log_url or row.log_url
        needs_reason = seen.state in (ChrootState.FAILED, ChrootState.CANCELED, ChrootState.SKIPPED)
        reason = seen.reason or (f"{build.system} says {seen.state}" if needs_reason else "")
        move_chroot(session, build, row, seen.state, at=now, reason=reason)
        if seen.state in ENDED_CHROOT and row.ended_at is None:
            row.ended_at = now


def _close_unlisted(session: Session, build: PackageBuild, report: BuildReport, now: datetime) -> None:
    """Cancel the chroots that the build system does not list: they would be polled until the deadline."""
    listed = {seen.chroot for seen in report.chroots}
    why = f"{build.system} does not list this chroot in build {build.external_id}"
    for row in build.chroots:
        if row.chroot not in listed and move_chroot(
            session, build, row, ChrootState.CANCELED, at=now, reason=why
        ):
            row.ended_at = now


def close_chroots(
    session: Session, build: PackageBuild, state: BuildState, reason: str, now: datetime
) -> None:
    """End the chroots that are still open, because their build ends in ``state`` as a whole. The caller commits."""
    to = ChrootState.FAILED if state is BuildState.FAILED else ChrootState.CANCELED
    for row in build.chroots:
        if move_chroot(session, build, row, to, at=now, reason=reason or f"the build is {state}"):
            row.ended_at = now


def _end_reason(build: PackageBuild, state: BuildState, told: str) -> str:
    if state is BuildState.SUCCEEDED:
        return ""
    if state is BuildState.CANCELED and build.cancel_requested:
        return build.cancel_requested
    if told:
        return told
    bad = [c for c in build.chroots if c.state == state.value]
    if not bad:
        bad = [c for c in build.chroots if c.state == ChrootState.SKIPPED.value]
    names = ", ".join(c.chroot for c in bad)
    first = bad[0].reason if bad else ""
    return f"{state} in {len(bad)} of {len(build.chroots)} chroots ({names}): {first}"


def _next_poll(build: PackageBuild, now: datetime, poll_seconds: float) -> None:
    end_lease(build, now + timedelta(seconds=poll_seconds))
    build.tries = 0


def _claimed(session: Session, poll: PollWork) -> PackageBuild | None:
    running = PackageBuild.state == BuildState.RUNNING.value
    return lock_claimed_row(session, PackageBuild, poll.build_id, poll.token, running)


def renew_polls(db: Database, polls: Sequence[PollWork], *, lease_seconds: float) -> list[PollWork]:
    """Lengthen the leases of claimed builds before they are read, and return those that are still ours. Commits."""
    with db.transaction() as session:
        until = database_now(session) + timedelta(seconds=lease_seconds)
        kept = []
        for poll in polls:
            build = _claimed(session, poll)
            if build is not None:
                build.lease_until = build.due_at = until
                kept.append(poll)
        return kept


def release_polls(
    db: Database, polls: Sequence[PollWork], reason: str, *, delay_seconds: float, spend_try: bool = False
) -> None:
    """Put claimed builds back, due again later, with the reason shown: the whole poll has failed. Commits.

    ``spend_try`` leaves the count of tries as it is, for trouble of our own, which one of the builds may cause; else
    the count begins anew, because the build system is away.
    """
    with db.transaction() as session:
        now = database_now(session)
        for poll in polls:
            build = _claimed(session, poll)
            if build is None:
                continue
            note_retry(session, build, now, reason)
            tries = build.tries
            _next_poll(build, now, delay_seconds)
            build.tries = tries if spend_try else 0
