"""A new package's repository and branch in dist-git: a build waits for them and goes on when they are there."""

from __future__ import annotations

from service.builds.claims import BuildWork
from service.builds.follow_ups import FollowUpWork
from service.distgit.changes import go_on_after_repository, hold_for_repository, waited_for
from service.domain.distgit import DistGitPolicy
from workers.context import Context
from workers.distgit.git import GitTrouble, Repository, RepositoryMissing, remote_branches
from workers.distgit.pull_requests import look_seconds
from workers.outcomes import Done, NotYet


def fetched_head(ctx: Context, work: BuildWork, policy: DistGitPolicy, repository: Repository) -> str:
    """The head of the branch; empty where the build was held for want of it."""
    url = policy.repository_url(work.package)
    missing, reason = "", ""
    try:
        repository.fetch()
    except RepositoryMissing:
        missing = "repository"
        reason = f"dist-git has no repository {policy.namespace}/{work.package} yet ({url})"
    head = "" if missing else repository.head(work.branch)
    if not head and not missing:
        missing, reason = "branch", f"dist-git's {work.package} has no branch {work.branch} yet"
    if missing:
        reason += "; see the checklist on this page. It goes on by itself when that is there"
        hold_for_repository(
            ctx.db, work, repository=url, missing=missing, reason=reason, look_seconds=look_seconds(ctx)
        )
    return head


def look_for_repository(ctx: Context, work: FollowUpWork) -> Done:
    """Let a held build go on once its repository and branch are there. Raises NotYet until then."""
    wanted = waited_for(ctx.db, work.build_id)
    if wanted is None:
        return Done("the build is not made from dist-git")
    policy, package, branch = wanted
    try:
        branches = remote_branches(policy.repository_url(package))
    except RepositoryMissing:
        raise NotYet(
            f"{package} has no repository in dist-git yet", retry_after=look_seconds(ctx), spend_try=False
        ) from None
    except GitTrouble as error:
        raise NotYet(f"dist-git: {error}", retry_after=look_seconds(ctx), spend_try=False) from None
    if branch not in branches:
        raise NotYet(
            f"dist-git's {package} has no branch {branch} yet", retry_after=look_seconds(ctx), spend_try=False
        )
    appeared = f"{package} with its branch {branch} is in dist-git now"
    restarted = go_on_after_repository(ctx.db, work.build_id, why=appeared)
    return Done(f"{appeared}; the build goes on" if restarted else appeared)
