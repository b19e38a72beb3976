"""Following a pull request until a person has merged or closed it, or until its build needs it no more."""

from __future__ import annotations

from service.builds.follow_ups import FollowUpWork
from service.distgit.pull_requests import (
    Followed,
    cancel_closed,
    followed,
    go_on_after_merge,
    record_late_merge,
    record_pull,
    show_trouble,
)
from service.domain.distgit import PullRequest, PullState, fork_branch
from workers.context import Context
from workers.distgit.git import GitTrouble, remote_branches
from workers.distgit.pull_requests import build_url, choose, doubt_seconds, look_seconds
from workers.forges import Forge, ForgeError, ForgeMissing
from workers.outcomes import Done, NotYet


def watch_pull(ctx: Context, work: FollowUpWork) -> Done:
    """Let the build go on after the merge, end it where the pull request was closed, close what nobody needs.

    Raises NotYet until then, which never spends a try: a person may take weeks.
    """
    seen = followed(ctx.db, work.build_id)
    if seen is None:
        return Done("there is no pull request to follow")
    try:
        forge = ctx.forge(seen.policy)
        pull = _look(ctx, forge, seen)
        if pull is None:
            return _nothing_yet(ctx, seen)
        record_pull(ctx.db, work.build_id, pull)
        settle = {PullState.MERGED: _merged, PullState.CLOSED: _closed, PullState.OPEN: _open}[pull.state]
        done = settle(ctx, forge, work.build_id, seen, pull)
    except ForgeMissing as error:
        if seen.over:
            return Done(f"nothing is left to close: {error}")
        raise _trouble(ctx, work.build_id, f"forge: {error}") from error
    except ForgeError as error:
        raise _trouble(ctx, work.build_id, f"forge: {error}") from error
    except GitTrouble as error:
        raise _trouble(ctx, work.build_id, f"dist-git: {error}") from error
    if done is None:
        raise _later(ctx)
    return done


def _look(ctx: Context, forge: Forge, seen: Followed) -> PullRequest | None:
    """The pull request as it stands. While a lost request may still arrive, all of the branch are looked for."""
    if seen.pull is None or seen.asked_seconds < 2 * doubt_seconds(ctx):
        return choose(forge, seen.package, forge.find(seen.package, fork_branch(seen.key)))
    return forge.get(seen.package, seen.pull.number)


def _nothing_yet(ctx: Context, seen: Followed) -> Done:
    if seen.over and seen.asked_seconds > doubt_seconds(ctx):
        return Done("no pull request was opened")
    raise _later(ctx)


def _merged(ctx: Context, forge: Forge, build_id: int, seen: Followed, pull: PullRequest) -> Done | None:
    told = f"{pull} is merged"
    if go_on_after_merge(ctx.db, build_id, why=told):
        return Done(f"{told}; the build goes on")
    if not seen.over:
        return None
    record_late_merge(ctx.db, build_id, pull)
    return Done(told)


def _closed(ctx: Context, forge: Forge, build_id: int, seen: Followed, pull: PullRequest) -> Done | None:
    # Who merges by hand pushes, and then closes the pull request.
    if _goes_on_after_move(ctx, build_id, seen, f"{pull} is closed; looking whether the change is there"):
        return None
    if cancel_closed(ctx.db, build_id, pull) or seen.over:
        return Done(f"{pull} is closed")
    return None


def _open(ctx: Context, forge: Forge, build_id: int, seen: Followed, pull: PullRequest) -> Done | None:
    if seen.over:
        forge.comment(seen.package, pull.number, _farewell(ctx, build_id, seen))
        forge.close(seen.package, pull.number)
        # Somebody may have merged it before that, which the next merge needs to know.
        now = forge.get(seen.package, pull.number)
        record_pull(ctx.db, build_id, now)
        if now.state is PullState.MERGED:
            return _merged(ctx, forge, build_id, seen, now)
        closed = now.state is PullState.CLOSED
        return Done(f"closed {pull}, since the build {seen.reason}") if closed else None
    _goes_on_after_move(ctx, build_id, seen, f"{pull} is looked at again")
    return None


def _goes_on_after_move(ctx: Context, build_id: int, seen: Followed, what: str) -> bool:
    """Let the build go on whose branch has something else than it was last compared with."""
    if not seen.follows:
        return False
    head = remote_branches(seen.policy.repository_url(seen.package)).get(seen.branch, "")
    if not head or head == seen.base:
        return False
    return go_on_after_merge(ctx.db, build_id, why=f"{seen.branch} has moved to {head[:12]}; {what}")


def _farewell(ctx: Context, build_id: int, seen: Followed) -> str:
    reason = seen.reason.partition("; to propose it again")[0]
    return f"Closed, since [build {build_id}]({build_url(ctx, build_id)}) of {seen.tag} {reason}."


def _trouble(ctx: Context, build_id: int, trouble: str) -> NotYet:
    """Who has merged and waits looks at the build, and not at what follows it."""
    show_trouble(ctx.db, build_id, trouble)
    return _later(ctx, trouble)


def _later(ctx: Context, reason: str = "") -> NotYet:
    return NotYet(reason, retry_after=look_seconds(ctx), spend_try=False)
