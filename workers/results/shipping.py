"""Reading how far real builds have been shipped: one look at the tags of all builds of a hub that are due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from service.builds.follow_ups import (
    FollowUpWork,
    ShippedWork,
    claim_alike,
    end_follow_up,
    postpone_follow_up,
    repeat_follow_up,
    shipped_work,
    stage_record,
)
from service.domain.reports import BuildRef, PollProblem, TagReport
from service.domain.shipping import judge_tags, next_look
from workers.buildsystems import BuildSystemError
from workers.context import Context
from workers.outcomes import Again, Done, NotYet


def look_at_tags(ctx: Context, work: FollowUpWork) -> Done | Again:
    """Read the tags of this build and of its neighbours that are due; writes down the neighbours'. Raises NotYet.

    Trouble of the build system spends no try and ends nothing.
    """
    first = shipped_work(ctx.db, work)
    others = claim_alike(ctx.db, first, lease_seconds=ctx.settings.step_lease_seconds)
    try:
        answers = _read(ctx, [first, *others])
    except NotYet as error:
        for other in others:
            _postpone(ctx, other, error)
        raise
    for other in others:
        try:
            came_to = judge_answer(ctx, other, answers.get(other.ref))
        except NotYet as error:
            _postpone(ctx, other, error)
            continue
        if isinstance(came_to, Done):
            end_follow_up(ctx.db, other.work, came_to.outcome, came_to.record)
        else:
            repeat_follow_up(
                ctx.db,
                other.work,
                came_to.text,
                delay_seconds=came_to.delay_seconds,
                record=came_to.record,
            )
    return judge_answer(ctx, first, answers.get(first.ref))


def _read(ctx: Context, wanted: Sequence[ShippedWork]) -> Mapping[BuildRef, TagReport | PollProblem]:
    name = wanted[0].ref.system
    try:
        return ctx.system(name).tags([one.ref for one in wanted])
    except BuildSystemError as error:
        raise _later(ctx, f"{name} could not be asked for tags: {error}") from error


def judge_answer(ctx: Context, one: ShippedWork, answer: TagReport | PollProblem | None) -> Done | Again:
    """What one build's answer comes to. None: the build system left it out. Raises NotYet."""
    settings = ctx.settings
    report = answer or PollProblem("the build system left this build out of its answer")
    too_long = one.now - one.moved_at > timedelta(days=settings.shipped_look_days)
    if isinstance(report, PollProblem):
        if report.vanished or too_long:
            return Done(f"nobody looks at its tags any more: {report.reason}")
        raise _later(ctx, report.reason)
    longest = timedelta(seconds=settings.shipped_look_max_seconds)
    seen = judge_tags(report, one.stages, now=one.now, grace=longest)
    if seen.ended:
        return Done(seen.text, stage_record(seen, report.nvr))
    moved_at = max(one.moved_at, seen.since or one.moved_at)
    if one.now - moved_at > timedelta(days=settings.shipped_look_days):
        why = f"nothing has moved for {settings.shipped_look_days:g} days, and nobody looks any more"
        return Done(f"{seen.text}; {why}", stage_record(seen, report.nvr))
    shortest = timedelta(seconds=settings.shipped_look_seconds)
    pause = next_look(one.now, moved_at, shortest=shortest, longest=longest)
    return Again(seen.text, pause.total_seconds(), stage_record(seen, report.nvr))


def _later(ctx: Context, reason: str) -> NotYet:
    return NotYet(reason, retry_after=ctx.settings.shipped_look_seconds, spend_try=False)


def _postpone(ctx: Context, one: ShippedWork, error: NotYet) -> None:
    delay = min(error.retry_after, ctx.settings.retry_max_seconds)
    postpone_follow_up(ctx.db, one.work, str(error), delay_seconds=delay, spend_try=False)
