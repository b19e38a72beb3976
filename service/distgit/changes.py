"""Record what a build changes in dist-git: the intent, conflicts, the commit, what landed, and a person's decision.

Each function that takes a ``Database`` is one transaction and commits, except those that only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.access.audit import note_audit
from service.builds.claims import BuildWork, claimed_build, restart_held
from service.builds.commands import Requested, resume_build
from service.builds.follow_ups import PULL_REQUEST, hasten_watch, wait_for_repository
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
    """A build's change in dist-git as it is stored; fields as in the table.

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
    """Another build that has the repository's branch at present.

    ``ended``: it has ended, and has the branch until its pull request is closed; ``soon``: that is being done now.
    """

    build_id: int
    ended: bool
    soon: bool


def find_change(db: Database, build_id: int) -> Change | None:
    """Return the change of a build, or None before there is one. Reads only."""
    with db.reader() as session:
        row = change_row(session, build_id)
        return None if row is None else _frozen(row)


def begin_change(
    db: Database, work: BuildWork, *, repository: str, files: Mapping[str, str]
) -> Change | OtherChange | None:
    """Record what a build is going to change in dist-git, before it changes anything. Commits.

    One live build has a repository's branch at a time: while another has it, that one is returned. An ended build has
    the branch until its pull request is surely closed. The lock on the package's stream keeps two workers from both
    finding the branch free. Returns None if the lease was lost.
    """
    with db.transaction() as session:
        build = claimed_build(session, work)
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
            row = _add_row(session, work, repository, database_now(session))
        if not row.commit_id:
            row.files = dict(files)
        row.missing = ""
        session.flush()
        return _frozen(row)


def _add_row(session: Session, work: BuildWork, repository: str, now: datetime) -> DistGitChange:
    row = DistGitChange(
        build_id=work.id, package=work.package, branch=work.branch, repository=repository,
        change_key=str(SubmissionKey.fresh(work.id)), created_at=now.replace(microsecond=0), files={},
    )  # fmt: skip
    session.add(row)
    return row


def last_generated(
    db: Database, *, package: str, branch: str, repository: str, key: str = ""
) -> dict[str, str]:
    """Return the files that we generated for the newest change in the branch, as text by name. Reads only.

    They are the base of the next merge. The newest change is that of the ``key`` that the branch's newest commit of
    ours carries, or a later one that is known to have landed there (a squash loses the key). Empty before the first.
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
    """Hold a build because of a conflict in dist-git, and store the diff that a person must settle. Commits.

    ``head`` is the branch's commit: a pull request is looked at again when the branch has another. Returns False if the
    lease was lost.
    """
    with db.transaction() as session:
        build, row = claimed_build(session, work), change_row(session, work.id)
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
    """Hold a build whose dist-git repository or branch does not exist; a follow-up waits for it. Commits.

    Returns False if the lease was lost.
    """
    with db.transaction() as session:
        build = claimed_build(session, work)
        if build is None:
            return False
        now = database_now(session)
        row = change_row(session, work.id)
        if row is None:
            row = _add_row(session, work, repository, now)
        row.missing = missing
        move_build(session, build, BuildState.HELD, at=now, reason=reason)
        wait_for_repository(session, build, now, delay_seconds=look_seconds)
        return True


def go_on_after_repository(db: Database, build_id: int, *, why: str) -> bool:
    """Restart a build that was held for a missing repository or branch. Commits. Returns False if it is not held so."""
    with db.transaction() as session:
        build = session.get(PackageBuild, build_id, with_for_update=True)
        row = change_row(session, build_id)
        if build is None or row is None or build.state != BuildState.HELD or not row.missing:
            return False
        row.missing = ""
        restart_held(session, build, at=database_now(session), reason=why)
        return True


def waited_for(db: Database, build_id: int) -> tuple[DistGitPolicy, str, str] | None:
    """Return a build's dist-git, package and branch; None for a build that does not use dist-git. Reads only."""
    with db.reader() as session:
        build = session.get_one(PackageBuild, build_id)
        policy = target_of(build).dist_git
        return None if policy is None else (policy, build.package, build.branch)


def record_commit(
    db: Database, work: BuildWork, *, commit: str, decision: Decision, evr: str, files: Mapping[str, str]
) -> bool:
    """Record the commit before it is pushed anywhere. Commits. False: the lease was lost, and nothing may be pushed.

    ``files`` are the texts that were generated for it: a proposal may be made anew long after the first.
    """
    with db.transaction() as session:
        build, row = claimed_build(session, work), change_row(session, work.id)
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
    """Record that the branch holds the change, and the commit that is built. Commits. False: the lease was lost."""
    with db.transaction() as session:
        build, row = claimed_build(session, work), change_row(session, work.id)
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
    """Settle a build's conflict in dist-git as a person decided, and let the build go on. Commits, with an audit entry.

    ``generated`` and ``dist-git`` choose for the lines in conflict only; ``done`` takes what dist-git has by now.
    Raises NotFound, and CommandRefused where there is no conflict to settle.
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
    """Return the row of a build's change, or None before there is one. Reads only."""
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
    """Return the pull request of a change as it was last seen, or None."""
    if row.pull_number is None or not row.pull_state:
        return None
    return PullRequest(row.pull_number, row.pull_url, PullState(row.pull_state), row.pull_merge)
