"""Record how pull requests of dist-git changes stand: asked for, open, merged or closed; and hold builds for them.

Each function that takes a ``Database`` is one transaction and commits, except those that only read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from service.builds.claims import BuildWork, claimed_build, newer_planned, restart_held
from service.builds.follow_ups import watch_pull_request
from service.distgit.changes import change_row, pull_in
from service.domain.distgit import WAITS_FOR_MERGE, DistGitPolicy, PullRequest, waits_for_merge, with_trouble
from service.domain.states import ENDED_BUILD, BuildState
from service.store.options import target_of
from service.store.schema import DistGitChange, PackageBuild
from service.store.session import Database, database_now
from service.store.transitions import REASON_LIMIT, move_build, note_event


@dataclass(frozen=True)
class Followed:
    """A pull request and its build, for the follow-up that watches the pull request.

    ``waits``: the build is held, and a merge lets it go on. ``follows``: it waits for nothing else, so that the pull
    request is made anew when its branch moves. ``over``: the build needs no merge any more, because it has ended or
    its change is in the branch already. ``asked_seconds`` is the time since the pull request was last asked for.
    """

    policy: DistGitPolicy
    package: str
    branch: str
    tag: str
    key: str
    pull: PullRequest | None
    base: str
    waits: bool
    follows: bool
    over: bool
    reason: str
    asked_seconds: float


def seconds_since(db: Database, at: datetime) -> float:
    """Return the seconds since a time, by the database's clock. Reads only."""
    with db.reader() as session:
        return (database_now(session) - at).total_seconds()


def note_fork_head(db: Database, work: BuildWork, head: str) -> bool:
    """Record the commit that our branch of the fork has. Commits. Returns False if the lease was lost."""
    with db.transaction() as session:
        build, row = claimed_build(session, work), change_row(session, work.id)
        if build is None or row is None:
            return False
        row.pull_head = head
        return True


def ask_for_pull(db: Database, work: BuildWork, *, look_seconds: float) -> bool:
    """Record that a pull request is about to be asked for, and add the follow-up that watches it. Commits.

    After a crash this shows that there may be one, also if the build was ended meanwhile. Returns False if none may be
    asked for: the lease was lost, or a cancel was asked for.
    """
    with db.transaction() as session:
        build, row = claimed_build(session, work), change_row(session, work.id)
        if build is None or row is None or build.cancel_requested:
            return False
        now = database_now(session)
        row.pull_asked_at = now
        watch_pull_request(session, build, now, delay_seconds=look_seconds)
        return True


def record_pull(db: Database, build_id: int, pull: PullRequest) -> None:
    """Record how a pull request stands; when it is first seen, the build's history gets a line. Commits."""
    with db.transaction() as session:
        build, row = _locked(session, build_id)
        if row is None:
            return
        now = database_now(session)
        if row.pull_number != pull.number:
            note_event(session, build, at=now, kind="dist-git", text=f"{pull} is {pull.state}")
            row.pull_opened_at = now
        if build.reason.startswith(WAITS_FOR_MERGE):
            build.reason = with_trouble(build.reason, "")
        row.pull_number = pull.number
        row.pull_url = pull.url
        row.pull_state = pull.state.value
        row.pull_merge = pull.merge_commit


def show_trouble(db: Database, build_id: int, trouble: str) -> None:
    """Show with a build that waits for a merge why a merge would not be noticed; empty text removes that. Commits."""
    with db.transaction() as session:
        build = session.get_one(PackageBuild, build_id, with_for_update=True)
        if build.state == BuildState.HELD and build.reason.startswith(WAITS_FOR_MERGE):
            build.reason = with_trouble(build.reason, trouble)[:REASON_LIMIT]


def hold_for_merge(
    db: Database, work: BuildWork, *, pull: PullRequest, base: str, note: str, look_seconds: float
) -> bool:
    """Hold a build until a person has merged or closed its pull request. Commits. Returns False if the lease was lost.

    A cancel that was asked for meanwhile, or a newer patch that was planned, ends the build here, because nothing
    would do so while it is held.
    """
    with db.transaction() as session:
        build, row = claimed_build(session, work), change_row(session, work.id)
        if build is None or row is None:
            return False
        now = database_now(session)
        row.pull_base = base
        row.conflict = ""
        watch_pull_request(session, build, now, delay_seconds=look_seconds)
        newer = "" if build.requested_by is not None else newer_planned(session, build)
        move_build(session, build, BuildState.HELD, at=now, reason=waits_for_merge(pull, note))
        if build.cancel_requested:
            move_build(session, build, BuildState.CANCELED, at=now, reason=build.cancel_requested)
        elif newer:
            move_build(session, build, BuildState.SUPERSEDED, at=now, reason=f"{newer} is newer")
        return True


def followed(db: Database, build_id: int) -> Followed | None:
    """Return a build's pull request and how the build stands; None where there is none to watch. Reads only."""
    with db.reader() as session:
        build = session.get_one(PackageBuild, build_id)
        policy, row = target_of(build).dist_git, change_row(session, build_id)
        if policy is None or policy.forge is None or row is None or row.pull_asked_at is None:
            return None
        ended = BuildState(build.state) in ENDED_BUILD
        waits = _waits(build, row)
        return Followed(
            policy=policy,
            package=build.package,
            branch=build.branch,
            tag=build.release.tag,
            key=row.change_key,
            pull=pull_in(row),
            base=row.pull_base,
            waits=waits,
            follows=waits and (bool(row.conflict) or build.reason.startswith(WAITS_FOR_MERGE)),
            over=ended or bool(row.landed_commit),
            reason=f"is {build.state}: {build.reason}" if ended else "has its commit in the branch already",
            asked_seconds=(database_now(session) - row.pull_asked_at).total_seconds(),
        )


def go_on_after_merge(db: Database, build_id: int, *, why: str) -> bool:
    """Restart a build that waits for its pull request's merge. Commits. Returns False if it does not wait for that."""
    with db.transaction() as session:
        build, row = _locked(session, build_id)
        if row is None or not _waits(build, row):
            return False
        restart_held(session, build, at=database_now(session), reason=why)
        return True


def cancel_closed(db: Database, build_id: int, pull: PullRequest) -> bool:
    """Cancel a build whose pull request a person has closed. Commits. Returns False if the build does not wait for it.

    The cancel counts as asked for by a person, so that planning does not propose the same again by itself.
    """
    with db.transaction() as session:
        build, row = _locked(session, build_id)
        if row is None or not _waits(build, row):
            return False
        by = f" by {pull.closed_by}" if pull.closed_by else ""
        reason = (
            f"{pull} was closed{by} without a merge; to propose it again: cryopack build retry {build_id}"
        )
        row.conflict = ""
        build.cancel_requested = reason
        move_build(session, build, BuildState.CANCELED, at=database_now(session), reason=reason)
        return True


def record_late_merge(db: Database, build_id: int, pull: PullRequest) -> None:
    """Record that a pull request was merged after its build's end, as the base of the next merge. Commits."""
    with db.transaction() as session:
        build, row = _locked(session, build_id)
        commit = pull.merge_commit or (row.pull_head if row is not None else "")
        if row is None or row.landed_commit or not commit:
            return
        now = database_now(session)
        row.landed_commit = commit
        row.landed_at = now
        text = f"{pull} was merged after the end of this build; it is not built"
        note_event(session, build, at=now, kind="dist-git", text=text)


def _locked(session: Session, build_id: int) -> tuple[PackageBuild, DistGitChange | None]:
    build = session.get_one(PackageBuild, build_id, with_for_update=True)
    return build, change_row(session, build_id)


def _waits(build: PackageBuild, row: DistGitChange) -> bool:
    """Held before anything was handed over, with a pull request that is not settled."""
    return (
        build.state == BuildState.HELD
        and build.submission_key is None
        and bool(row.pull_state)
        and not row.landed_commit
    )
