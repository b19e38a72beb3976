"""Pull requests of dist-git changes: asked for, seen, waited for, merged or closed. Each public function commits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from service.builds.claims import held_row, newer_planned
from service.builds.follow_ups import watch_pull_request
from service.builds.work import BuildWork
from service.distgit.changes import change_row, pull_in
from service.domain.distgit import WAITS_FOR_MERGE, DistGitPolicy, PullRequest, waits_for_merge, with_trouble
from service.domain.states import ENDED_BUILD, BuildState
from service.store.options import deadline_of, target_of
from service.store.schema import DistGitChange, PackageBuild
from service.store.session import Database, database_now
from service.store.transitions import REASON_LIMIT, move_build, note_event


@dataclass(frozen=True)
class Followed:
    """A pull request with its build, as the one who follows it needs them.

    ``waits`` is a held build that a merge lets go on; one that ``follows`` waits for nothing else, so that it is made
    anew where its branch moves. ``over`` is one that needs no merge any more: it has ended, or what
    it wanted is in the branch already. ``asked_seconds`` is the time since it was last asked for.
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
    """How long ago that was, by the database's clock. Reads only."""
    with db.reader() as session:
        return (database_now(session) - at).total_seconds()


def note_fork_head(db: Database, work: BuildWork, head: str) -> bool:
    """Write down what is known to be in our branch of the fork. False: the lease was lost."""
    with db.transaction() as session:
        build, row = held_row(session, work), change_row(session, work.id)
        if build is None or row is None:
            return False
        row.pull_head = head
        return True


def ask_for_pull(db: Database, work: BuildWork, *, look_seconds: float) -> bool:
    """Write down that a pull request is asked for now, and have it followed from here on. False: must not be asked.

    Whoever comes after a crash finds by this that there may be one; also after the build was ended meanwhile.
    """
    with db.transaction() as session:
        build, row = held_row(session, work), change_row(session, work.id)
        if build is None or row is None or build.cancel_requested:
            return False
        now = database_now(session)
        row.pull_asked_at = now
        watch_pull_request(session, build, now, delay_seconds=look_seconds)
        return True


def record_pull(db: Database, build_id: int, pull: PullRequest) -> None:
    """Write down how a pull request stands; its first sight is a line of the build's history."""
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
    """Show with a build that waits for a merge why the merge would not be seen; empty text takes that away again."""
    with db.transaction() as session:
        build = session.get_one(PackageBuild, build_id, with_for_update=True)
        if build.state == BuildState.HELD and build.reason.startswith(WAITS_FOR_MERGE):
            build.reason = with_trouble(build.reason, trouble)[:REASON_LIMIT]


def hold_for_merge(
    db: Database, work: BuildWork, *, pull: PullRequest, base: str, note: str, look_seconds: float
) -> bool:
    """Hold a build until a person has merged or closed its pull request. False: the lease was lost.

    What was asked for or announced while it was proposed is carried out here: nothing would come by later.
    """
    with db.transaction() as session:
        build, row = held_row(session, work), change_row(session, work.id)
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
    """A build's pull request and what has become of the build; None where there is none to follow. Reads only."""
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
    """Let a build go on that waits for its merge, with its whole time anew. False: it does not wait for that."""
    with db.transaction() as session:
        build, row = _locked(session, build_id)
        if row is None or not _waits(build, row):
            return False
        at = database_now(session)
        build.deadline_at = at + deadline_of(build)
        move_build(session, build, BuildState.PENDING, at=at, reason=why, due_at=at)
        return True


def cancel_closed(db: Database, build_id: int, pull: PullRequest) -> bool:
    """End a build whose pull request a person has closed. False: the build does not wait for it.

    It counts as asked for, so that planning does not propose the same again by itself.
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
    """Write down that a pull request was merged although its build had ended: the next merge needs to know."""
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
