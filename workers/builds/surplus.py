"""Ending what must not go on: twins of a submission that was in doubt, and builds that were given up."""

from __future__ import annotations

import time
from collections.abc import Sequence

from service.builds.follow_ups import FollowUpWork, surplus_work
from service.domain.reports import BuildRef, SubmissionKey
from workers.buildsystems import (
    BuildSystem,
    BuildSystemError,
    BuildSystemUnavailable,
    BuildVanished,
    ForeignBuild,
    NeedsPerson,
)
from workers.context import Context
from workers.outcomes import Done, NotYet


def search_surplus(ctx: Context, work: FollowUpWork) -> Done:
    """Cancel all builds under the submission's key but the one that we follow. Raises NotYet.

    One build that cannot be cancelled does not protect the others.
    """
    wanted = surplus_work(ctx.db, work)
    if not wanted.settled:
        raise NotYet("", retry_after=ctx.settings.poll_seconds, spend_try=False)
    try:
        system = ctx.system(wanted.target.system)
        fence = {**wanted.fence, "doubt_seconds": float("inf")}
        found = system.find(wanted.target, SubmissionKey(wanted.key), fence)
    except (BuildSystemUnavailable, NeedsPerson) as error:
        raise _away(ctx, error) from error
    except BuildSystemError as error:
        raise NotYet(f"looking for surplus builds: {error}", retry_after=ctx.settings.poll_seconds) from error
    twins = [ref for ref in found.refs if ref.external_id != wanted.keep]
    known = {ref.external_id for ref in twins}
    if wanted.given_up is not None and wanted.given_up.external_id not in known:
        twins.append(wanted.given_up)
    _cancel(ctx, system, twins)
    if not found.certain:
        raise NotYet(
            f"{wanted.target.system} could not say for certain that there is no surplus build",
            retry_after=ctx.settings.poll_seconds,
            spend_try=False,
        )
    if not twins:
        return Done("no surplus build was found")
    ids = ", ".join(ref.external_id for ref in twins)
    return Done(f"canceled surplus {wanted.target.system} builds {ids}")


def _cancel(ctx: Context, system: BuildSystem, twins: Sequence[BuildRef]) -> None:
    refused: BuildSystemError | None = None
    enough = time.monotonic() + ctx.settings.step_lease_seconds / 2
    for ref in twins:
        if time.monotonic() > enough:
            raise NotYet("more surplus builds are cancelled in the next round", spend_try=False)
        try:
            system.cancel(ref)
        except (BuildVanished, ForeignBuild):
            continue
        except BuildSystemError as error:
            refused = error
    if isinstance(refused, (BuildSystemUnavailable, NeedsPerson)):
        raise _away(ctx, refused) from refused
    if refused is not None:
        raise NotYet(
            f"a surplus build was not cancelled: {refused}", retry_after=ctx.settings.poll_seconds
        ) from refused


def _away(ctx: Context, error: BuildSystemError) -> NotYet:
    """A twin may run all the while, so the search outlasts an outage and a lack of rights."""
    named = error.retry_after if isinstance(error, BuildSystemUnavailable) else 0.0
    pause = max(named, ctx.settings.poll_seconds)
    return NotYet(f"looking for surplus builds: {error}", retry_after=pause, spend_try=False)
