"""Keeps the forge's accounts, forks and pull requests for both of its APIs, and merges with real git."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from pathlib import Path

from sandbox.forge.dist_git import NAMESPACE, DistGit, run_git
from sandbox.ground import Ground
from sandbox.store import Row, Store

SCHEMA = """
CREATE TABLE IF NOT EXISTS forge_account (
    name TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE, expired INTEGER NOT NULL DEFAULT 0,
    forks INTEGER NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS forge_pull (
    id INTEGER PRIMARY KEY AUTOINCREMENT, package TEXT NOT NULL, number INTEGER NOT NULL, branch TEXT NOT NULL,
    user TEXT NOT NULL, branch_from TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'open', head TEXT NOT NULL, merge_commit TEXT, closed_by TEXT,
    created_at REAL NOT NULL, closed_at REAL, UNIQUE (package, number));
CREATE TABLE IF NOT EXISTS forge_comment (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pull_id INTEGER NOT NULL REFERENCES forge_pull, user TEXT NOT NULL,
    text TEXT NOT NULL, at REAL NOT NULL);
"""
BOT, MAINTAINER = "packbot", "maintainer"
MERGES = ("merge", "fast-forward", "squash", "rebase")


class ForgeRefusal(ValueError):
    """The forge refuses an action; ``str(error)`` says why."""


def create(store: Store, token_file: Path) -> None:
    """Make the tables, and the bot's account at the first start: with the token of the file, where there is one."""
    store.connection.executescript(SCHEMA)
    token = token_file.read_text().strip() if token_file.exists() else secrets.token_hex(20)
    with store.transaction():
        store.execute(
            "INSERT INTO forge_account (name, token) VALUES (?, ?) ON CONFLICT DO NOTHING", BOT, token
        )


def token_of(store: Store, user: str) -> str:
    """Return a user's token."""
    row = store.one("SELECT token FROM forge_account WHERE name = ?", user)
    assert row is not None, "the account is made at the first start"
    return str(row["token"])


def account_of(store: Store, token: str) -> Row | None:
    """Return the account of a token, or None for one that is unknown or has expired."""
    return store.one("SELECT * FROM forge_account WHERE token = ? AND expired = 0", token)


def repository(ground: Ground, package: str, user: str = "") -> Path:
    """Return the bare repository of a package, or of a user's fork of it; it need not be there."""
    dist_git = DistGit(ground.state_dir / "dist-git")
    return dist_git.fork_path(user, package) if user else dist_git.path(package)


def forks_of(ground: Ground, package: str) -> list[str]:
    """Return the users who have a fork of a package."""
    found = (ground.state_dir / "dist-git" / "forks").glob(f"*/{NAMESPACE}/{package}.git")
    return sorted(path.parents[1].name for path in found)


def fork(ground: Ground, package: str, user: str) -> None:
    """Copy a repository to a user. Raises ForgeRefusal where the fork is there already."""
    path = repository(ground, package, user)
    if path.exists():
        raise ForgeRefusal(f'Repo "forks/{user}/{NAMESPACE}/{package}" already exists')
    path.parent.mkdir(parents=True, exist_ok=True)
    run_git("clone", "--quiet", "--bare", str(repository(ground, package)), str(path))


def head_of(path: Path, branch: str) -> str:
    """Return the commit of a branch, empty where it is not there."""
    return run_git("-C", str(path), "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")


def open_pull(
    ground: Ground, package: str, *, branch: str, user: str, branch_from: str, title: str, text: str
) -> Row:
    """Open a pull request from a branch of a fork. Raises ForgeRefusal for a branch that is not there."""
    head = head_of(repository(ground, package, user), branch_from)
    if not head or not head_of(repository(ground, package), branch):
        raise ForgeRefusal(f"Branch {branch_from if not head else branch} does not exist")
    store = ground.store
    with store.transaction():
        row = store.one("SELECT count(*) AS n FROM forge_pull WHERE package = ?", package)
        number = (row["n"] if row else 0) + 1
        store.execute(
            "INSERT INTO forge_pull (package, number, branch, user, branch_from, title, text, head, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            package, number, branch, user, branch_from, title, text, head, round(time.time()),
        )  # fmt: skip
    return pull_of(ground, package, number)


def pull_of(ground: Ground, package: str, number: int) -> Row:
    """Return a pull request; an open one shows what its branch holds now. Raises KeyError."""
    find = "SELECT * FROM forge_pull WHERE package = ? AND number = ?"
    row = ground.store.one(find, package, number)
    if row is None:
        raise KeyError(number)
    if row["state"] == "open":
        head = head_of(repository(ground, package, row["user"]), row["branch_from"])
        if head and head != row["head"]:
            with ground.store.transaction():
                ground.store.execute("UPDATE forge_pull SET head = ? WHERE id = ?", head, row["id"])
            return pull_of(ground, package, number)
    return row


def pulls_of(ground: Ground, package: str, state: str = "") -> list[Row]:
    """Return the pull requests of a package, newest first; an empty state means all."""
    rows = ground.store.all("SELECT number FROM forge_pull WHERE package = ? ORDER BY id DESC", package)
    pulls = [pull_of(ground, package, row["number"]) for row in rows]
    return [row for row in pulls if state in {"", row["state"]}]


def close_pull(ground: Ground, row: Row, by: str) -> None:
    """Close a pull request without a merge. Raises ForgeRefusal where it is not open."""
    if row["state"] != "open":
        raise ForgeRefusal("Pull-Request is not open")
    _end(ground, row, "closed", by, None)


def comment(ground: Ground, row: Row, user: str, text: str) -> Row:
    """Add a comment to a pull request, and return its row."""
    with ground.store.transaction():
        made = ground.store.execute(
            "INSERT INTO forge_comment (pull_id, user, text, at) VALUES (?, ?, ?, ?)",
            row["id"], user, text, round(time.time()),
        ).lastrowid  # fmt: skip
    found = ground.store.one("SELECT * FROM forge_comment WHERE id = ?", made)
    assert found is not None, "the comment was made a line above"
    return found


def comments_of(ground: Ground, row: Row) -> list[Row]:
    """Return the comments of a pull request, oldest first."""
    return ground.store.all("SELECT * FROM forge_comment WHERE pull_id = ? ORDER BY id", row["id"])


def merge_pull(ground: Ground, row: Row, how: str, *, delete: bool = False) -> str:
    """Merge as a maintainer would, with real git, and return the branch's commit then. Raises ForgeRefusal.

    ``delete`` removes the fork's branch after it.
    """
    if how not in MERGES or row["state"] != "open":
        raise ForgeRefusal(f"cannot {how} a pull request that is {row['state']}")
    home = Path(tempfile.mkdtemp(prefix="sandbox-merge-"))
    try:
        upstream = repository(ground, row["package"])
        theirs = str(repository(ground, row["package"], row["user"]))
        run_git("clone", "--quiet", "--branch", row["branch"], str(upstream), str(home))
        git = ("-C", str(home))
        run_git(*git, "fetch", "--quiet", theirs, f"+refs/heads/{row['branch_from']}:refs/heads/proposed")
        title = f"{row['title']} (#{row['number']})"
        if how == "merge":
            run_git(*git, "merge", "--quiet", "--no-ff", "-m", f"Merge #{row['number']}", "proposed")
        elif how == "fast-forward":
            run_git(*git, "merge", "--quiet", "--ff-only", "proposed")
        elif how == "squash":
            run_git(*git, "merge", "--quiet", "--squash", "proposed")
            run_git(*git, "commit", "--quiet", "-m", title)
        else:
            run_git(*git, "rebase", "--quiet", "--force-rebase", row["branch"], "proposed")
        run_git(*git, "push", "--quiet", "origin", f"HEAD:refs/heads/{row['branch']}")
        merged = run_git(*git, "rev-parse", "HEAD")
    except RuntimeError as error:
        raise ForgeRefusal(str(error)) from error
    finally:
        shutil.rmtree(home)
    _end(ground, row, "merged", MAINTAINER, merged)
    if delete:
        run_git("-C", theirs, "update-ref", "-d", f"refs/heads/{row['branch_from']}")
    return merged


def _end(ground: Ground, row: Row, state: str, by: str, merged: str | None) -> None:
    with ground.store.transaction():
        ground.store.execute(
            "UPDATE forge_pull SET state = ?, closed_by = ?, merge_commit = ?, closed_at = ? WHERE id = ?",
            state, by, merged, round(time.time()), row["id"],
        )  # fmt: skip
