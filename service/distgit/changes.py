"""Changes of dist-git: intent, conflict, what landed, and what a person decided. Each public function commits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.access.audit import note_audit
from service.builds.claims import held_row
from service.builds.commands import Requested, resume_build
from service.builds.follow_ups import PULL_REQUEST, hasten_watch, wait_for_repository
from service.builds.work import BuildWork
from service.catalog import Catalog
from service.domain.distgit import Decision, DistGitPolicy, PullRequest, PullState, Resolution
from service.domain.errors import CommandRefused, NotFound
from service.domain.reports import SubmissionKey
from service.domain.states import LIVE_BUILD, BuildState
from service.store.options import deadline_of, target_of
from service.store.schema import DistGitChange, FollowUp, PackageBuild, PackageStream
from service.store.session import Database, database_now
from service.store.transitions import move_build, note_event


@dataclass(frozen=True)
class Change:
    """A build's change of dist-git as it is written down. Times and texts as in the table.

    ``pull`` is its pull request once one was seen.
    """

    key: str
    created_at: datetime
    resolution: Resolution
    conflict: str
    commit: str
    landed_commit: str
    pull: PullRequest | None
    pull_head: str
    pull_base: str
    pull_asked_at: datetime | None


@dataclass(frozen=True)
class OtherChange:
    """The build that has the repository's branch at present; ``ended``: until its pull request is closed.

    ``soon``: that is being done now.
    """

    build_id: int
    ended: bool
    soon: bool


def find_change(db: Database, build_id: int) -> Change | None:
    """The change of a build, or None before there is one. Reads only."""
    with db.reader() as session:
        row = change_row(session, build_id)
        return None if row is None else _frozen(row)


def begin_change(
    db: Database, work: BuildWork, *, repository: str, files: Mapping[str, str]
) -> Change | OtherChange | None:
    """Write down what is going to be changed, before anything is. None: the lease was lost.

    One live build has a repository's branch at a time: while another has it, that one is the answer. An ended one has
    it until its pull request is surely closed. The lock of the package's stream keeps two workers from both finding it
    free.
    """
    with db.transaction() as session:
        build = held_row(session, work)
        if build is None:
            return None
        session.scalars(
            select(PackageStream)
            .where(PackageStream.family == work.family, PackageStream.package == work.package)
            .with_for_update()
        ).one()
        open_watches = select(FollowUp.build_id).where(
            FollowUp.kind == PULL_REQUEST, FollowUp.ended_at.is_(None)
        )
        other = session.scalar(
            select(PackageBuild)
            .join(DistGitChange, DistGitChange.build_id == PackageBuild.id)
            .where(
                DistGitChange.package == work.package,
                DistGitChange.branch == work.branch,
                DistGitChange.repository == repository,
                DistGitChange.build_id != work.id,
                or_(
                    PackageBuild.state.in_([state.value for state in LIVE_BUILD]),
                    DistGitChange.build_id.in_(open_watches),
                ),
            )
            .limit(1)
        )
        if other is not None:
            ended, now = BuildState(other.state) not in LIVE_BUILD, database_now(session)
            soon = ended and hasten_watch(session, other.id, now)
            # What passes while it waits for others, who may wait for a person, is not the build's time.
            build.deadline_at = now + deadline_of(build)
            return OtherChange(other.id, ended, soon)
        row = change_row(session, work.id)
        if row is None:
            row = DistGitChange(
                build_id=work.id,
                package=work.package,
                branch=work.branch,
                repository=repository,
                change_key=str(SubmissionKey.fresh(work.id)),
                created_at=database_now(session).replace(microsecond=0),
            )
            session.add(row)
        if not row.commit_id:
            row.files = dict(files)
        row.missing = ""
        session.flush()
        return _frozen(row)


def last_generated(
    db: Database, *, package: str, branch: str, repository: str, key: str = ""
) -> dict[str, str]:
    """The texts that we generated for the newest change that is in the branch: the base of the next merge.

    That is the change of the ``key`` that the branch's newest commit of ours carries, or a later one that is known to
    have landed there (a squash loses the key).
    """
    with db.reader() as session:
        there = (
            DistGitChange.package == package,
            DistGitChange.branch == branch,
            DistGitChange.repository == repository,
        )
        by_key = select(DistGitChange).where(*there, DistGitChange.change_key == key)
        landed = (
            select(DistGitChange)
            .where(*there, DistGitChange.landed_at.is_not(None))
            .order_by(DistGitChange.landed_at.desc(), DistGitChange.id.desc())
        )
        known = [row for query in (by_key, landed) if (row := session.scalar(query.limit(1))) is not None]
        files = max(known, key=lambda row: row.id).files if known else None
        return {str(name): str(text) for name, text in (files or {}).items()}


def hold_for_conflict(db: Database, work: BuildWork, *, conflict: str, reason: str, head: str) -> bool:
    """Keep the diff that a person must settle, and hold the build. False: the lease was lost.

    ``head`` is what the branch had: a pull request is looked at again when it has something else.
    """
    with db.transaction() as session:
        build, row = held_row(session, work), change_row(session, work.id)
        if build is None or row is None:
            return False
        row.conflict = conflict
        row.decision = Decision.CONFLICT.value
        row.resolution = Resolution.NONE.value
        row.pull_base = head
        move_build(session, build, BuildState.HELD, at=database_now(session), reason=reason)
        return True


def hold_for_repository(
    db: Database, work: BuildWork, *, repository: str, missing: str, reason: str, look_seconds: float
) -> bool:
    """Hold a build whose repository or branch is not there, and have somebody look for it from time to time."""
    with db.transaction() as session:
        build = held_row(session, work)
        if build is None:
            return False
        now = database_now(session)
        row = change_row(session, work.id)
        if row is None:
            row = DistGitChange(
                build_id=work.id, package=work.package, branch=work.branch, repository=repository,
                change_key=str(SubmissionKey.fresh(work.id)), created_at=now.replace(microsecond=0), files={},
            )  # fmt: skip
            session.add(row)
        row.missing = missing
        move_build(session, build, BuildState.HELD, at=now, reason=reason)
        wait_for_repository(session, build, now, delay_seconds=look_seconds)
        return True


def go_on(db: Database, build_id: int, *, why: str) -> bool:
    """Let a build go on that was held for a missing repository, with its whole time anew. False: not held for that."""
    with db.transaction() as session:
        build = session.get(PackageBuild, build_id, with_for_update=True)
        row = change_row(session, build_id)
        if build is None or row is None or build.state != BuildState.HELD or not row.missing:
            return False
        at = database_now(session)
        build.deadline_at = at + deadline_of(build)
        row.missing = ""
        move_build(session, build, BuildState.PENDING, at=at, reason=why, due_at=at)
        return True


def waited_for(db: Database, build_id: int) -> tuple[DistGitPolicy, str, str] | None:
    """Where the package of a build lies, the package and the branch; None for a build without dist-git. Reads only."""
    with db.reader() as session:
        build = session.get_one(PackageBuild, build_id)
        policy = target_of(build).dist_git
        return None if policy is None else (policy, build.package, build.branch)


def record_commit(
    db: Database, work: BuildWork, *, commit: str, decision: Decision, evr: str, files: Mapping[str, str]
) -> bool:
    """Write down the commit before it is pushed anywhere. False: the lease was lost, nothing may be pushed.

    ``files`` are the texts that were generated for it: a proposal may be made anew long after the first.
    """
    with db.transaction() as session:
        build, row = held_row(session, work), change_row(session, work.id)
        if build is None or row is None:
            return False
        row.commit_id = commit
        row.files = dict(files)
        row.decision = decision.value
        row.evr = evr
        row.conflict = ""
        note_event(
            session, build, at=database_now(session), kind="dist-git",
            text=f"{decision}: commit {commit[:12]} makes {evr} of {row.package} on {row.branch}",
        )  # fmt: skip
        return True


def record_landed(
    db: Database, work: BuildWork, *, commit: str, decision: Decision | None, text: str
) -> bool:
    """Write down that the branch holds the change, and which of its commits is built. False: the lease was lost."""
    with db.transaction() as session:
        build, row = held_row(session, work), change_row(session, work.id)
        if build is None or row is None:
            return False
        now = database_now(session)
        row.landed_commit = commit
        row.landed_at = now
        row.conflict = ""
        if decision is not None:
            row.decision = decision.value
        note_event(session, build, at=now, kind="dist-git", text=text)
        return True


def resolve_conflict(
    db: Database, catalog: Catalog, build_id: int, how: Resolution, *, by: str, address: str = ""
) -> Requested:
    """Settle a conflict and let the build go on. Raises CommandRefused where there is none to settle.

    ``generated`` and ``dist-git`` choose for the lines in conflict only; ``done`` takes what dist-git has by now.
    """
    with db.transaction() as session:
        build, row = session.get(PackageBuild, build_id, with_for_update=True), change_row(session, build_id)
        if build is None:
            raise NotFound(f"there is no build {build_id}")
        if build.state != BuildState.HELD or row is None or not row.conflict:
            raise CommandRefused(f"build {build_id} is {build.state} and has no conflict in dist-git")
        row.resolution = how.value
        note_audit(
            session, at=database_now(session), by=by, address=address, action="build.resolve",
            subject=f"build {build_id}", detail=f"the conflict in dist-git is settled: {how}",
            before={"resolution": ""}, after={"resolution": how.value},
        )  # fmt: skip
    return resume_build(db, catalog, build_id, by=by, address=address)


def change_row(session: Session, build_id: int) -> DistGitChange | None:
    """The row of a build's change, or None before there is one."""
    return session.scalars(select(DistGitChange).where(DistGitChange.build_id == build_id)).one_or_none()


def _frozen(row: DistGitChange) -> Change:
    return Change(
        key=row.change_key,
        created_at=row.created_at,
        resolution=Resolution(row.resolution or ""),
        conflict=row.conflict,
        commit=row.commit_id or "",
        landed_commit=row.landed_commit or "",
        pull=pull_in(row),
        pull_head=row.pull_head or "",
        pull_base=row.pull_base or "",
        pull_asked_at=row.pull_asked_at,
    )


def pull_in(row: DistGitChange) -> PullRequest | None:
    """The pull request of a change as it was last seen."""
    if row.pull_number is None or not row.pull_state:
        return None
    return PullRequest(row.pull_number, row.pull_url, PullState(row.pull_state), row.pull_merge)
