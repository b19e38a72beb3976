"""Koji's methods for tasks: make, show, list, cancel and resubmit them."""

from __future__ import annotations

import json
import time
from typing import Any

from sandbox.ground import Ground
from sandbox.koji import builds
from sandbox.koji.hub import Call, FaultCode, HubFault, answer_body, call_text, fault_text, rpc, time_text
from sandbox.store import Row, Store

FREE, OPEN, CLOSED, CANCELED, ASSIGNED, FAILED = range(6)
LIVE = (FREE, OPEN, ASSIGNED)
PRIORITY = 20
CHANNELS = frozenset({"default", "createrepo", "image", "maven"})
FILTERS = {"owner": "owner", "method": "method", "parent": "parent", "host_id": "host_id"}


def next_step(ground: Ground) -> float:
    """Return when a task that moves now is due again; a Koji build has twice as many steps as one of COPR."""
    return time.time() + ground.pace / 2


def add_task(
    store: Store,
    method: str,
    request: list[Any],
    *,
    owner: int,
    priority: int,
    parent: int | None = None,
    label: str | None = None,
    arch: str = "noarch",
    due_at: float | None = None,
) -> int:
    """Add a task in state FREE, and return its id."""
    return int(
        store.execute(
            "INSERT INTO koji_task (parent, method, label, arch, owner, priority, create_ts, request, due_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            parent, method, label, arch, owner, priority, round(time.time(), 6), json.dumps(request), due_at,
        ).lastrowid
        or 0
    )  # fmt: skip


@rpc("build", writes=True)
def build(
    call: Call,
    src: str,
    target: str,
    opts: Any = None,
    priority: int | None = None,
    channel: str | None = None,
) -> int:
    """Accept a build. As on the real hub neither the target nor the source is looked at here."""
    owner = call.user_id
    if not isinstance(src, str):
        text = f"Invalid type for value '{src}': {type(src)}, expected type <class 'str'>"
        raise HubFault(FaultCode.PARAMETER, text)
    if priority is not None and priority < 0 and not (call.user and call.user["admin"]):
        raise HubFault(FaultCode.DENIED, "only admins may create high-priority tasks")
    if channel is not None and channel not in CHANNELS:
        raise HubFault(FaultCode.GENERIC, f"No such channel: {channel}")
    return add_task(
        call.store,
        "build",
        [src, target, opts or {}],
        owner=owner,
        priority=PRIORITY + (priority or 0),
        due_at=next_step(call.ground),
    )


def task_row(call: Call, task_id: Any, text: str = "query returned no rows") -> Row:
    """Return a task's row. Raises HubFault 1000 with ``text``."""
    row = call.store.one("SELECT * FROM koji_task WHERE id = ?", int(task_id))
    if row is None:
        raise HubFault(FaultCode.GENERIC, text)
    return row


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def task_shape(row: Row, *, request: bool = False) -> dict[str, Any]:
    """Return a task as the hub shows it."""
    shape = {
        "arch": row["arch"],
        "awaited": _flag(row["awaited"]),
        "channel_id": 1,
        **_times(row, "completion"),
        **_times(row, "create"),
        "host_id": row["host_id"],
        "id": row["id"],
        "label": row["label"],
        "method": row["method"],
        "owner": row["owner"],
        "parent": row["parent"],
        "priority": row["priority"],
        **_times(row, "start"),
        "state": row["state"],
        "waiting": _flag(row["waiting"]),
        "weight": 1.0,
    }
    return {**shape, "request": json.loads(row["request"])} if request else shape


def _times(row: Row, name: str) -> dict[str, Any]:
    return {f"{name}_time": time_text(row[f"{name}_ts"]), f"{name}_ts": row[f"{name}_ts"]}


@rpc("getTaskInfo")
def get_task_info(call: Call, task_id: Any, request: bool = False, strict: bool = False) -> Any:
    """Return one task or None; a list of ids gives a list."""
    if isinstance(task_id, list):
        return [get_task_info(call, one, request, strict) for one in task_id]
    row = call.store.one("SELECT * FROM koji_task WHERE id = ?", int(task_id))
    if row is None and strict:
        raise HubFault(FaultCode.GENERIC, "query returned no rows")
    return task_shape(row, request=request) if row else None


@rpc("getTaskRequest")
def get_task_request(call: Call, taskId: int) -> Any:
    """Return what a task was asked for."""
    return json.loads(task_row(call, taskId)["request"])


@rpc("getTaskResult")
def get_task_result(call: Call, taskId: int, raise_fault: bool = True) -> Any:
    """Return the result of an ended task; a failed one raises its fault or, if not wanted, shows it."""
    row = task_row(call, taskId, "No such task")
    if row["state"] == CANCELED:
        raise HubFault(FaultCode.GENERIC, f"Task {taskId} is canceled")
    if row["state"] not in (CLOSED, FAILED):
        raise HubFault(FaultCode.GENERIC, f"Task {taskId} is not finished")
    result = json.loads(row["result"] or "null")
    if row["state"] == FAILED:
        if raise_fault:
            raise HubFault(result["faultCode"], result["faultString"])
        return result
    return result


@rpc("taskFinished")
def task_finished(call: Call, taskId: int) -> bool:
    """Return whether a task has ended in any way."""
    return task_row(call, taskId)["state"] not in LIVE


def children(store: Store, task_id: int) -> list[Row]:
    """Return the children of a task, oldest first."""
    return store.all("SELECT * FROM koji_task WHERE parent = ? ORDER BY id", task_id)


@rpc("getTaskChildren")
def get_task_children(call: Call, task_id: int, request: bool = False, strict: bool = False) -> list[Any]:
    """Return the children of a task, in no order that a client may rely on."""
    rows = call.store.all("SELECT * FROM koji_task WHERE parent = ? ORDER BY label", task_id)
    return [task_shape(row, request=request) for row in rows]


@rpc("getTaskDescendents")
def get_task_descendents(call: Call, task_id: int, request: bool = False) -> dict[str, list[Any]]:
    """Return children of children, by the parent's id as text."""
    tree: dict[str, list[Any]] = {}
    waiting = [int(task_id)]
    while waiting:
        number = waiting.pop(0)
        rows = children(call.store, number)
        tree[str(number)] = [task_shape(row, request=request) for row in rows]
        waiting += [row["id"] for row in rows]
    return tree


@rpc("listTasks")
def list_tasks(call: Call, opts: Any = None, queryOpts: Any = None) -> Any:
    """Return the tasks that fit; unknown options are ignored in silence, as on the real hub."""
    opts, how = dict(opts or {}), dict(queryOpts or {})
    clauses, values = _clauses(opts)
    where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
    if how.get("countOnly"):
        row = call.store.one(f"SELECT count(*) AS n FROM koji_task {where}", *values)
        return row["n"] if row else 0
    order = str(how.get("order", "id"))
    direction = "DESC" if order.startswith("-") else "ASC"
    column = order.lstrip("-") if order.lstrip("-") in {"id", "owner", "method", "state"} else "id"
    sql = f"SELECT * FROM koji_task {where} ORDER BY {column} {direction} LIMIT ? OFFSET ?"
    rows = call.store.all(sql, *values, how.get("limit", -1), how.get("offset", 0))
    return [_listed(call, row, decode=bool(opts.get("decode"))) for row in rows]


def _clauses(opts: dict[str, Any]) -> tuple[list[str], list[Any]]:
    owner, state = opts.get("owner"), opts.get("state")
    if owner is not None and not isinstance(owner, int):
        raise _database_error(
            f'psycopg2.errors.InvalidTextRepresentation: invalid input syntax for type integer: "{owner}"'
        )
    if state is not None and not isinstance(state, list):
        raise _database_error(f'psycopg2.errors.SyntaxError: syntax error at or near "{state}"')
    clauses, values = [], []
    for name, column in FILTERS.items():
        if name in opts:
            clauses.append(f"{column} IS ?")
            values.append(opts[name])
    if state is not None:
        clauses.append(f"state IN ({', '.join('?' * len(state))})")
        values += state
    if "createdAfter" in opts:
        clauses.append("create_ts > ?")
        values.append(float(opts["createdAfter"]))
    return clauses, values


def _database_error(text: str) -> HubFault:
    return HubFault(FaultCode.UNEXPECTED, f"Traceback (most recent call last):\n{text}\n")


def _listed(call: Call, row: Row, *, decode: bool) -> dict[str, Any]:
    owner = call.store.one("SELECT name FROM koji_user WHERE id = ?", row["owner"])
    shape = task_shape(row, request=True)
    result = json.loads(row["result"]) if row["result"] else None
    if not decode:
        shape["request"] = call_text(row["method"], shape["request"])
        if row["state"] == FAILED and result:
            result = fault_text(result["faultCode"], result["faultString"])
        elif row["state"] == CLOSED:
            result = answer_body(result).decode()
    return {**shape, "owner_name": owner["name"] if owner else "", "owner_type": 0, "result": result}


@rpc("cancelTask", writes=True)
def cancel_task(call: Call, task_id: int, recurse: bool = True) -> None:
    """End a task, its children and its build; one that has ended stays as it is."""
    user = call.user_id
    row = task_row(call, task_id, f"No such task: {task_id}")
    if row["owner"] != user and not (call.user and call.user["admin"]):
        raise HubFault(FaultCode.DENIED, "Cannot cancel task, not owner")
    cancel(call.store, row["id"])


def cancel(store: Store, task_id: int) -> None:
    """End a task with its children and its build, without a check; the caller owns the transaction."""
    now = round(time.time(), 6)
    states = ", ".join(map(str, LIVE))
    row = store.one(f"SELECT * FROM koji_task WHERE id = ? AND state IN ({states})", task_id)
    if row is None:
        return
    store.execute(
        f"UPDATE koji_task SET state = ?, completion_ts = ?, due_at = NULL"
        f" WHERE (id = ? OR parent = ?) AND state IN ({states})",
        CANCELED, now, task_id, task_id,
    )  # fmt: skip
    store.execute(
        "UPDATE koji_build SET state = ?, completion_ts = ? WHERE task_id = ? AND state = ?",
        builds.CANCELED, now, task_id, builds.BUILDING,
    )  # fmt: skip


@rpc("resubmitTask", writes=True)
def resubmit_task(call: Call, taskID: int) -> int:
    """Make a task with the old one's request, metadata included, and return its id."""
    owner = call.user_id
    row = task_row(call, taskID)
    if row["state"] not in (FAILED, CANCELED):
        raise HubFault(FaultCode.GENERIC, "only canceled or failed tasks may be resubmitted")
    due = next_step(call.ground)
    request = json.loads(row["request"])
    return add_task(call.store, row["method"], request, owner=owner, priority=row["priority"], due_at=due)
