"""The hub's tables and their first rows: users, sessions, tasks, builds, tags and targets."""

from __future__ import annotations

import secrets

from sandbox.store import Store

SCHEMA = """
CREATE TABLE IF NOT EXISTS koji_user (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, password TEXT NOT NULL,
    admin INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS koji_session (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL REFERENCES koji_user, key TEXT NOT NULL,
    authtype INTEGER NOT NULL, callnum INTEGER, expired INTEGER NOT NULL DEFAULT 0,
    closed INTEGER NOT NULL DEFAULT 0, exclusive INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS koji_task (
    id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER REFERENCES koji_task, method TEXT NOT NULL,
    label TEXT, arch TEXT NOT NULL, owner INTEGER NOT NULL REFERENCES koji_user, priority INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0, waiting INTEGER, awaited INTEGER, host_id INTEGER,
    create_ts REAL NOT NULL, start_ts REAL, completion_ts REAL, request TEXT NOT NULL, result TEXT,
    source TEXT, due_at REAL);
CREATE INDEX IF NOT EXISTS koji_task_by_owner ON koji_task (owner, method, id DESC);
CREATE INDEX IF NOT EXISTS koji_task_by_parent ON koji_task (parent);
CREATE INDEX IF NOT EXISTS koji_task_due ON koji_task (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS koji_package (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    unlisted INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS koji_build (
    id INTEGER PRIMARY KEY AUTOINCREMENT, package_id INTEGER NOT NULL REFERENCES koji_package,
    name TEXT NOT NULL, version TEXT NOT NULL, release TEXT NOT NULL, epoch INTEGER, state INTEGER NOT NULL,
    task_id INTEGER, source TEXT, extra TEXT NOT NULL DEFAULT 'null', owner INTEGER NOT NULL,
    arches TEXT NOT NULL DEFAULT '', event INTEGER NOT NULL, create_ts REAL NOT NULL, start_ts REAL,
    completion_ts REAL, UNIQUE (name, version, release));
CREATE INDEX IF NOT EXISTS koji_build_by_task ON koji_build (task_id);
CREATE TABLE IF NOT EXISTS koji_event (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS koji_tag (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, arches TEXT NOT NULL DEFAULT '',
    locked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS koji_side_tag (
    tag_id INTEGER PRIMARY KEY REFERENCES koji_tag, base INTEGER NOT NULL REFERENCES koji_tag,
    user_id INTEGER NOT NULL REFERENCES koji_user, removed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS koji_repo (
    id INTEGER PRIMARY KEY AUTOINCREMENT, tag_id INTEGER NOT NULL REFERENCES koji_tag,
    create_event INTEGER NOT NULL, create_ts REAL NOT NULL, ready_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS koji_target (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    build_tag INTEGER NOT NULL REFERENCES koji_tag, dest_tag INTEGER NOT NULL REFERENCES koji_tag);
CREATE TABLE IF NOT EXISTS koji_tagging (
    id INTEGER PRIMARY KEY AUTOINCREMENT, build_id INTEGER NOT NULL REFERENCES koji_build,
    tag_id INTEGER NOT NULL REFERENCES koji_tag, create_event INTEGER NOT NULL, create_ts REAL NOT NULL,
    revoke_event INTEGER, revoke_ts REAL);
CREATE TABLE IF NOT EXISTS koji_upload (path TEXT PRIMARY KEY, user_id INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS koji_source (
    url TEXT PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, release TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS koji_outcome (
    id INTEGER PRIMARY KEY AUTOINCREMENT, package TEXT NOT NULL, step TEXT NOT NULL, code INTEGER NOT NULL,
    text TEXT NOT NULL);
"""

SERVICE_USER = "packbot"
RELEASES = ("42", "43", "44", "45")
RAWHIDE = "46"
ARCHES = "x86_64 aarch64"


def create(store: Store) -> None:
    """Make the tables."""
    store.connection.executescript(SCHEMA)


def first_rows(store: Store) -> None:
    """Insert the account, Fedora's targets and their tags at the first start; the caller owns the transaction."""
    if store.one("SELECT 1 FROM koji_user") is not None:
        return
    # Number 1 is the builders' own account on every hub.
    store.execute("INSERT INTO koji_user (name, password, admin) VALUES ('kojiadmin', ?, 1)", secret())
    store.execute("INSERT INTO koji_user (name, password) VALUES (?, ?)", SERVICE_USER, secret())
    for number in RELEASES:
        for name in (f"f{number}-candidate", f"f{number}"):
            add_target(store, name, f"f{number}-build", f"f{number}-updates-candidate", ARCHES)
    add_target(store, "rawhide", f"f{RAWHIDE}-build", f"f{RAWHIDE}-updates-candidate", ARCHES)


def secret() -> str:
    """Return a fresh password, as hex digits."""
    return secrets.token_hex(16)


def add_target(store: Store, name: str, build_tag: str, dest_tag: str, arches: str) -> None:
    """Make or change a target; its tags are made where they are missing. The build tag gets the arches."""
    tag(store, build_tag)
    store.execute("UPDATE koji_tag SET arches = ? WHERE name = ?", arches, build_tag)
    store.execute(
        "INSERT INTO koji_target (name, build_tag, dest_tag) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET build_tag = excluded.build_tag, dest_tag = excluded.dest_tag",
        name,
        tag(store, build_tag),
        tag(store, dest_tag),
    )


def tag(store: Store, name: str) -> int:
    """Return the id of a tag, which is made where it is missing."""
    store.execute("INSERT INTO koji_tag (name) VALUES (?) ON CONFLICT DO NOTHING", name)
    row = store.one("SELECT id FROM koji_tag WHERE name = ?", name)
    assert row is not None, "the tag was made a line above"
    return int(row["id"])


def package(store: Store, name: str) -> int:
    """Return the id of a package, which is made where it is missing."""
    store.execute("INSERT INTO koji_package (name) VALUES (?) ON CONFLICT DO NOTHING", name)
    row = store.one("SELECT id FROM koji_package WHERE name = ?", name)
    assert row is not None, "the package was made a line above"
    return int(row["id"])
