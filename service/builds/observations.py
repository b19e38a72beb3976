"""What polls and events saw, written down (T6): chroots, roll-up, the end. Each public function commits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.builds.claims import take_lease
from service.builds.follow_ups import follow_ends, follow_tags, look_for_surplus
from service.builds.work import PollWork
from service.domain.reports import BuildRef, BuildReport, PollProblem
from service.domain.states import ENDED_CHROOT, BuildState, ChrootState, rollup
from service.domain.verification import other_build
from service.store.schema import ChrootBuild, PackageBuild
from service.store.session import Database, database_now
from service.store.transitions import move_build, move_chroot, note_event

POLL_LIMIT = 100
# A build that ended well while nobody could read it must not be lost to one bad answer after its deadline.
UNREAD_GRACE = timedelta(hours=1)


def claim_polls(
    db: Database, system: str, project: str, *, lease_seconds: float, max_tries: int
) -> list[PollWork]:
    """Lease all running builds of one project that are due, so that one poll reads them together.

    A build whose polls ended without an answer ``max_tries`` times is leased alone: it may be what kills its
    worker, and its neighbours must not go down with it. After its deadline it is given up without another poll.
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
                or_(PackageBuild.lease_until.is_(None), PackageBuild.lease_until <= now),
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
    """The build at the other side. The row must have an external id."""
    chroots = tuple(build.options.get("chroots", ()))
    return BuildRef(build.system, build.project, build.external_id or "", build.web_url, chroots)


def record_report(
    db: Database, poll: PollWork, report: BuildReport, *, poll_seconds: float
) -> BuildState | None:
    """Write one report down: chroot states, the roll-up, the next poll or the end. None: the lease was lost.

    A terminal chroot never leaves its state; what an older report says of it is dropped. A build of another version
    than was planned is no success, however well it ended.
    """
    with db.transaction() as session:
        build = _leased(session, poll)
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
                _close_chroots(session, build, state, report.reason, now)
            if other and state is BuildState.SUCCEEDED:
                state = BuildState.ERRORED
            reason = "; ".join(filter(None, (_end_reason(build, state, report.reason), other)))
            move_build(session, build, state, at=now, reason=reason)
            if state is BuildState.SUCCEEDED and report.tagged:
                follow_tags(session, build, now)
        follow_ends(session, build, now)
        return state


def record_name(session: Session, build: PackageBuild, nvr: str, now: datetime) -> None:
    """Keep what the build system calls a build (empty: it did not tell), with a line of history. The caller commits."""
    if nvr and nvr != build.built_nvr:
        build.built_nvr = nvr
        note_event(session, build, at=now, kind="submission", text=f"{build.system} calls it {nvr}")


def record_poll_problem(
    db: Database, poll: PollWork, problem: PollProblem, *, poll_seconds: float
) -> BuildState | None:
    """Write down that one build could not be read: later again, or errored when the other side has lost it."""
    with db.transaction() as session:
        build = _leased(session, poll)
        if build is None:
            return None
        now = database_now(session)
        if problem.vanished:
            why = f"{build.system} does not know build {build.external_id} any more: {problem.reason}"
            _close_chroots(session, build, BuildState.CANCELED, why, now)
            move_build(session, build, BuildState.ERRORED, at=now, reason=why)
            return BuildState.ERRORED
        if build.reason != problem.reason:
            note_event(session, build, at=now, kind="retry", text=problem.reason)
        build.reason = problem.reason
        # What this round had no time for comes first in the next one, or the same few would be read for ever.
        _next_poll(build, now, 0.0 if problem.unread else poll_seconds)
        return BuildState.RUNNING


def give_up_polling(db: Database, poll: PollWork, reason: str, *, cancel_confirmed: bool) -> bool:
    """End a running build whose deadline has passed.

    Where the other side has not confirmed the cancel, the build may go on there: a follow-up asks until it is
    confirmed, and a new attempt at the cell waits for that.
    """
    with db.transaction() as session:
        build = _leased(session, poll)
        if build is None:
            return False
        now = database_now(session)
        if not cancel_confirmed:
            _abandon(session, build, now, reason)
            return True
        _close_chroots(session, build, BuildState.CANCELED, reason, now)
        move_build(session, build, BuildState.ERRORED, at=now, reason=reason)
        follow_ends(session, build, now)
        return True


def _abandon(session: Session, build: PackageBuild, now: datetime, reason: str) -> None:
    _close_chroots(session, build, BuildState.CANCELED, reason, now)
    move_build(session, build, BuildState.ERRORED, at=now, reason=reason)
    look_for_surplus(session, build, now, delay_seconds=0)


def note_cancel_sent(db: Database, poll: PollWork, text: str) -> None:
    """Write into the history that the other side was asked to cancel; the next report tells the outcome."""
    with db.transaction() as session:
        build = _leased(session, poll)
        if build is not None:
            note_event(session, build, at=database_now(session), kind="request", text=text)


def _follow_instead(
    session: Session, build: PackageBuild, other: BuildRef, reason: str, now: datetime
) -> None:
    """Adopt somebody else's build of the same thing, to which ours gave way."""
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
    """What the other side lists no more will never end by itself, and would be polled until the deadline."""
    listed = {seen.chroot for seen in report.chroots}
    why = f"{build.system} does not list this chroot in build {build.external_id}"
    for row in build.chroots:
        if row.chroot not in listed and move_chroot(
            session, build, row, ChrootState.CANCELED, at=now, reason=why
        ):
            row.ended_at = now


def _close_chroots(
    session: Session, build: PackageBuild, state: BuildState, reason: str, now: datetime
) -> None:
    """The build has ended as a whole: nothing more will come for the chroots that are still open."""
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
    build.due_at = now + timedelta(seconds=poll_seconds)
    build.lease_token = None
    build.lease_until = None
    build.tries = 0


def _leased(session: Session, poll: PollWork) -> PackageBuild | None:
    return session.scalars(
        select(PackageBuild)
        .where(
            PackageBuild.id == poll.build_id,
            PackageBuild.state == BuildState.RUNNING.value,
            PackageBuild.lease_token == poll.token,
        )
        .with_for_update()
    ).one_or_none()


def renew_polls(db: Database, polls: Sequence[PollWork], *, lease_seconds: float) -> list[PollWork]:
    """Lengthen the leases before the builds are read; those that are still ours."""
    with db.transaction() as session:
        until = database_now(session) + timedelta(seconds=lease_seconds)
        kept = []
        for poll in polls:
            build = _leased(session, poll)
            if build is not None:
                build.lease_until = build.due_at = until
                kept.append(poll)
        return kept


def release_polls(
    db: Database, polls: Sequence[PollWork], reason: str, *, delay_seconds: float, spend_try: bool = False
) -> None:
    """Give leased builds back when the whole other side is away: the same state, the reason shown, due later.

    ``spend_try`` keeps the count of claims: for trouble of our own, which one of the builds may be the cause of.
    """
    with db.transaction() as session:
        now = database_now(session)
        for poll in polls:
            build = _leased(session, poll)
            if build is None:
                continue
            if build.reason != reason:
                note_event(session, build, at=now, kind="retry", text=reason)
            build.reason = reason
            tries = build.tries
            _next_poll(build, now, delay_seconds)
            build.tries = tries if spend_try else 0
