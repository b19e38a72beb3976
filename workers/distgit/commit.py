"""Bring a build's change into dist-git: fetch, merge, upload the source, commit, and push or propose it.

It is proposed as a pull request from a fork (``workers/distgit/pull_requests.py``), or pushed where the catalogue says
so. Every step looks before it acts: the change carries a key, recorded before anything is done, as a trailer of its
commit. So a worker that comes after a crash finds the commit of its predecessor and uses it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.builds.claims import BuildWork, back_off, end_build
from service.builds.follow_ups import Done, FollowUpWork, NotYet
from service.distgit.changes import (
    Change,
    OtherChange,
    begin_change,
    find_change,
    go_on_after_repository,
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
    FilePiece,
    PullState,
    Resolution,
    SpecEvr,
    commit_message,
    decide,
    merge_sources,
    push_refusal,
    settle,
    source_line,
)
from service.domain.errors import BadName
from service.domain.fedora import Branch
from service.domain.reports import ScmCommit
from service.domain.specs import SpecFile
from service.domain.states import BuildState
from workers.context import Context
from workers.distgit.git import (
    Author,
    BranchMoved,
    GitTrouble,
    Repository,
    RepositoryMissing,
    merge_lines,
    remote_branches,
)
from workers.distgit.lookaside import LookasideRefused, LookasideTrouble, sha512_of, upload
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
from workers.packaging.spec_check import SpecRefused, check_merged

MOVED = "dist-git moved"
NO_WAY = (
    "target {target} names no forge for a pull request, and {package} is not among its direct_push: name one of "
    "both, or commit by hand, and resume the build"
)
CONFLICT_SHOWN = 60_000
FAVOUR: Mapping[Resolution, str] = {
    Resolution.NONE: "",
    Resolution.GENERATED: "theirs",
    Resolution.DIST_GIT: "ours",
}


@dataclass(frozen=True)
class Ready:
    """A commit that may be handed to the build system, and the spec that was generated for it."""

    commit: ScmCommit
    spec: SpecFile


@dataclass(frozen=True)
class Merged:
    """A merge of generated files with dist-git's: texts by file name (None removes one), and the conflicts' diff."""

    decision: Decision
    files: Mapping[str, str | None]
    conflict: str


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
    """Return the commit that was handed over before. Raises LookupError where none was recorded."""
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
    """Return the commit to build, or empty text where the build waits, is held or has ended."""
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
    merged = merge_change(ctx, work, repository, head, generated, change)
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
    """Build what the branch holds now, since the change is in it; end the build if that is another version."""
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


def merge_change(
    ctx: Context,
    work: BuildWork,
    repository: Repository,
    head: str,
    generated: Mapping[str, str],
    change: Change,
) -> Merged:
    """Merge what is generated now with the branch's head; the base is what was generated for it the last time.

    What a person settled (``change.resolution``) holds for the conflict that was shown and for no other: what came to
    dist-git since may be in conflict, too, and nobody has looked at that. ``done`` is about what is there.
    """
    moved = bool(change.pull_base) and head != change.pull_base
    if change.resolution and change.pull is not None and moved and repository.knows(change.commit):
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
    if moved and change.resolution not in (Resolution.NONE, Resolution.DONE):
        unsettled = merge_files(repository, head, base, generated, Resolution.NONE)
        if unsettled.conflict[:CONFLICT_SHOWN] != change.conflict:
            return unsettled
    return merge_files(repository, head, base, generated, change.resolution)


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
    """Make the commit on the head and record it before it is pushed anywhere. Empty: the lease was lost."""
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


def merge_files(
    repository: Repository,
    head: str,
    base: Mapping[str, str],
    generated: Mapping[str, str],
    resolution: Resolution,
) -> Merged:
    """Merge generated files with dist-git's, three-way by line. Resolution ``done``: dist-git's file is taken as it is.

    ``base`` is what was generated the last time.
    """
    pieces = [
        FilePiece(name, base.get(name), repository.read(head, name), generated.get(name))
        for name in sorted({*base, *generated})
    ]
    merged: dict[str, str | None] = {}
    conflicts: list[str] = []
    for piece in pieces:
        if piece.name == SOURCES:
            merged[SOURCES] = merge_sources(piece.base, piece.now, piece.new or "")
            continue
        settled, text = settle(piece)
        if settled:
            merged[piece.name] = text
        elif resolution is Resolution.DONE:
            merged[piece.name] = piece.now
        elif piece.now is None or piece.new is None:
            chosen = {Resolution.GENERATED: piece.new, Resolution.DIST_GIT: piece.now}
            merged[piece.name] = chosen.get(resolution)
            if resolution not in chosen:
                conflicts.append(_deleted(piece))
        else:
            text, marked = merge_lines(piece.base or "", piece.now, piece.new, favour=FAVOUR[resolution])
            merged[piece.name] = text
            if marked:
                conflicts.append(_diff(piece.name, piece.now, text))
    return Merged(decide(pieces, merged, conflicts), merged, "\n".join(conflicts))


def _diff(name: str, now: str, marked: str) -> str:
    lines = difflib.unified_diff(
        now.splitlines(), marked.splitlines(), f"dist-git/{name}", f"merged/{name}", lineterm="", n=3
    )
    return "\n".join(lines) + "\n"


def _deleted(piece: FilePiece) -> str:
    side, other = (
        ("dist-git", "we generate it anew") if piece.now is None else ("we", "dist-git has changed it")
    )
    return f"{piece.name}: {side} removed it, and {other}\n"


def refusal(spec: SpecFile, repository: Repository, head: str, merged: Merged) -> str:
    """Return why the merged spec must not be pushed: not as planned, or not higher than before. Empty: it may."""
    text, there = merged.files[spec.name], repository.read(head, spec.name)
    if text is None:
        return f"dist-git has no {spec.name} any more: a maintainer removed it"
    new = SpecEvr.read(text)
    refused = push_refusal(SpecEvr.read(there) if there is not None else None, new) if text != there else ""
    if refused:
        return refused
    if new.version != spec.version:
        return (
            f"the spec in dist-git makes version {new.version or 'nothing'}, and {spec.version} was planned"
        )
    return ""


def refuse_unparsed(spec: SpecFile, merged: Merged, branch: Branch) -> None:
    """Parse a merged spec with rpmspec, unless it is the generated one, which was parsed before. Raises BadName."""
    text = merged.files[spec.name]
    if text is None or text == spec.text:
        return
    try:
        check_merged(spec.name, text, package=spec.package, branch=branch)
    except SpecRefused as error:
        raise BadName(f"with this change, the spec in dist-git does not parse: {error}") from None


def fetched_head(ctx: Context, work: BuildWork, policy: DistGitPolicy, repository: Repository) -> str:
    """Fetch and return the head of the branch. Empty: it does not exist yet, and the build is held until it does."""
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
    """Follow-up: let a held build go on once its repository and branch are there. Raises NotYet until then."""
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
