"""Following builds to their end: one read per project."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import structlog

from service.builds.polls import (
    PollWork,
    claim_polls,
    give_up_polling,
    note_cancel_sent,
    record_poll_problem,
    record_report,
    release_polls,
    renew_polls,
)
from service.contacts import record_contact
from service.domain.reports import BuildReport, PollProblem
from service.domain.states import BuildState, rollup
from workers.buildsystems import (
    BuildSystem,
    BuildSystemError,
    BuildSystemUnavailable,
    BuildVanished,
    ForeignBuild,
)
from workers.context import Context

LET_GO = "it goes on there, and is followed no more"

log = structlog.get_logger()


def poll_project(ctx: Context, system_name: str, project: str) -> None:
    """Read all due builds of one project at once and write down what was seen."""
    polls = claim_polls(
        ctx.db,
        system_name,
        project,
        lease_seconds=ctx.settings.poll_lease_seconds,
        max_tries=ctx.settings.max_tries,
    )
    if not polls:
        return
    canceled: dict[int, str] = {}
    try:
        system = ctx.system(system_name)
        canceled = _cancel_all(ctx, system, polls)
        if any(poll.cancel_requested or poll.past_deadline for poll in polls):
            polls = renew_polls(ctx.db, polls, lease_seconds=ctx.settings.poll_lease_seconds)
        seen = system.poll([poll.ref for poll in polls])
    except BuildSystemError as error:
        record_contact(ctx.db, system_name, str(error))
        wait = error.retry_after if isinstance(error, BuildSystemUnavailable) else 0.0
        reason = f"{system_name} could not be asked: {error}"
        delay = max(min(wait, ctx.settings.retry_max_seconds), ctx.settings.poll_seconds)
        _release(ctx, polls, canceled, reason, delay)
        return
    except Exception as error:
        # One of these builds may be the cause, so the claim counts: a build that fails again and again is read alone.
        log.exception("poll failed", system=system_name, project=project)
        reason = f"internal trouble while it was read: {type(error).__name__}"
        _release(ctx, polls, canceled, reason, ctx.settings.poll_seconds, spend_try=True)
        return
    record_contact(ctx.db, system_name)
    for poll in polls:
        _record(ctx, poll, seen.get(poll.ref), canceled.get(poll.build_id))


def _release(
    ctx: Context,
    polls: Sequence[PollWork],
    canceled: Mapping[int, str],
    reason: str,
    delay_seconds: float,
    *,
    spend_try: bool = False,
) -> None:
    """Give builds back that could not be read. Being away spends the deadline; waiting on would be for ever."""
    for poll in polls:
        if poll.long_past:
            _give_up(ctx, poll, reason, canceled.get(poll.build_id))
    release_polls(ctx.db, polls, reason, delay_seconds=delay_seconds, spend_try=spend_try)


def _cancel_all(ctx: Context, system: BuildSystem, polls: Sequence[PollWork]) -> dict[int, str]:
    """Ask for the end of what somebody or the deadline wants to end; what became of those of which we are rid, by id.

    It stops when half of the lease is used up: what is left is asked for at the next poll.
    """
    canceled: dict[int, str] = {}
    enough = time.monotonic() + ctx.settings.poll_lease_seconds / 2
    for poll in polls:
        wanted = poll.cancel_requested or poll.past_deadline
        if wanted and time.monotonic() < enough and (told := _cancel(ctx, system, poll)):
            canceled[poll.build_id] = told
    return canceled


def _record(
    ctx: Context, poll: PollWork, report: BuildReport | PollProblem | None, canceled: str | None
) -> None:
    """Write one answer down. ``canceled`` says what became of a cancel that was confirmed."""
    pace = ctx.settings.poll_seconds
    if report is None:
        report = PollProblem("the build system left this build out of its answer")
    if canceled and canceled.startswith(LET_GO) and poll.cancel_requested and not _has_verdict(poll, report):
        # It goes on over there, and nobody here wants it any more.
        report = BuildReport(poll.ref, ended=BuildState.CANCELED.value, reason=canceled)
    try:
        if poll.past_deadline and not _has_verdict(poll, report):
            _give_up(ctx, poll, report.reason, canceled)
        elif isinstance(report, PollProblem):
            record_poll_problem(ctx.db, poll, report, poll_seconds=pace)
        else:
            record_report(ctx.db, poll, report, poll_seconds=pace)
    except Exception as error:
        # One report that cannot be stored must not keep its neighbours from being stored.
        log.exception("report not stored", build=poll.build_id)
        what = f"what {poll.ref.system} said of it could not be stored ({type(error).__name__})"
        with suppress(Exception):
            if poll.long_past:
                _give_up(ctx, poll, what, canceled)
            else:
                record_poll_problem(ctx.db, poll, PollProblem(what), poll_seconds=pace)


def _has_verdict(poll: PollWork, report: BuildReport | PollProblem) -> bool:
    """Whether the build is not to be given up: it ended by itself, or it could not be read and may have.

    A cancel that we sent because of the deadline is no verdict; one that somebody asked for is.
    """
    if isinstance(report, PollProblem):
        return report.vanished or not poll.long_past
    ended = report.ended or rollup(chroot.state for chroot in report.chroots)
    verdicts = {BuildState.SUCCEEDED, BuildState.FAILED}
    return ended in (verdicts | {BuildState.CANCELED} if poll.cancel_requested else verdicts)


def _give_up(ctx: Context, poll: PollWork, said: str, canceled: str | None) -> None:
    system = poll.ref.system
    asked = canceled or f"{system} is being asked to cancel it"
    last = f"; it said: {said}" if said else ""
    why = f"no end by its deadline; {asked}{last}"
    if poll.cancel_requested:
        why = f"{poll.cancel_requested}; {why}"
    give_up_polling(ctx.db, poll, why, cancel_confirmed=bool(canceled))


def _cancel(ctx: Context, system: BuildSystem, poll: PollWork) -> str:
    """What became of the cancel, where we are rid of the build; empty where the other side did not take it."""
    name = poll.ref.system
    try:
        system.cancel(poll.ref)
    except BuildVanished:
        return f"{name} took the cancel"
    except ForeignBuild as error:
        note_cancel_sent(ctx.db, poll, f"{LET_GO}: {error}")
        return f"{LET_GO}: {error}"
    except Exception as error:
        # The trouble of one build: its neighbours are still read.
        note_cancel_sent(ctx.db, poll, f"{name} did not take the cancel: {error}")
        return ""
    why = poll.cancel_requested or "its deadline has passed"
    note_cancel_sent(ctx.db, poll, f"asked {name} to cancel build {poll.ref.external_id}: {why}")
    return f"{name} took the cancel"
