"""A build's commit in dist-git: fetch, merge, upload, commit, deliver. Every step looks before it acts.

The change carries a key, written down before anything is done, as a trailer of its commit.
So whoever comes after a crash finds the commit of its predecessor and takes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.distgit import (
    Change,
    OtherChange,
    begin_change,
    find_change,
    go_on,
    hold_for_conflict,
    hold_for_repository,
    last_generated,
    record_commit,
    record_landed,
    waited_for,
)
from service.domain.distgit import (
    SOURCES,
    Decision,
    Delivery,
    DistGitPolicy,
    commit_message,
    source_line,
)
from service.domain.errors import BadName
from service.domain.reports import ScmCommit
from service.domain.rpm_versions import SpecEvr
from service.domain.specs import SpecFile
from service.domain.states import BuildState
from service.follow_ups import FollowUpWork
from service.progress import back_off, end_build
from service.work import BuildWork
from workers.context import Context
from workers.distgit_merge import Merged, merge_files, refusal
from workers.git import (
    Author,
    BranchMoved,
    GitTrouble,
    Repository,
    RepositoryMissing,
    remote_branches,
)
from workers.lookaside import LookasideTrouble, sha512_of, upload
from workers.outcomes import Done, NotYet
from workers.preparation import locked, prepare_commit_files

CONFLICT_SHOWN = 60_000
NO_WAY = (
    "{package} is not among direct_push of target {target}, and pull requests are not made yet: name it there, "
    "or commit by hand, and resume the build"
)


@dataclass(frozen=True)
class Ready:
    """A commit that may be handed to the build system, and the spec that was generated for it (None: earlier)."""

    commit: ScmCommit
    spec: SpecFile


def prepare_commit(ctx: Context, work: BuildWork, policy: DistGitPolicy) -> Ready | None:
    """Bring the build's change into its branch. None: the build waits, is held or has ended, which is recorded.

    Raises what ``prepare_commit_files`` raises.
    """
    if policy.delivery(work.package) is not Delivery.PUSH:
        end_build(ctx.db, work, BuildState.HELD, NO_WAY.format(package=work.package, target=work.target.id))
        return None
    spec, archive = prepare_commit_files(ctx, work)
    url = policy.repository_url(work.package)
    earlier = find_change(ctx.db, work.id)
    if earlier and earlier.landed_commit:
        return Ready(ScmCommit(url, earlier.landed_commit), spec)
    with locked(ctx.settings.state_dir / "dist-git" / work.target.id / work.package) as folder:
        repository = Repository(folder / "repository.git", url, seconds=ctx.settings.step_limit_seconds / 3)
        try:
            head = _fetched(ctx, work, policy, repository)
            if not head:
                return None
            commit = _deliver(ctx, work, policy, repository, head, spec, archive)
        except BranchMoved as error:
            _later(ctx, work, f"dist-git moved while the change was made; merging again ({error})", pause=0.0)
            return None
        except (GitTrouble, LookasideTrouble) as error:
            _later(ctx, work, f"dist-git: {error}", pause=ctx.settings.retry_seconds)
            return None
        except BadName as error:
            end_build(ctx.db, work, BuildState.HELD, f"{error}; repair it there and resume the build")
            return None
    return Ready(ScmCommit(url, commit), spec) if commit else None


def restore_commit(ctx: Context, work: BuildWork, policy: DistGitPolicy) -> ScmCommit:
    """The commit that was handed over before. Raises LookupError where none was written down."""
    change = find_change(ctx.db, work.id)
    if change is None or not change.landed_commit:
        raise LookupError(f"build {work.id} was handed over without a commit of dist-git")
    return ScmCommit(policy.repository_url(work.package), change.landed_commit)


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
            f"{package} has no repository in dist-git yet", retry_after=_pace(ctx), spend_try=False
        ) from None
    except GitTrouble as error:
        raise NotYet(f"dist-git: {error}", retry_after=_pace(ctx), spend_try=False) from None
    if branch not in branches:
        raise NotYet(
            f"dist-git's {package} has no branch {branch} yet", retry_after=_pace(ctx), spend_try=False
        )
    appeared = f"{package} with its branch {branch} is in dist-git now"
    return Done(f"{appeared}; the build goes on" if go_on(ctx.db, work.build_id, why=appeared) else appeared)


def _fetched(ctx: Context, work: BuildWork, policy: DistGitPolicy, repository: Repository) -> str:
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
            ctx.db, work, repository=url, missing=missing, reason=reason, look_seconds=_pace(ctx)
        )
    return head


def _deliver(
    ctx: Context,
    work: BuildWork,
    policy: DistGitPolicy,
    repository: Repository,
    head: str,
    spec: SpecFile,
    archive: Path,
) -> str:
    """The commit to build, or empty text where the build waits, is held or has ended."""
    url = policy.repository_url(work.package)
    sha512 = sha512_of(archive)
    sources = source_line(spec.source_name, sha512)
    generated = {spec.name: spec.text, **spec.files, **spec.dist_git_files, SOURCES: sources}
    change = begin_change(ctx.db, work, repository=url, files=generated)
    if change is None:
        return ""
    if isinstance(change, OtherChange):
        _later(
            ctx,
            work,
            f"waits for build {change.build_id}, which has {work.package} on {work.branch} in dist-git",
        )
        return ""
    mine = repository.commit_of(head, change.key)
    if mine:
        return _landed(ctx, work, head, None, f"commit {mine[:12]} of an earlier try is in dist-git")
    base = last_generated(ctx.db, package=work.package, branch=work.branch, repository=url)
    merged = merge_files(repository, head, base, generated, change.resolution)
    if merged.decision is Decision.CONFLICT:
        _hold_conflict(ctx, work, merged.conflict)
        return ""
    refused = refusal(spec, repository, head, merged)
    if refused:
        return _end(ctx, work, refused)
    if policy.lookaside:
        upload(policy.lookaside, package=work.package, file=archive, sha512=sha512)
    if merged.decision is Decision.NOTHING:
        return _landed(ctx, work, head, Decision.NOTHING, f"dist-git has it already: commit {head[:12]}")
    return _write(
        ctx, work, policy, repository, head, merged, change, str(SpecEvr.read(merged.files[spec.name] or ""))
    )


def _write(
    ctx: Context,
    work: BuildWork,
    policy: DistGitPolicy,
    repository: Repository,
    head: str,
    merged: Merged,
    change: Change,
    evr: str,
) -> str:
    family = ctx.catalog.families[work.family]
    message = commit_message(
        tag=work.tag, version=work.version, project=family.repository, bugs=_bugs(work), key=change.key
    )
    author = Author(ctx.settings.distgit_author_name, ctx.settings.distgit_author_email)
    commit = repository.write_commit(head, merged.files, message, author, change.created_at)
    if not record_commit(ctx.db, work, commit=commit, decision=merged.decision, evr=evr):
        return ""
    repository.push(policy.push_url(work.package), commit, work.branch)
    return _landed(ctx, work, commit, None, f"pushed commit {commit[:12]} to {work.branch}")


def _landed(ctx: Context, work: BuildWork, commit: str, decision: Decision | None, text: str) -> str:
    return commit if record_landed(ctx.db, work, commit=commit, decision=decision, text=text) else ""


def _hold_conflict(ctx: Context, work: BuildWork, conflict: str) -> None:
    files = [
        line.removeprefix("--- dist-git/")
        for line in conflict.splitlines()
        if line.startswith("--- dist-git/")
    ]
    what = ", ".join(files) or "a removed file"
    reason = (
        f"what was edited in dist-git and what is generated for {work.tag} change the same lines of {what}; "
        f"nothing was overwritten. Settle it: the diff is on the page of build {work.id}"
    )
    hold_for_conflict(ctx.db, work, conflict=conflict[:CONFLICT_SHOWN], reason=reason)


def _end(ctx: Context, work: BuildWork, reason: str) -> str:
    end_build(ctx.db, work, BuildState.ERRORED, reason)
    return ""


def _bugs(work: BuildWork) -> list[int]:
    """The release-monitoring bugs that are known for the release, by their numbers."""
    bugs = work.facts.get("bugs")
    return [bug for bug in bugs if isinstance(bug, int)] if isinstance(bugs, list) else []


def _later(ctx: Context, work: BuildWork, reason: str, *, pause: float | None = None) -> None:
    delay = _pace(ctx) if pause is None else pause
    back_off(ctx.db, work, reason, delay_seconds=delay, spend_try=False)


def _pace(ctx: Context) -> float:
    return min(ctx.settings.distgit_look_seconds, ctx.settings.retry_max_seconds)
