"""Koji's repositories of build tags: requested at an event, ready a little later, without contents.

A hub since 1.35 begins one when it is asked to; an older one by itself, which is played at the next look.
"""

from __future__ import annotations

import time
from typing import Any

from sandbox.koji.builds import tag_row
from sandbox.koji.hub import Call, FaultCode, HubFault, rpc, time_text, version_of
from sandbox.store import Row, Store

READY = 1
NEVER = 10.0**12


def initial_repo(store: Store, tag_id: int, event: int) -> None:
    """Make the repository that a side tag gets from its base at once."""
    now = time.time()
    store.execute(
        "INSERT INTO koji_repo (tag_id, create_event, create_ts, ready_at) VALUES (?, ?, ?, ?)",
        tag_id, event, now, now,
    )  # fmt: skip


def _shape(row: Row, tag: Row) -> dict[str, Any]:
    return {
        "create_event": row["create_event"],
        "create_ts": row["create_ts"],
        "creation_time": time_text(row["create_ts"]),
        "dist": False,
        "id": row["id"],
        "state": READY,
        "tag_id": row["tag_id"],
        "tag_name": tag["name"],
        "task_id": None,
    }


def _tag(call: Call, info: Any) -> Row:
    row = tag_row(call.store, info)
    if row is None:
        raise HubFault(FaultCode.GENERIC, f"No such tagInfo: {info!r}")
    return row


def _ready(store: Store, tag_id: int, since: int) -> Row | None:
    return store.one(
        "SELECT * FROM koji_repo WHERE tag_id = ? AND create_event >= ? AND ready_at <= ?"
        " ORDER BY create_event DESC LIMIT 1",
        tag_id, since, time.time(),
    )  # fmt: skip


def _begin(call: Call, tag_id: int, since: int) -> tuple[Row, bool]:
    """Return the repository under way that is new enough, or begin one; and whether it was there."""
    sql = "SELECT * FROM koji_repo WHERE tag_id = ? AND create_event >= ? ORDER BY id LIMIT 1"
    row = call.store.one(sql, tag_id, since)
    if row is not None:
        return row, True
    now = time.time()
    held = call.store.setting("koji_repos_held", "")
    call.store.execute(
        "INSERT INTO koji_repo (tag_id, create_event, create_ts, ready_at) VALUES (?, ?, ?, ?)",
        tag_id, max(call.event(), since), now, NEVER if held else now + call.ground.pace,
    )  # fmt: skip
    row = call.store.one(sql, tag_id, since)
    assert row is not None, "it was begun a line above"
    return row, False


@rpc("repo.request", writes=True)
def request_repo(
    call: Call, tag: Any, min_event: Any = None, at_event: Any = None, opts: Any = None, priority: Any = None,
    force: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Return a ready repository that is new enough, or the request for one: a repeat finds the request."""
    assert call.user_id
    if not version_of(call.ground)[1]:
        raise HubFault(FaultCode.GENERIC, "Invalid method: repo.request")
    row = _tag(call, tag)
    since = int(min_event or 0)
    ready = _ready(call.store, row["id"], since)
    if ready is not None:
        return {"repo": _shape(ready, row), "request": None, "duplicate": False}
    found, duplicate = _begin(call, row["id"], since)
    request = {
        "id": found["id"], "tag_id": row["id"], "tag_name": row["name"], "min_event": since, "at_event": None,
        "active": True, "repo_id": None, "task_id": None, "tries": 1, "opts": {},
    }  # fmt: skip
    return {"repo": None, "request": request, "duplicate": duplicate}


@rpc("getRepo")
def get_repo(
    call: Call, tag: Any, state: Any = None, event: Any = None, dist: bool = False, min_event: Any = None
) -> dict[str, Any] | None:
    """Return the newest ready repository of a tag, or None."""
    row = _tag(call, tag)
    if not version_of(call.ground)[1]:
        last = call.store.one(
            "SELECT max(create_event) AS event FROM koji_tagging WHERE tag_id = ?", row["id"]
        )
        if last and last["event"]:
            _begin(call, row["id"], last["event"])
    ready = _ready(call.store, row["id"], int(min_event or 0))
    return _shape(ready, row) if ready else None
