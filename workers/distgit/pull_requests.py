"""Propose a change of dist-git as a pull request from our fork, and follow the pull request to its end.

Every step looks before it acts: the change's key names a branch of the fork that nothing else uses. So a worker that
comes after a crash, or after an answer that was lost, finds what its predecessor pushed and opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.builds.claims import BuildWork, back_off, end_build
from service.builds.follow_ups import Done, FollowUpWork, NotYet
from service.distgit.changes import Change
from service.distgit.pull_requests import (
    Followed,
    ask_for_pull,
    cancel_closed,
    followed,
    go_on_after_merge,
    hold_for_merge,
    note_fork_head,
    record_late_merge,
    record_pull,
    seconds_since,
    show_trouble,
)
from service.domain.distgit import (
    Decision,
    DistGitPolicy,
    ForgePolicy,
    PullRequest,
    PullState,
    fork_branch,
    pull_text,
    pull_title,
)
from service.domain.states import BuildState
from workers.context import Context
from workers.distgit.git import Credential, GitTrouble, Repository, RepositoryMissing, remote_branches
from workers.forges import Forge, ForgeError, ForgeMissing, ForgeUnavailable, Proposal

SOMEBODY_PUSHED = "somebody else has pushed to its branch, which is left as it is"


@dataclass(frozen=True)
class Fork:
    """Our fork of a package's repository, and what our branch there holds. ``head`` is empty before the first push.

    ``foreign``: somebody else has pushed to the branch, so that we do not write to it any more.
    """

    forge: Forge
    push_url: str
    branch: str
    head: str
    foreign: bool
    credential: Credential


def look_at_fork(ctx: Context, work: BuildWork, policy: DistGitPolicy, change: Change) -> Fork | None:
    """Return our fork, made where it is missing. None: the lease was lost. Raises ForgeError, GitTrouble."""
    forge, where = ctx.forge(policy), _forge_of(policy)
    if not change.pull_head:
        forge.fork(work.package)
    user = forge.user()
    credential = Credential(user, ctx.settings.forge_token.get_secret_value())
    url, branch = where.fork_url(user, work.package), fork_branch(change.key)
    try:
        head = remote_branches(url, credential=credential).get(branch, "")
    except RepositoryMissing:
        # Somebody has removed it since: it is made again, and looked at the next time.
        forge.fork(work.package)
        raise
    # What was pushed before a crash is ours by the commit that was written down before the push.
    if head and head == change.commit != change.pull_head and not note_fork_head(ctx.db, work, head):
        return None
    return Fork(
        forge=forge,
        push_url=where.fork_push_url(user, work.package),
        branch=branch,
        head=head,
        foreign=head not in ("", change.pull_head, change.commit),
        credential=credential,
    )


def push_to_fork(ctx: Context, work: BuildWork, repository: Repository, fork: Fork, commit: str) -> bool:
    """Push a recorded commit to our branch of the fork. False: the lease was lost. Raises GitTrouble."""
    if fork.head != commit:
        repository.replace(fork.push_url, commit, fork.branch, expected=fork.head, credential=fork.credential)
    return note_fork_head(ctx.db, work, commit)


def propose(
    ctx: Context, work: BuildWork, change: Change, fork: Fork, *, base: str, evr: str, diffstat: str,
    decision: Decision,
) -> None:  # fmt: skip
    """Make sure that there is one pull request from our branch, and wait for its merge. Raises ForgeError.

    ``base`` is the head of the branch that it was compared with.
    """
    pull = choose_pull_request(fork.forge, work.package, fork.forge.find(work.package, fork.branch))
    if pull is None:
        pull = _open(ctx, work, change, fork, evr=evr, diffstat=diffstat, decision=decision)
    if pull is None:
        return
    record_pull(ctx.db, work.id, pull)
    pace = look_seconds(ctx)
    if pull.state is PullState.MERGED:
        back_off(ctx.db, work, f"{pull} is merged already", delay_seconds=0.0, spend_try=False)
        return
    note = SOMEBODY_PUSHED if fork.foreign else ""
    held = hold_for_merge(ctx.db, work, pull=pull, base=base, note=note, look_seconds=pace)
    if held and pull.state is PullState.CLOSED:
        cancel_closed(ctx.db, work.id, pull)


def choose_pull_request(forge: Forge, package: str, found: Sequence[PullRequest]) -> PullRequest | None:
    """Return the pull request that counts: a merged one, else the first open one. Other open ones are closed."""
    rank = {PullState.MERGED: 0, PullState.OPEN: 1, PullState.CLOSED: 2}
    chosen = min(found, key=lambda pull: (rank[pull.state], pull.number), default=None)
    for pull in found:
        if chosen is not None and pull.state is PullState.OPEN and pull.number != chosen.number:
            forge.comment(package, pull.number, f"This is the same as #{chosen.number}, which counts.")
            forge.close(package, pull.number)
    return chosen


def doubt_seconds(ctx: Context) -> float:
    """Return for how many seconds a request to open a pull request may still arrive at the forge."""
    return 2 * ctx.settings.forge_seconds


def look_seconds(ctx: Context) -> float:
    """Return the pause between two looks at dist-git or a forge, in seconds."""
    return min(ctx.settings.distgit_look_seconds, ctx.settings.retry_max_seconds)


def build_url(ctx: Context, build_id: int) -> str:
    """Return the address of a build's page."""
    return f"{ctx.settings.base_url}/builds/{build_id}"


def _open(
    ctx: Context, work: BuildWork, change: Change, fork: Fork, *, evr: str, diffstat: str, decision: Decision
) -> PullRequest | None:
    """Open the pull request, and ask for it once only. None: it is not certain that there is one, which is recorded."""
    if change.pull_asked_at is not None:
        left = doubt_seconds(ctx) - seconds_since(ctx.db, change.pull_asked_at)
        if left > 0:
            reason = "a pull request was asked for without an answer; waits until that request cannot arrive any more"
            back_off(
                ctx.db,
                work,
                reason,
                delay_seconds=min(left, ctx.settings.retry_seconds),
                spend_try=False,
            )
            return None
    project = ctx.catalog.families[work.family].repository
    proposal = Proposal(
        branch=fork.branch,
        target=work.branch,
        title=pull_title(package=work.package, version=work.version, branch=work.branch),
        text=pull_text(
            project=project, tag=work.tag, evr=evr, build_url=build_url(ctx, work.id), decision=str(decision),
            diffstat=diffstat, branch=work.branch, key=change.key,
        ),
    )  # fmt: skip
    if not ask_for_pull(ctx.db, work, look_seconds=look_seconds(ctx)):
        _end_if_canceled(ctx, work)
        return None
    try:
        return fork.forge.open(work.package, proposal)
    except ForgeUnavailable as error:
        reason = f"forge: {error}; looking for the pull request before asking again"
        back_off(ctx.db, work, reason, delay_seconds=ctx.settings.retry_seconds / 3, spend_try=False)
        return None


def _end_if_canceled(ctx: Context, work: BuildWork) -> None:
    """Make the build due at once, so that its next claim carries out the cancel; without the lease nothing happens."""
    back_off(
        ctx.db, work, "no pull request is opened: a cancel was asked for", delay_seconds=0.0, spend_try=False
    )


def hold_for_forge(ctx: Context, work: BuildWork, error: Exception) -> None:
    """Hold a build for an error that only a person can put right at the forge."""
    end_build(ctx.db, work, BuildState.HELD, f"forge: {error}; put that right and resume the build")


def _forge_of(policy: DistGitPolicy) -> ForgePolicy:
    assert policy.forge is not None, "a build whose target names no forge is held before"
    return policy.forge


def watch_pull(ctx: Context, work: FollowUpWork) -> Done:
    """Follow-up: let the build go on after the merge, end it if the pull request was closed, close one not needed.

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
        settle = {PullState.MERGED: _pull_merged, PullState.CLOSED: _pull_closed, PullState.OPEN: _pull_open}[
            pull.state
        ]
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
    """Return the pull request as it is now. While a lost request may still arrive, all of the branch are searched."""
    if seen.pull is None or seen.asked_seconds < 2 * doubt_seconds(ctx):
        return choose_pull_request(forge, seen.package, forge.find(seen.package, fork_branch(seen.key)))
    return forge.get(seen.package, seen.pull.number)


def _nothing_yet(ctx: Context, seen: Followed) -> Done:
    if seen.over and seen.asked_seconds > doubt_seconds(ctx):
        return Done("no pull request was opened")
    raise _later(ctx)


def _pull_merged(ctx: Context, forge: Forge, build_id: int, seen: Followed, pull: PullRequest) -> Done | None:
    told = f"{pull} is merged"
    if go_on_after_merge(ctx.db, build_id, why=told):
        return Done(f"{told}; the build goes on")
    if not seen.over:
        return None
    record_late_merge(ctx.db, build_id, pull)
    return Done(told)


def _pull_closed(ctx: Context, forge: Forge, build_id: int, seen: Followed, pull: PullRequest) -> Done | None:
    # A person who merges by hand pushes, and then closes the pull request.
    if _goes_on_after_move(ctx, build_id, seen, f"{pull} is closed; looking whether the change is there"):
        return None
    if cancel_closed(ctx.db, build_id, pull) or seen.over:
        return Done(f"{pull} is closed")
    return None


def _pull_open(ctx: Context, forge: Forge, build_id: int, seen: Followed, pull: PullRequest) -> Done | None:
    if seen.over:
        forge.comment(seen.package, pull.number, _farewell(ctx, build_id, seen))
        forge.close(seen.package, pull.number)
        # Somebody may have merged it before that, which the next merge needs to know.
        now = forge.get(seen.package, pull.number)
        record_pull(ctx.db, build_id, now)
        if now.state is PullState.MERGED:
            return _pull_merged(ctx, forge, build_id, seen, now)
        closed = now.state is PullState.CLOSED
        return Done(f"closed {pull}, since the build {seen.reason}") if closed else None
    _goes_on_after_move(ctx, build_id, seen, f"{pull} is looked at again")
    return None


def _goes_on_after_move(ctx: Context, build_id: int, seen: Followed, what: str) -> bool:
    """Let the build go on if its branch has moved since it was last compared with it; return whether it did."""
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
    """Show the error on the build, where a person who has merged looks, and try again later."""
    show_trouble(ctx.db, build_id, trouble)
    return _later(ctx, trouble)


def _later(ctx: Context, reason: str = "") -> NotYet:
    return NotYet(reason, retry_after=look_seconds(ctx), spend_try=False)
