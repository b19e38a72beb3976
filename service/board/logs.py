"""Reads which logs of a build are stored, and the tails of logs that still grow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.logs.blocks import Block
from service.logs.reader import LogReader
from service.logs.store import LogStore, log_key
from service.store.schema import LOG_KINDS, BuildLog, FollowUp, LogTail


@dataclass(frozen=True)
class LogRow:
    """One log of a chroot, or of the source step: stored, removed again, or not to be had (``problem``).

    Sizes are bytes; ``left_out`` of them are missing in the middle of a log that was too long.
    """

    chroot: str
    kind: str
    url: str
    sha256: str
    plain_size: int
    stored_size: int
    lines: int
    left_out: int
    stored_at: datetime
    removed_at: datetime | None
    problem: str

    @property
    def is_stored(self) -> bool:
        return bool(self.sha256) and self.removed_at is None


@dataclass(frozen=True)
class StoredLog:
    """A log with the index of its blocks."""

    build_id: int
    row: LogRow
    blocks: tuple[Block, ...]

    def open(self, store: LogStore) -> LogReader:
        """Return a reader of the log. Its reads raise LogGone where the file is missing."""
        key = log_key(self.build_id, self.row.sha256)
        return LogReader(store, key, self.blocks, self.row.stored_size, self.row.plain_size)


@dataclass(frozen=True)
class TailRow:
    """The last bytes of a log that grows; ``size`` is how long it was when they were fetched."""

    tail: bytes
    size: int
    problem: str
    fetched_at: datetime | None


_L = BuildLog
_COLUMNS = (
    _L.chroot, _L.kind, _L.url, _L.sha256, _L.plain_size, _L.stored_size, _L.lines, _L.left_out, _L.stored_at,
    _L.removed_at, _L.problem,
)  # fmt: skip


def logs_of(session: Session, build_id: int, chroot: str | None = None) -> tuple[LogRow, ...]:
    """Return the logs of a build or of one chroot, by chroot, the builder's first."""
    statement = select(*_COLUMNS).where(_L.build_id == build_id)
    if chroot is not None:
        statement = statement.where(_L.chroot == chroot)
    rows = [LogRow(*row) for row in session.execute(statement)]
    return tuple(sorted(rows, key=lambda row: (row.chroot, LOG_KINDS.index(row.kind))))


def stored_log(session: Session, build_id: int, chroot: str, kind: str) -> StoredLog | None:
    """Return one stored log with its index, or None where it is not stored (any more)."""
    row = session.execute(
        select(*_COLUMNS, _L.blocks).where(
            _L.build_id == build_id, _L.chroot == chroot, _L.kind == kind,
            _L.sha256 != "", _L.removed_at.is_(None),
        )
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    *own, blocks = row
    return StoredLog(build_id, LogRow(*own), tuple(Block(*block) for block in blocks))


def log_tail(session: Session, build_id: int, chroot: str) -> TailRow | None:
    """Return the end of a growing log as last fetched, or None where nobody has looked yet."""
    row = session.execute(
        select(LogTail.tail, LogTail.size, LogTail.problem, LogTail.fetched_at).where(
            LogTail.build_id == build_id, LogTail.chroot == chroot
        )
    ).one_or_none()
    return TailRow(*row) if row else None


def fetching(session: Session, build_id: int, chroot: str) -> str | None:
    """Return why the logs are not stored yet while a worker is still to fetch them, or None where none is."""
    row = session.execute(
        select(FollowUp.outcome).where(
            FollowUp.build_id == build_id, FollowUp.kind == "logs", FollowUp.subject == chroot,
            FollowUp.ended_at.is_(None),
        )
    ).one_or_none()  # fmt: skip
    return row[0] if row else None
