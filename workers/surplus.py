"""The search for surplus twins of a submission that was in doubt."""

from __future__ import annotations

from service.domain.reports import SubmissionKey
from service.follow_ups import FollowUpWork, surplus_work
from workers.buildsystems import BuildSystemError, BuildSystemUnavailable
from workers.context import Context
from workers.outcomes import Done, NotYet


def search_surplus(ctx: Context, work: FollowUpWork) -> Done:
    """Cancel all builds under the submission's key but the one that we follow. Raises NotYet."""
    wanted = surplus_work(ctx.db, work)
    if not wanted.settled:
        raise NotYet("", retry_after=ctx.settings.poll_seconds, spend_try=False)
    try:
        system = ctx.system(wanted.target.system)
        fence = {**wanted.fence, "doubt_seconds": float("inf")}
        found = system.find(wanted.target, SubmissionKey(wanted.key), fence)
        twins = [ref for ref in found.refs if ref.external_id != wanted.keep]
        for ref in twins:
            system.cancel(ref)
    except BuildSystemUnavailable as error:
        pause = max(error.retry_after, ctx.settings.poll_seconds)
        raise NotYet(f"looking for surplus builds: {error}", retry_after=pause, spend_try=False) from error
    except BuildSystemError as error:
        raise NotYet(f"looking for surplus builds: {error}", retry_after=ctx.settings.poll_seconds) from error
    if not twins and not found.certain:
        raise NotYet(
            f"{wanted.target.system} could not say for certain that there is no surplus build",
            retry_after=ctx.settings.poll_seconds,
            spend_try=False,
        )
    if not twins:
        return Done("no surplus build was found")
    ids = ", ".join(ref.external_id for ref in twins)
    return Done(f"canceled surplus {wanted.target.system} builds {ids}")
