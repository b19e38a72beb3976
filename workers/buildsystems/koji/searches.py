"""Finding submissions again by their token: our own build tasks read backwards, to the newest one before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.buildsystems.koji.client import KojiClient
from workers.buildsystems.koji.reports import TOKEN, metadata, state_of
from workers.buildsystems.koji.states import Task
from workers.buildsystems.koji.trouble import Kind, KojiTrouble

PAGE = 100
MAX_PAGES = 200
# Of several tasks under one token the finished one is kept, then a live one; a failed one only if it is alone.
RANK = {Task.CLOSED: 0, Task.OPEN: 1, Task.ASSIGNED: 1, Task.FREE: 1, Task.FAILED: 2, Task.CANCELED: 3}

Row = Mapping[str, Any]


def newest_task(client: KojiClient, user_id: int) -> int:
    """The id of this user's newest build task, 0 without one. Raises KojiTrouble."""
    rows = _page(client, user_id, limit=1, offset=0, decode=False)
    return int(rows[0]["id"]) if rows else 0


def search_tasks(client: KojiClient, user_id: int, token: str, after: int) -> list[int]:
    """Ids of this user's build tasks above ``after`` that carry the token, best first. Raises KojiTrouble."""
    found: dict[int, Row] = {}
    for page in range(MAX_PAGES):
        # New tasks push older ones towards later pages, so a shift repeats rows and hides none.
        rows = _page(client, user_id, limit=PAGE, offset=page * PAGE, decode=True)
        for row in rows:
            if row["id"] > after and metadata(row).get(TOKEN) == token:
                found[row["id"]] = row
        if len(rows) < PAGE or min(row["id"] for row in rows) <= after:
            return sorted(found, key=lambda number: _order(number, found[number]))
    raise KojiTrouble(
        Kind.UNCLEAR, f"more than {PAGE * MAX_PAGES} tasks since the submission; the search gave up"
    )


def _order(number: int, row: Row) -> tuple[int, int]:
    state = state_of(row)
    rank = RANK[state] if state is not None else 1
    # Somebody who submits a failed task again makes a new one with the same token, and that one counts.
    return rank, -number if rank > 1 else number


def _page(client: KojiClient, user_id: int, *, limit: int, offset: int, decode: bool) -> list[Row]:
    # Neither createdAfter, which has no index and is 40 times slower, nor a state: an ended task is found too.
    options = {"owner": user_id, "method": "build", **({"decode": True} if decode else {})}
    rows = client.call("listTasks", options, {"order": "-id", "limit": limit, "offset": offset})
    # An answer of another form must never look like an empty list, the proof that a task is not there.
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("id"), int) for row in rows
    ):
        raise KojiTrouble(Kind.UNCLEAR, "the hub's list of tasks has an unknown form")
    return rows
