"""A build's commit in dist-git: fetch, merge, upload, commit, deliver. Every step looks before it acts.

It is proposed as a pull request from a fork (``workers/distgit/pull_requests.py``), or pushed where the catalogue says
so. The change carries a key, written down before anything is done, as a trailer of its commit. So whoever comes after a
crash finds the commit of its predecessor and takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.builds.claims import BuildWork, back_off, end_build
from service.distgit.changes import (
    Change,
    OtherChange,
    begin_change,
    find_change,
    hold_for_conflict,
    last_generated,
    record_commit,
    record_landed,
)
from service.domain.distgit import (
    SOURCES,
    Decision,
    Delivery,
    DistGitPolicy,
    PullState,
    Resolution,
    SpecEvr,
    commit_message,
    source_line,
)
from service.domain.errors import BadName
from service.domain.reports import ScmCommit
from service.domain.specs import SpecFile
from service.domain.states import BuildState
from workers.context import Context
from workers.distgit.git import Author, BranchMoved, GitTrouble, Repository
from workers.distgit.lookaside import LookasideRefused, LookasideTrouble, sha512_of, upload
from workers.distgit.merge import CONFLICT_SHOWN, Merged, merge_files, merge_settled, refusal, refuse_unparsed
from workers.distgit.new_packages import fetched_head
from workers.distgit.pull_requests import (
    build_url,
    hold_for_forge,
    look_at_fork,
    look_seconds,
    propose,
    push_to_fork,
)
from workers.forges import ForgeError, ForgeUnavailable
from workers.packaging.preparation import locked, prepare_commit_files

MOVED = "dist-git moved"
NO_WAY = (
    "target {target} names no forge for a pull request, and {package} is not among its direct_push: name one of "
    "both, or commit by hand, and resume the build"
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
    if policy.delivery(work.package) is not Delivery.PUSH and policy.forge is None:
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
            head = fetched_head(ctx, work, policy, repository)
            if not head:
                return None
            commit = _deliver(ctx, work, policy, repository, head, spec, archive)
        except BranchMoved as error:
            # One that seems to move each time is in trouble of its own, and must not be asked without a pause.
            pause = ctx.settings.retry_seconds if work.last_reason.startswith(MOVED) else 0.0
            _later(ctx, work, f"{MOVED} while the change was made; merging again ({error})", pause=pause)
            return None
        except (GitTrouble, LookasideTrouble) as error:
            _later(ctx, work, f"dist-git: {error}", pause=ctx.settings.retry_seconds)
            return None
        except ForgeUnavailable as error:
            _later(ctx, work, f"forge: {error}", pause=ctx.settings.retry_seconds)
            return None
        except ForgeError as error:
            hold_for_forge(ctx, work, error)
            return None
        except (BadName, LookasideRefused) as error:
            end_build(ctx.db, work, BuildState.HELD, f"{error}; repair that and resume the build")
            return None
    return Ready(ScmCommit(url, commit), spec) if commit else None


def restore_commit(ctx: Context, work: BuildWork, policy: DistGitPolicy) -> ScmCommit:
    """The commit that was handed over before. Raises LookupError where none was written down."""
    change = find_change(ctx.db, work.id)
    if change is None or not change.landed_commit:
        raise LookupError(f"build {work.id} was handed over without a commit of dist-git")
    return ScmCommit(policy.repository_url(work.package), change.landed_commit)


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
        pause = ctx.settings.retry_seconds if change.soon else None
        _later(ctx, work, _waits_for(work, change), pause=pause)
        return ""
    mine = repository.commit_of(head, change.key)
    if mine or (change.pull is not None and change.pull.state is PullState.MERGED):
        return _found(ctx, work, repository, head, spec, change, mine)
    proposes = policy.delivery(work.package) is Delivery.PULL_REQUEST
    fork = look_at_fork(ctx, work, policy, change) if proposes and change.commit else None
    if fork is not None and fork.foreign:
        shown, evr = "What it changes is in its branch.", str(spec.version)
        propose(ctx, work, change, fork, base=head, evr=evr, diffstat=shown, decision=Decision.MERGE)
        return ""
    merged = _merge(ctx, work, repository, head, generated, change)
    if merged.decision is Decision.CONFLICT:
        _hold_conflict(ctx, work, merged.conflict, head)
        if fork is not None and change.pull is not None:
            fork.forge.comment(work.package, change.pull.number, _conflict_comment(ctx, work, head))
        return ""
    refused = refusal(spec, repository, head, merged)
    if refused:
        return _end(ctx, work, refused)
    refuse_unparsed(spec, merged, work.target.branch)
    if policy.lookaside:
        upload(
            policy.lookaside,
            package=policy.lookaside_name(work.package),
            file=archive,
            sha512=sha512,
            credentials=ctx.lookaside_credentials(),
        )
    if merged.decision is Decision.NOTHING:
        return _landed(ctx, work, head, Decision.NOTHING, f"dist-git has it already: commit {head[:12]}")
    evr = str(SpecEvr.read(merged.files[spec.name] or ""))
    if proposes and fork is None:
        fork = look_at_fork(ctx, work, policy, change)
    commit = _commit(ctx, work, repository, head, merged, change, evr, generated)
    if not commit:
        return ""
    if not proposes:
        repository.push(policy.push_url(work.package), commit, work.branch)
        return _landed(ctx, work, commit, None, f"pushed commit {commit[:12]} to {work.branch}")
    if fork is not None and push_to_fork(ctx, work, repository, fork, commit):
        shown = repository.diffstat(head, commit)
        propose(ctx, work, change, fork, base=head, evr=evr, diffstat=shown, decision=merged.decision)
    return ""


def _waits_for(work: BuildWork, other: OtherChange) -> str:
    if other.ended:
        return f"waits until the pull request of build {other.build_id}, which has ended, is closed"
    return f"waits for build {other.build_id}, which has {work.package} on {work.branch} in dist-git"


def _found(
    ctx: Context,
    work: BuildWork,
    repository: Repository,
    head: str,
    spec: SpecFile,
    change: Change,
    mine: str,
) -> str:
    """The branch holds the change: what it has by now is built, if that is still the version that was planned."""
    merge = change.pull.merge_commit if change.pull is not None else ""
    # Where no commit is named, a branch that has not moved since the proposal does not show its merge yet.
    if not mine and (not repository.contains(head, merge) if merge else head == change.pull_base):
        _later(ctx, work, f"{change.pull} is merged, which dist-git does not show yet")
        return ""
    what = f"commit {mine[:12]}" if mine else str(change.pull)
    there = SpecEvr.read(repository.read(head, spec.name) or "").version
    if there != spec.version:
        made = f"the spec on {work.branch} makes version {there or 'nothing'} by now"
        return _end(ctx, work, f"{what} is in dist-git, but {made}, and {spec.version} was planned")
    return _landed(ctx, work, head, None, f"{what} is in dist-git, whose commit {head[:12]} is built")


def _merge(
    ctx: Context,
    work: BuildWork,
    repository: Repository,
    head: str,
    generated: Mapping[str, str],
    change: Change,
) -> Merged:
    proposed = bool(change.pull is not None and change.pull_base and repository.knows(change.commit))
    if change.resolution and proposed and head != change.pull_base:
        # What a person settled is in the proposal already; it must not settle what came to dist-git since.
        before, ours = (
            {name: text for name in generated if (text := repository.read(commit, name)) is not None}
            for commit in (change.pull_base, change.commit)
        )
        return merge_files(repository, head, before, ours, Resolution.NONE)
    base = last_generated(
        ctx.db, package=work.package, branch=work.branch, repository=repository.url,
        key=repository.newest_key(head),
    )  # fmt: skip
    return merge_settled(repository, head, base, generated, change)


def _commit(
    ctx: Context,
    work: BuildWork,
    repository: Repository,
    head: str,
    merged: Merged,
    change: Change,
    evr: str,
    generated: Mapping[str, str],
) -> str:
    """The commit upon the head, written down before it is pushed anywhere. Empty: the lease was lost."""
    family = ctx.catalog.families[work.family]
    message = commit_message(
        tag=work.tag, version=work.version, project=family.repository, bugs=work.bugs, key=change.key
    )
    author = Author(ctx.settings.distgit_author_name, ctx.settings.distgit_author_email)
    commit = repository.write_commit(head, merged.files, message, author, change.created_at)
    if commit == change.commit:
        return commit
    recorded = record_commit(ctx.db, work, commit=commit, decision=merged.decision, evr=evr, files=generated)
    return commit if recorded else ""


def _landed(ctx: Context, work: BuildWork, commit: str, decision: Decision | None, text: str) -> str:
    return commit if record_landed(ctx.db, work, commit=commit, decision=decision, text=text) else ""


def _hold_conflict(ctx: Context, work: BuildWork, conflict: str, head: str) -> None:
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
    hold_for_conflict(ctx.db, work, conflict=conflict[:CONFLICT_SHOWN], reason=reason, head=head)


def _conflict_comment(ctx: Context, work: BuildWork, head: str) -> str:
    return (
        f"{work.branch} has moved to {head}, which changes the same lines. This waits for somebody who settles that: "
        f"[build {work.id}]({build_url(ctx, work.id)})."
    )


def _end(ctx: Context, work: BuildWork, reason: str) -> str:
    end_build(ctx.db, work, BuildState.ERRORED, reason)
    return ""


def _later(ctx: Context, work: BuildWork, reason: str, *, pause: float | None = None) -> None:
    delay = look_seconds(ctx) if pause is None else pause
    back_off(ctx.db, work, reason, delay_seconds=delay, spend_try=False)
