"""Following builds to their end: one read per project."""

from __future__ import annotations

import structlog

from service.contacts import record_contact
from service.domain.reports import BuildReport, PollProblem
from service.domain.states import BuildState, rollup
from service.observations import (
    claim_polls,
    give_up_polling,
    note_cancel_sent,
    record_poll_problem,
    record_report,
    release_polls,
)
from service.work import PollWork
from workers.buildsystems import BuildSystem, BuildSystemError, BuildSystemUnavailable, BuildVanished
from workers.context import Context

log = structlog.get_logger()


def poll_project(ctx: Context, system_name: str, project: str) -> None:
    """Read all due builds of one project at once and write down what was seen."""
    polls = claim_polls(ctx.db, system_name, project, lease_seconds=ctx.settings.poll_lease_seconds)
    if not polls:
        return
    pace = ctx.settings.poll_seconds
    try:
        system = ctx.system(system_name)
        for poll in polls:
            if poll.cancel_requested or poll.past_deadline:
                _cancel(ctx, system, poll)
        seen = system.poll([poll.ref for poll in polls])
    except BuildSystemError as error:
        record_contact(ctx.db, system_name, str(error))
        wait = error.retry_after if isinstance(error, BuildSystemUnavailable) else 0.0
        reason = f"{system_name} could not be asked: {error}"
        delay = max(min(wait, ctx.settings.retry_max_seconds), pace)
        # Being away spends the deadline and nothing else; when that is over, waiting on would be for ever.
        for poll in polls:
            if poll.past_deadline:
                _give_up(ctx, poll, str(error))
        release_polls(ctx.db, polls, reason, delay_seconds=delay)
        return
    record_contact(ctx.db, system_name)
    for poll in polls:
        _record(ctx, poll, seen.get(poll.ref), pace)


def _record(ctx: Context, poll: PollWork, report: BuildReport | PollProblem | None, pace: float) -> None:
    if report is None:
        report = PollProblem("the build system left this build out of its answer")
    if poll.past_deadline and not _has_verdict(report):
        _give_up(ctx, poll, report.reason)
    elif isinstance(report, PollProblem):
        record_poll_problem(ctx.db, poll, report, poll_seconds=pace)
    else:
        record_report(ctx.db, poll, report, poll_seconds=pace)


def _has_verdict(report: BuildReport | PollProblem) -> bool:
    """Whether the build ended by itself; a cancel that we sent because of the deadline is no verdict."""
    if isinstance(report, PollProblem):
        return report.vanished
    ended = report.ended or rollup(chroot.state for chroot in report.chroots)
    return ended in (BuildState.SUCCEEDED, BuildState.FAILED)


def _give_up(ctx: Context, poll: PollWork, said: str) -> None:
    last = f"; it said: {said}" if said else ""
    why = poll.cancel_requested or f"no end by its deadline; {poll.ref.system} was asked to cancel it{last}"
    give_up_polling(ctx.db, poll, why)


def _cancel(ctx: Context, system: BuildSystem, poll: PollWork) -> None:
    try:
        system.cancel(poll.ref)
    except BuildVanished:
        return
    except BuildSystemError as error:
        # The trouble of one build: its neighbours are still read.
        note_cancel_sent(ctx.db, poll, f"{poll.ref.system} did not take the cancel: {error}")
        return
    why = poll.cancel_requested or "its deadline has passed"
    note_cancel_sent(ctx.db, poll, f"asked {poll.ref.system} to cancel build {poll.ref.external_id}: {why}")
