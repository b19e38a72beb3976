"""The database connection: engines, transactions, its clock, inserts that may repeat. The only file that commits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, sessionmaker

from service.store.base import Base
from service.store.columns import SQLITE_NOW


class Database:
    """One process's connections to the database: ``transaction()`` to write, ``reader()`` to read.

    PostgreSQL and SQLite. Create it after a fork, never before: connections are not shared between processes.
    """

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            if parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = _sqlite_engine(url, "BEGIN IMMEDIATE", pool_size=1)
            self._read_engine = _sqlite_engine(url, "BEGIN", pool_size=pool_size, read_only=True)
        else:
            self.engine = create_engine(
                url,
                pool_size=pool_size,
                max_overflow=5,
                pool_pre_ping=True,
                pool_timeout=10,
                connect_args={
                    "connect_timeout": 5,
                    "application_name": "cryopack",
                    # A connection that is lost without a reset would otherwise hold its thread for many minutes.
                    "tcp_user_timeout": 10_000,
                    "keepalives_idle": 5,
                    "keepalives_interval": 2,
                    "keepalives_count": 3,
                    # The same on the server: a worker that froze or vanished must not hold its locks for hours.
                    "options": "-c idle_in_transaction_session_timeout=60000 -c lock_timeout=20000"
                    " -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
                },
            )
            self._read_engine = self.engine
        self._writers = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(self._read_engine, expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a write transaction: it commits when the block ends, and rolls back when it raises.

        On SQLite it starts with BEGIN IMMEDIATE, so that two writers queue up instead of failing half-way.
        """
        session = self._writers()
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.close()

    @contextmanager
    def reader(self) -> Iterator[Session]:
        """Open a session for reading; whatever is done in it is rolled back."""
        session = self._readers()
        try:
            yield session
        finally:
            session.rollback()
            session.close()

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
        self._read_engine.dispose()


class JoinedDatabase(Database):
    """A database whose transactions are parts of one open transaction, which its owner commits or rolls back.

    For commands that commit by themselves, where their effect and something else must both happen or neither.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.is_sqlite = session.get_bind().dialect.name == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Give the open transaction; what was done in the block is flushed, not committed."""
        yield self._session
        self._session.flush()

    @contextmanager
    def reader(self) -> Iterator[Session]:
        """Give the open transaction, to read what it has written so far."""
        yield self._session

    def dispose(self) -> None:
        """Do nothing: the connections belong to the owner."""


def _sqlite_engine(url: str, begin: str, *, pool_size: int, read_only: bool = False) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0 if pool_size == 1 else 5,
        pool_timeout=30,
        connect_args={"timeout": 30, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # The driver's own transaction handling starts writers too late and loses updates: we say BEGIN ourselves.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout=30000")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine


def database_now(session: Session) -> datetime:
    """Return the time of the database's clock in UTC: leases must not depend on the clocks of many machines.

    Milliseconds on SQLite, microseconds on PostgreSQL.
    """
    if session.get_bind().dialect.name == "sqlite":
        value = session.execute(text(f"SELECT {SQLITE_NOW}")).scalar_one()
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    now: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now.astimezone(UTC)


def insert_if_absent(
    session: Session, table: type[Base], values: Mapping[str, Any], *, unique: Sequence[str]
) -> None:
    """Insert a row unless there is one with the same ``unique`` columns, which must have a unique index.

    Two transactions may try it at once: the second waits for the first and inserts nothing. The caller commits.
    """
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    session.execute(insert(table).values(**values).on_conflict_do_nothing(index_elements=list(unique)))
