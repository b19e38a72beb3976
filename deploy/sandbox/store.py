"""The sandbox's database: one SQLite file, written with full durability before any answer leaves.

All of it is used from the event loop's thread only; a transaction never contains an ``await``, so no
two of them can interleave.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS account (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    login TEXT NOT NULL, token TEXT NOT NULL, expiration TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS membership (
    team TEXT NOT NULL, account TEXT NOT NULL, PRIMARY KEY (team, account));
CREATE TABLE IF NOT EXISTS chroot (name TEXT PRIMARY KEY, active INTEGER NOT NULL, position INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS project (
    id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, name TEXT NOT NULL,
    fields TEXT NOT NULL, webhook_secret TEXT, UNIQUE (owner, name));
CREATE TABLE IF NOT EXISTS project_chroot (
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE, name TEXT NOT NULL,
    settings TEXT NOT NULL DEFAULT '{}', PRIMARY KEY (project_id, name));
CREATE TABLE IF NOT EXISTS permission (
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE, account TEXT NOT NULL,
    builder TEXT NOT NULL, admin TEXT NOT NULL, PRIMARY KEY (project_id, account));
CREATE TABLE IF NOT EXISTS package (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name TEXT NOT NULL, source_type TEXT NOT NULL, source_dict TEXT NOT NULL,
    auto_rebuild INTEGER NOT NULL DEFAULT 0, UNIQUE (project_id, name));
CREATE TABLE IF NOT EXISTS build (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    dirname TEXT NOT NULL, submitter TEXT, submitted_on INTEGER NOT NULL,
    source_type TEXT NOT NULL, source_dict TEXT NOT NULL, source_state TEXT NOT NULL, source_url TEXT,
    package TEXT, version TEXT, header TEXT NOT NULL DEFAULT '{}', options TEXT NOT NULL,
    canceled INTEGER NOT NULL DEFAULT 0, confirmed INTEGER NOT NULL DEFAULT 0, due_at REAL);
CREATE INDEX IF NOT EXISTS build_by_project ON build (project_id, id DESC);
CREATE INDEX IF NOT EXISTS build_due ON build (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS build_chroot (
    build_id INTEGER NOT NULL REFERENCES build ON DELETE CASCADE, name TEXT NOT NULL,
    position INTEGER NOT NULL, state TEXT NOT NULL,
    started_on INTEGER, ended_on INTEGER, has_result INTEGER NOT NULL DEFAULT 0,
    steps_left INTEGER NOT NULL DEFAULT 0, packages TEXT NOT NULL DEFAULT '[]', PRIMARY KEY (build_id, name));
CREATE TABLE IF NOT EXISTS outcome (
    id INTEGER PRIMARY KEY AUTOINCREMENT, package TEXT NOT NULL, chroot TEXT NOT NULL,
    outcome TEXT NOT NULL, log TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fault (
    id INTEGER PRIMARY KEY AUTOINCREMENT, method TEXT NOT NULL, path TEXT NOT NULL, kind TEXT NOT NULL,
    times INTEGER, skip INTEGER NOT NULL, served INTEGER NOT NULL DEFAULT 0, options TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS release (
    id INTEGER PRIMARY KEY AUTOINCREMENT, tag TEXT NOT NULL UNIQUE, stream TEXT NOT NULL,
    published_at TEXT NOT NULL, commit_sha TEXT NOT NULL, facts TEXT NOT NULL, published INTEGER NOT NULL,
    draft INTEGER NOT NULL DEFAULT 0, prerelease INTEGER NOT NULL DEFAULT 0,
    moved INTEGER NOT NULL DEFAULT 0);
"""

Row = sqlite3.Row


class Store:
    """The sandbox's database. ``sqlite3`` errors pass through: a sandbox that cannot store is broken."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        path.chmod(0o600)
        self.connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.executescript(SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit when the block ends, roll back when it raises."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Run one statement; ``lastrowid`` and ``rowcount`` are on the cursor."""
        return self.connection.execute(sql, values)

    def one(self, sql: str, *values: Any) -> Row | None:
        """Return the first row, or None."""
        row: Row | None = self.connection.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Return every row, in the statement's order."""
        return self.connection.execute(sql, values).fetchall()

    def setting(self, key: str, default: Any = None) -> Any:
        """Return a JSON value that outlives a restart."""
        row = self.one("SELECT value FROM setting WHERE key = ?", key)
        return default if row is None else json.loads(row["value"])

    def set_setting(self, key: str, value: Any) -> None:
        """Keep a JSON value; the caller owns the transaction."""
        self.execute(
            "INSERT INTO setting VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            key,
            json.dumps(value),
        )

    def close(self) -> None:
        """Close the database, which folds the write-ahead log into the file."""
        self.connection.close()
