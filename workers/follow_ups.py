"""Running follow-ups: claim, act by kind, record. What comes to nothing is tried again, and ends with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from service.builds.follow_ups import (
    DIAGNOSE,
    LOGS,
    PATIENT,
    PULL_REQUEST,
    REPOSITORY,
    SHIPPED,
    SURPLUS,
    VERIFY,
    FollowUpWork,
    claim_follow_up,
    end_follow_up,
    postpone_follow_up,
    repeat_follow_up,
)
from workers.builds.surplus import search_surplus
from workers.context import Context
from workers.distgit.new_packages import look_for_repository
from workers.distgit.pull_watch import watch_pull
from workers.outcomes import Again, Done, NotYet
from workers.results.build_logs import fetch_logs
from workers.results.diagnosis import read_for_cause
from workers.results.shipping import look_at_tags
from workers.results.verification import verify

FOLLOW_UP_TRIES = 8

Runner = Callable[[Context, FollowUpWork], Done | Again]

RUNNERS: Mapping[str, Runner] = {
    DIAGNOSE: read_for_cause,
    LOGS: fetch_logs,
    PULL_REQUEST: watch_pull,
    SURPLUS: search_surplus,
    REPOSITORY: look_for_repository,
    SHIPPED: look_at_tags,
    VERIFY: verify,
}

log = structlog.get_logger()


def run_follow_up(ctx: Context, follow_up_id: int) -> None:
    """Run one follow-up if it is due. Never raises for trouble of the outside: that becomes a reason."""
    settings = ctx.settings

    work = claim_follow_up(
        ctx.db,
        follow_up_id,
        lease_seconds=lambda kind: settings.step_lease_seconds,
        max_tries=FOLLOW_UP_TRIES + 1,
    )
    if work is None:
        return
    try:
        runner = RUNNERS.get(work.kind)
        if runner is None:
            raise NotYet(f"this worker knows no follow-up of the kind {work.kind}", spend_try=False)
        done = runner(ctx, work)
        if isinstance(done, Again):
            repeat_follow_up(ctx.db, work, done.text, delay_seconds=done.delay_seconds, record=done.record)
        else:
            end_follow_up(ctx.db, work, done.outcome, done.record)
    except NotYet as error:
        _later(ctx, work, str(error), error.retry_after, spend_try=error.spend_try)
    except Exception as error:
        log.exception("follow-up failed", follow_up=work.id, kind=work.kind, build=work.build_id)
        said = str(error).split("\n", 1)[0][:300]
        _later(ctx, work, f"internal trouble: {type(error).__name__}: {said}", 0.0, spend_try=True)


def _later(ctx: Context, work: FollowUpWork, reason: str, retry_after: float, *, spend_try: bool) -> None:
    # A search that gave up would let a second build begin beside the one that it did not end.
    if spend_try and work.tries >= FOLLOW_UP_TRIES and work.kind not in PATIENT:
        end_follow_up(ctx.db, work, f"gave up after {work.tries} tries: {reason}")
        return
    if work.past_deadline and reason:
        end_follow_up(ctx.db, work, f"gave up, the build ended too long ago: {reason}")
        return
    settings = ctx.settings
    pause = settings.retry_seconds * 2 ** min(work.tries - 1, 16)
    delay = min(retry_after or pause, settings.retry_max_seconds)
    postpone_follow_up(ctx.db, work, reason, delay_seconds=delay, spend_try=spend_try)
