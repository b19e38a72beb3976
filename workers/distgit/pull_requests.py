"""A change of dist-git as a pull request from a fork. Every step looks before it acts.

The change's key names a branch of the fork that nothing else uses. So whoever comes after a crash, or after an answer
that was lost, finds what its predecessor pushed and opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.builds.claims import BuildWork, back_off, end_build
from service.distgit.changes import Change
from service.distgit.pull_requests import (
    ask_for_pull,
    cancel_closed,
    hold_for_merge,
    note_fork_head,
    record_pull,
    seconds_since,
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
from workers.distgit.git import Credential, Repository, RepositoryMissing, remote_branches
from workers.forges import Forge, ForgeUnavailable, Proposal

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
    """Our fork, made where it is missing. None: the lease was lost. Raises ForgeError, GitTrouble."""
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
    """Put our branch at a commit that was written down. False: the lease was lost. Raises GitTrouble."""
    if fork.head != commit:
        repository.replace(fork.push_url, commit, fork.branch, expected=fork.head, credential=fork.credential)
    return note_fork_head(ctx.db, work, commit)


def propose(
    ctx: Context, work: BuildWork, change: Change, fork: Fork, *, base: str, evr: str, diffstat: str,
    decision: Decision,
) -> None:  # fmt: skip
    """See to it that there is one pull request from our branch, and wait for its merge. Raises ForgeError.

    ``base`` is the head of the branch that it was compared with.
    """
    pull = choose(fork.forge, work.package, fork.forge.find(work.package, fork.branch))
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


def choose(forge: Forge, package: str, found: Sequence[PullRequest]) -> PullRequest | None:
    """The pull request that counts: a merged one, else the first that is open. Other open ones are closed."""
    rank = {PullState.MERGED: 0, PullState.OPEN: 1, PullState.CLOSED: 2}
    chosen = min(found, key=lambda pull: (rank[pull.state], pull.number), default=None)
    for pull in found:
        if chosen is not None and pull.state is PullState.OPEN and pull.number != chosen.number:
            forge.comment(package, pull.number, f"This is the same as #{chosen.number}, which counts.")
            forge.close(package, pull.number)
    return chosen


def doubt_seconds(ctx: Context) -> float:
    """How long after a pull request was asked for the request may still arrive at the forge."""
    return 2 * ctx.settings.forge_seconds


def look_seconds(ctx: Context) -> float:
    """The pause between two looks at dist-git or a forge."""
    return min(ctx.settings.distgit_look_seconds, ctx.settings.retry_max_seconds)


def build_url(ctx: Context, build_id: int) -> str:
    """The address of a build's page."""
    return f"{ctx.settings.base_url}/builds/{build_id}"


def _open(
    ctx: Context, work: BuildWork, change: Change, fork: Fork, *, evr: str, diffstat: str, decision: Decision
) -> PullRequest | None:
    """Ask for the pull request once. None: it is not certain that there is one, which is recorded."""
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
    """The claim carries out a cancel that was asked for meanwhile; a lost lease leaves nothing to do."""
    back_off(
        ctx.db, work, "no pull request is opened: a cancel was asked for", delay_seconds=0.0, spend_try=False
    )


def hold_for_forge(ctx: Context, work: BuildWork, error: Exception) -> None:
    """Hold a build for what only a person can put right at the forge."""
    end_build(ctx.db, work, BuildState.HELD, f"forge: {error}; put that right and resume the build")


def _forge_of(policy: DistGitPolicy) -> ForgePolicy:
    assert policy.forge is not None, "a build whose target names no forge is held before"
    return policy.forge
