"""The steps of a build: prepare, submit, look again. Claim, act, record; no transaction is open while acting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from service.builds.claims import BuildWork, back_off, claim_build, end_build, permit_submission
from service.builds.submissions import (
    begin_resubmit,
    begin_submit,
    mark_release,
    note_doubt,
    record_submission,
)
from service.contacts import record_contact
from service.domain.reports import BuildRef, Fence, ScmCommit, Srpm, SubmissionKey
from service.domain.specs import SpecFile
from service.domain.states import BuildState
from workers.builds.side_tags import before_preparation, take_turn, without_side_tag
from workers.buildsystems import (
    BuildSystem,
    BuildSystemUnavailable,
    NameTaken,
    NeedsPerson,
    SideTagVanished,
    SubmissionRefused,
    SubmissionUnknown,
)
from workers.context import Context
from workers.distgit.commit import prepare_commit, restore_commit
from workers.packaging.preparation import (
    LicenseQuestion,
    PreparationFailed,
    SrpmLost,
    prepare_srpm,
    restore_srpm,
)
from workers.sources.archives import SourceDamaged, SourceRefused
from workers.sources.fetch import SourceChanged, SourceUnavailable

log = structlog.get_logger()


def advance(ctx: Context, build_id: int) -> None:
    """Take one build as far as it goes now. Never raises for trouble of the outside: that becomes a reason."""
    settings = ctx.settings
    work = claim_build(
        ctx.db, build_id, lease_seconds=settings.step_lease_seconds, max_tries=settings.max_tries
    )
    if work is None:
        return
    try:
        STEPS[work.state](ctx, work)
    except SourceUnavailable as error:
        _wait(ctx, work, f"source: {error}", error.retry_after)
    except SourceChanged as error:
        mark_release(ctx.db, work.release_id, str(error))
        end_build(ctx.db, work, BuildState.FAILED, f"source: {error}")
    except SourceDamaged as error:
        _try_again(ctx, work, f"source: {error}; downloading it again")
    except LicenseQuestion as error:
        end_build(ctx.db, work, BuildState.HELD, str(error))
    except (SourceRefused, PreparationFailed) as error:
        end_build(ctx.db, work, BuildState.FAILED, str(error))
    except SrpmLost as error:
        end_build(ctx.db, work, BuildState.ERRORED, str(error))
    except BuildSystemUnavailable as error:
        record_contact(ctx.db, work.target.system, str(error))
        _wait(ctx, work, f"{work.target.system}: {error}", error.retry_after)
    except NeedsPerson as error:
        record_contact(ctx.db, work.target.system, str(error))
        end_build(ctx.db, work, BuildState.HELD, f"{work.target.system}: {error}")
    except SideTagVanished as error:
        without_side_tag(ctx, work, str(error))
    except SubmissionRefused as error:
        _refused(ctx, work, error)
    except Exception as error:
        log.exception("step failed", build=work.id, state=str(work.state))
        _try_again(ctx, work, f"internal trouble while {work.state}: {type(error).__name__}: {_line(error)}")


def prepare(ctx: Context, work: BuildWork) -> None:
    """Spec, sources, SRPM or commit; the build's turn in its side tag; then the intent; then the submission itself."""
    if not before_preparation(ctx, work):
        return
    made = _make(ctx, work)
    ready = take_turn(ctx, work) if made else None
    if made is None or ready is None:
        return
    handed, spec, number = made
    work = ready
    system = ctx.system(work.target.system)
    fence = system.open(work.target)
    record_contact(ctx.db, work.target.system)
    submitting = begin_submit(
        ctx.db,
        work,
        spec=spec,
        srpm_name=handed.name if isinstance(handed, Srpm) else None,
        srpm_sha256=handed.sha256 if isinstance(handed, Srpm) else None,
        release_number=number,
        key=SubmissionKey.fresh(work.id),
        fence=fence,
        lease_seconds=ctx.settings.step_lease_seconds,
    )
    if submitting is not None:
        hand_over(ctx, submitting, handed, system)


def _make(ctx: Context, work: BuildWork) -> tuple[Srpm | ScmCommit, SpecFile, int | None] | None:
    """What is handed over, its spec, and its release number where we count it. None: nothing yet, which is recorded."""
    if work.target.dist_git is None:
        prepared = prepare_srpm(ctx, work)
        return prepared.srpm, prepared.spec, prepared.release_number
    ready = prepare_commit(ctx, work, work.target.dist_git)
    return None if ready is None else (ready.commit, ready.spec, None)


def look_again(ctx: Context, work: BuildWork) -> None:
    """Somebody may have submitted this build before us: search until the answer is certain, and adopt."""
    system = ctx.system(work.target.system)
    doubt = note_doubt(ctx.db, work)
    if doubt is None:
        return
    fence: Fence = {**work.fence, "doubt_seconds": doubt}
    found = system.find(work.target, _key(work), fence)
    record_contact(ctx.db, work.target.system)
    if found.refs:
        _record(ctx, work, found.refs[0], adopted=True)
        return
    if not found.certain:
        reason = (
            f"{work.target.system} has not shown an earlier submission yet; looking again before submitting"
        )
        back_off(ctx.db, work, reason, delay_seconds=ctx.settings.retry_seconds / 3, spend_try=False)
        return
    if work.cancel_requested:
        end_build(ctx.db, work, BuildState.CANCELED, work.cancel_requested)
    elif work.past_deadline or not work.tries_left:
        limit = "its deadline passed" if work.past_deadline else "all tries are spent"
        why = f"not submitted, and certainly not at {work.target.system}: {limit}. Last: {work.last_reason}"
        end_build(ctx.db, work, BuildState.ERRORED, why)
    else:
        policy = work.target.dist_git
        handed = restore_commit(ctx, work, policy) if policy else restore_srpm(ctx, work)
        again = system.reopen(work.target, work.fence)
        if begin_resubmit(ctx.db, work, fence=again, lease_seconds=ctx.settings.step_lease_seconds):
            hand_over(ctx, replace(work, fence=again), handed, system)


def hand_over(ctx: Context, work: BuildWork, handed: Srpm | ScmCommit, system: BuildSystem) -> None:
    """The act itself. Any doubt leaves the build in ``submitting``, where the next claim looks before it acts."""
    if not permit_submission(ctx.db, work, lease_seconds=ctx.settings.step_lease_seconds):
        return
    try:
        ref = system.submit(handed, work.target, _key(work), work.fence)
    except (SubmissionUnknown, BuildSystemUnavailable) as error:
        record_contact(ctx.db, work.target.system, str(error))
        reason = f"{work.target.system}: {error}; looking for the build before submitting again"
        back_off(ctx.db, work, reason, delay_seconds=ctx.settings.retry_seconds / 3, spend_try=False)
        return
    except SubmissionRefused as error:
        _refused(ctx, work, error)
        return
    except NeedsPerson as error:
        end_build(ctx.db, work, BuildState.HELD, f"{work.target.system}: {error}")
        return
    except Exception as error:
        # A time limit or our own fault in the middle of the act is a doubt like any other.
        log.exception("submission broke off", build=work.id)
        _try_again(
            ctx, work, f"the submission broke off ({type(error).__name__}); looking for the build first"
        )
        return
    _record(ctx, work, ref, adopted=False)


STEPS: Mapping[BuildState, Callable[[Context, BuildWork], None]] = {
    BuildState.PREPARING: prepare,
    BuildState.SUBMITTING: look_again,
}


def _record(ctx: Context, work: BuildWork, ref: BuildRef, *, adopted: bool) -> None:
    dropped = work.fence.get("dropped")
    record_submission(
        ctx.db,
        work,
        ref,
        skipped=dropped if isinstance(dropped, Mapping) else {},
        adopted=adopted,
        poll_seconds=min(ctx.settings.poll_seconds, ctx.settings.sweep_seconds),
        surplus_seconds=2 * ctx.settings.submit_doubt_seconds,
    )


def _refused(ctx: Context, work: BuildWork, error: SubmissionRefused) -> None:
    state = BuildState.ERRORED if isinstance(error, NameTaken) else BuildState.FAILED
    end_build(ctx.db, work, state, f"{work.target.system} refused it: {error}")


def _key(work: BuildWork) -> SubmissionKey:
    return SubmissionKey(work.submission_key or "")


def _wait(ctx: Context, work: BuildWork, reason: str, retry_after: float) -> None:
    delay = min(max(retry_after, ctx.settings.retry_seconds), ctx.settings.retry_max_seconds)
    back_off(ctx.db, work, reason, delay_seconds=delay, spend_try=False)


def _try_again(ctx: Context, work: BuildWork, reason: str) -> None:
    spent = ctx.settings.max_tries - work.tries_left
    delay = min(ctx.settings.retry_seconds * 2 ** max(spent - 1, 0), ctx.settings.retry_max_seconds)
    back_off(ctx.db, work, reason, delay_seconds=delay)


def _line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0][:300]
