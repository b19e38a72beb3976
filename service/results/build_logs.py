"""Record which logs of builds are stored and which are removed, and the tails of logs that still grow.

Functions that take a ``Database`` are one transaction and commit; those that take a ``Session`` leave that to the
caller. The logs themselves are in ``service/logs``.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import Exists, delete, func, select
from sqlalchemy.orm import Session

from service.builds.follow_ups import LOGS, SOURCE_STEP, FollowUpWork, claimed_follow_up
from service.domain.reports import BuildRef, ResultPlace
from service.domain.states import LIVE_BUILD, ChrootState
from service.logs.blocks import Written
from service.logs.store import log_key
from service.store.schema import BuildLog, Buildroot, ChrootBuild, FollowUp, LogTail, PackageBuild
from service.store.session import Database, database_now

REMOVED_AT_ONCE = 500


@dataclass(frozen=True)
class LogWork:
    """The place whose logs are to be fetched, and the kinds of logs that are stored already (``known``)."""

    place: ResultPlace
    known: frozenset[str]


@dataclass(frozen=True)
class TailWork:
    """A log that still grows and whose end is to be fetched, under a lease."""

    id: int
    token: str
    url: str


def log_work(db: Database, work: FollowUpWork) -> LogWork:
    """Return what is needed to fetch the logs of a chroot, or of the source step. Reads only."""
    with db.reader() as session:
        build = session.get_one(PackageBuild, work.build_id)
        ref = BuildRef(build.system, build.project, build.external_id or "", build.web_url)
        known = session.scalars(
            select(BuildLog.kind).where(
                BuildLog.build_id == build.id, BuildLog.chroot == work.subject, BuildLog.sha256 != ""
            )
        )
        row = session.scalars(
            select(ChrootBuild).where(ChrootBuild.build_id == build.id, ChrootBuild.chroot == work.subject)
        ).one_or_none()
        if row is None:
            place = ResultPlace(ref, work.subject, "", build.source_log_url)
        else:
            place = ResultPlace(ref, row.chroot, row.result_url, row.log_url)
        return LogWork(place, frozenset(known))


def record_log(db: Database, work: FollowUpWork, kind: str, url: str, written: Written) -> bool:
    """Record a log that was put into the store. Commits. False: the lease was lost, and nothing is written."""
    with db.transaction() as session:
        if claimed_follow_up(session, work) is None:
            return False
        row = _row(session, work.build_id, work.subject, kind, database_now(session))
        row.url = url
        row.sha256 = written.sha256
        row.plain_size = written.plain_size
        row.stored_size = written.stored_size
        row.lines = written.lines
        row.left_out = written.left_out
        row.blocks = [list(asdict(block).values()) for block in written.blocks]
        row.problem = ""
        row.removed_at = None
        return True


def note_missing(
    session: Session, build: PackageBuild, now: datetime, chroot: str, problems: dict[str, str]
) -> None:
    """Record why logs are not stored (problem by kind), and delete the chroot's tail. The caller commits."""
    for kind, problem in problems.items():
        row = _row(session, build.id, chroot, kind, now)
        if not row.sha256:
            row.problem = problem
    for tail in session.scalars(
        select(LogTail).where(LogTail.build_id == build.id, LogTail.chroot == chroot)
    ):
        session.delete(tail)


def note_tools(session: Session, build: PackageBuild, chroot: str, tools: Mapping[str, str]) -> None:
    """Record the versions of the tools in a chroot's buildroot, in place of what was recorded. The caller commits."""
    session.execute(delete(Buildroot).where(Buildroot.build_id == build.id, Buildroot.chroot == chroot))
    if tools:
        session.add(Buildroot(build_id=build.id, chroot=chroot, tools=dict(tools)))


def _row(session: Session, build_id: int, chroot: str, kind: str, now: datetime) -> BuildLog:
    row = session.scalars(
        select(BuildLog).where(
            BuildLog.build_id == build_id, BuildLog.chroot == chroot, BuildLog.kind == kind
        )
    ).one_or_none()
    if row is None:
        row = BuildLog(build_id=build_id, chroot=chroot, kind=kind)
        session.add(row)
    row.stored_at = now
    return row


def claim_tail(
    db: Database, build_id: int, chroot: str, *, fresh_seconds: float, lease_seconds: float
) -> TailWork | None:
    """Claim a growing log of a live build, so that its end is fetched, and return the work. Commits.

    None where the tail is younger than ``fresh_seconds``, another worker fetches it, or no log grows.
    """
    with db.transaction() as session:
        # The build's row is the lock: two hints at once must not make two tails.
        build = session.scalars(
            select(PackageBuild)
            .where(PackageBuild.id == build_id, PackageBuild.state.in_(LIVE_BUILD))
            .with_for_update()
        ).one_or_none()
        if build is None:
            return None
        url = build.source_log_url if chroot == SOURCE_STEP else ""
        for row in build.chroots:
            if row.chroot == chroot and row.state == ChrootState.RUNNING:
                url = row.log_url
        if not url:
            return None
        now = database_now(session)
        tail = session.scalars(
            select(LogTail).where(LogTail.build_id == build_id, LogTail.chroot == chroot)
        ).one_or_none()
        if tail is None:
            tail = LogTail(build_id=build_id, chroot=chroot)
            session.add(tail)
        elif (tail.fetched_at and tail.fetched_at > now - timedelta(seconds=fresh_seconds)) or (
            tail.lease_until and tail.lease_until > now
        ):
            return None
        tail.lease_token = secrets.token_hex(12)
        tail.lease_until = now + timedelta(seconds=lease_seconds)
        session.flush()
        return TailWork(tail.id, tail.lease_token, url)


def record_tail(db: Database, work: TailWork, tail: bytes | None, size: int, problem: str) -> None:
    """Record the last bytes of a growing log of ``size`` bytes, or a problem. Commits.

    ``tail`` None leaves the earlier bytes. Nothing is written if the lease was lost.
    """
    with db.transaction() as session:
        row = session.scalars(
            select(LogTail).where(LogTail.id == work.id, LogTail.lease_token == work.token).with_for_update()
        ).one_or_none()
        if row is None:
            return
        if tail is not None:
            row.tail = tail
            row.size = size
        row.problem = problem
        row.fetched_at = database_now(session)
        row.lease_token = None
        row.lease_until = None


def remove_old_logs(db: Database, *, keep_days: float, keep_bytes: int) -> tuple[str, ...]:
    """Mark logs as removed that are older than ``keep_days``, or beyond ``keep_bytes`` in all. Commits.

    Returns the keys of the store that no row needs any more; the caller deletes these objects after this, and what a
    crash leaves is an orphan. The rows stay and say why. A build whose logs are still being fetched is left alone.
    """
    with db.transaction() as session:
        now = database_now(session)
        kept = (BuildLog.removed_at.is_(None), BuildLog.sha256 != "", ~_being_fetched())
        old = session.scalars(
            select(BuildLog)
            .where(*kept, BuildLog.stored_at < now - timedelta(days=keep_days))
            .order_by(BuildLog.stored_at)
            .limit(REMOVED_AT_ONCE)
        ).all()
        for row in old:
            row.problem = f"removed after {keep_days:g} days, as the settings say"
        running = func.sum(BuildLog.stored_size).over(
            order_by=(BuildLog.stored_at.desc(), BuildLog.id.desc())
        )
        sizes = select(BuildLog.id, running.label("total")).where(
            BuildLog.removed_at.is_(None), BuildLog.sha256 != ""
        ).subquery()  # fmt: skip
        beyond = session.scalars(
            select(BuildLog)
            .join(sizes, sizes.c.id == BuildLog.id)
            .where(*kept, sizes.c.total > keep_bytes)
            .order_by(BuildLog.stored_at)
            .limit(REMOVED_AT_ONCE)
        ).all()
        for row in beyond:
            row.problem = row.problem or f"removed to stay below {keep_bytes} bytes of logs in all"
        gone = {row.id: row for row in (*old, *beyond)}
        for row in gone.values():
            row.removed_at = now
            row.blocks = []
        session.flush()
        needed = _needed(session, {row.build_id for row in gone.values()})
        keys = {log_key(row.build_id, row.sha256) for row in gone.values()}
        return tuple(sorted(keys - needed))


def orphans(db: Database, keys: Iterable[str]) -> tuple[str, ...]:
    """Return those keys of the log store that no row needs. Reads only."""
    found = list(keys)
    with db.reader() as session:
        needed = _needed(session, {int(key.partition("/")[0]) for key in found})
    return tuple(key for key in found if key not in needed)


def _being_fetched() -> Exists:
    return (
        select(FollowUp.id)
        .where(FollowUp.build_id == BuildLog.build_id, FollowUp.kind == LOGS, FollowUp.ended_at.is_(None))
        .exists()
    )


def _needed(session: Session, build_ids: set[int]) -> set[str]:
    rows = session.execute(
        select(BuildLog.build_id, BuildLog.sha256).where(
            BuildLog.build_id.in_(build_ids), BuildLog.removed_at.is_(None), BuildLog.sha256 != ""
        )
    )
    return {log_key(build_id, sha256) for build_id, sha256 in rows}
