"""Commands below ``/_sandbox/koji`` with which tests and demonstrations change the hub. No real hub has any of this."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

from starlette.requests import Request

from sandbox.ground import Ground
from sandbox.koji.builds import find_build, put_tag, split_nvr, tag_row
from sandbox.koji.driver import TaskDriver
from sandbox.koji.hub import HubFault
from sandbox.koji.outputs import output_folder
from sandbox.koji.side_tags import remove_side_tag_rows, untag
from sandbox.koji.tables import add_target, package, secret
from sandbox.koji.tasks import FREE, OPEN, add_task, next_step, task_shape
from sandbox.levers import BadCommand, command, keep_settings

SESSION_ACTIONS = {
    "expire": "UPDATE koji_session SET expired = 1",
    "close": "UPDATE koji_session SET closed = 1",
    "delete": "DELETE FROM koji_session",
}


def all_tasks(ground: Ground) -> list[dict[str, Any]]:
    """Return every task, oldest first, with its request."""
    return [task_shape(row, request=True) for row in ground.store.all("SELECT * FROM koji_task ORDER BY id")]


@command("GET", "/koji/tasks")
async def tasks(ground: Ground, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """Return what ``all_tasks`` returns."""
    return all_tasks(ground)


@command("POST", "/koji/step")
async def step(ground: Ground, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """Move one build task, or all that are live, by hand: ``{"task", "count"}``."""
    driver: TaskDriver = request.app.state.task_driver
    for _ in range(int(data.get("count", 1))):
        rows = ground.store.all("SELECT id FROM koji_task WHERE due_at IS NOT NULL ORDER BY id")
        for row in rows:
            if data.get("task") in {None, row["id"]}:
                await driver.step(row["id"])
    return all_tasks(ground)


@command("POST", "/koji/outcomes")
async def outcome(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Script how a step of matching builds ends: ``{"step", "package", "code", "text"}``.

    ``step`` is an architecture, ``srpm``, ``tag``, ``begin`` (fails as soon as it is opened) or ``builder`` (no
    builder ever takes the task); ``code`` 0 lets it go well. The package is the package's name; for ``srpm``,
    ``begin`` and ``builder`` it is the source's address.
    """
    with ground.store.transaction():
        row = ground.store.execute(
            "INSERT INTO koji_outcome (package, step, code, text) VALUES (?, ?, ?, ?)",
            data.get("package", "*"), data["step"], int(data.get("code", 1005)), data.get("text", ""),
        )  # fmt: skip
    return {"id": row.lastrowid or 0}


@command("DELETE", "/koji/outcomes")
async def clear_outcomes(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Remove every scripted outcome: every step succeeds again."""
    with ground.store.transaction():
        return {"removed": ground.store.execute("DELETE FROM koji_outcome").rowcount}


@command("POST", "/koji/hub")
async def hub(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Set ``{"version", "offline"}``: another version (below 1.35 a repeated call runs twice), or an outage's text."""
    keep_settings(ground, "koji", ("version", "offline"), data)
    return data


@command("POST", "/koji/sessions")
async def sessions(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """End sessions, ``{"action", "id"}``: ``expire``, ``close`` or ``delete`` one session, or all of them."""
    action = SESSION_ACTIONS.get(data["action"])
    if action is None:
        raise BadCommand(f"unknown action; there are: {', '.join(SESSION_ACTIONS)}")
    with ground.store.transaction():
        where = " WHERE id = ?" if "id" in data else ""
        return {"sessions": ground.store.execute(action + where, *([data["id"]] if where else [])).rowcount}


@command("POST", "/koji/users")
async def users(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Make or renew a user: ``{"name", "admin"}`` to ``{"id", "name", "password"}``; the old password is invalid."""
    password = str(data.get("password", secret()))
    with ground.store.transaction():
        ground.store.execute(
            "INSERT INTO koji_user (name, password, admin) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET password = excluded.password, admin = excluded.admin",
            data["name"], password, int(data.get("admin", False)),
        )  # fmt: skip
        row = ground.store.one("SELECT id FROM koji_user WHERE name = ?", data["name"])
    return {"id": row["id"] if row else 0, "name": data["name"], "password": password}


@command("POST", "/koji/free")
async def free(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Give ``{"task"}`` back as its builder would, OPEN to FREE; the time of its start stays."""
    with ground.store.transaction():
        changed = ground.store.execute(
            "UPDATE koji_task SET state = ?, host_id = NULL WHERE id = ? AND state = ?",
            FREE,
            data["task"],
            OPEN,
        )
    return {"changed": changed.rowcount}


@command("POST", "/koji/forget")
async def forget(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Remove ``{"task", "output"}`` from the hub, or with ``output`` only its files."""
    shutil.rmtree(output_folder(ground, data["task"]), ignore_errors=True)
    if data.get("output"):
        return {"removed": 0}
    with ground.store.transaction():
        ground.store.execute("DELETE FROM koji_task WHERE parent = ?", data["task"])
        return {"removed": ground.store.execute("DELETE FROM koji_task WHERE id = ?", data["task"]).rowcount}


@command("POST", "/koji/resubmit")
async def resubmit(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Submit the request of ``{"task"}`` once more, as an administrator would in the owner's name."""
    with ground.store.transaction():
        row = ground.store.one("SELECT * FROM koji_task WHERE id = ?", data["task"])
        if row is None:
            raise BadCommand(f"no task {data['task']}")
        due, source = next_step(ground), json.loads(row["request"])
        number = add_task(
            ground.store, row["method"], source, owner=row["owner"], priority=row["priority"], due_at=due
        )
    return {"id": number}


@command("POST", "/koji/targets")
async def targets(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Set a target, ``{"name", "build_tag", "dest_tag", "arches", "locked"}``; ``{"only": [names]}`` removes others."""
    with ground.store.transaction():
        if "only" in data:
            marks = ", ".join("?" * len(data["only"]))
            ground.store.execute(f"DELETE FROM koji_target WHERE name NOT IN ({marks})", *data["only"])
        else:
            add_target(ground.store, data["name"], data["build_tag"], data["dest_tag"], data["arches"])
            locked = int(data.get("locked", False))
            ground.store.execute("UPDATE koji_tag SET locked = ? WHERE name = ?", locked, data["dest_tag"])
    return data


@command("POST", "/koji/packages")
async def packages(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Set whether a package is missing in every tag's list: ``{"name", "unlisted"}``."""
    with ground.store.transaction():
        package(ground.store, data["name"])
        unlisted = int(data.get("unlisted", True))
        ground.store.execute("UPDATE koji_package SET unlisted = ? WHERE name = ?", unlisted, data["name"])
    return data


@command("POST", "/koji/sources")
async def sources(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Set the NVR of a commit that has no content here: ``{"url", "nvr"}``."""
    name, version, release = _split(data["nvr"])
    with ground.store.transaction():
        ground.store.execute(
            "INSERT OR REPLACE INTO koji_source VALUES (?, ?, ?, ?)", data["url"], name, version, release
        )
    return data


@command("POST", "/koji/builds")
async def builds(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Make a build of somebody else: ``{"nvr", "state", "task", "source", "tags"}``."""
    name, version, release = _split(data["nvr"])
    now = time.time()
    with ground.store.transaction():
        number = ground.store.execute(
            "INSERT INTO koji_build (package_id, name, version, release, state, task_id, source, owner, event,"
            " create_ts, start_ts, completion_ts) VALUES (?, ?, ?, ?, ?, ?, ?, 1, 1, ?, ?, ?)",
            package(ground.store, name), name, version, release, int(data["state"]), data.get("task"),
            data.get("source"), now, now, now if data["state"] else None,
        ).lastrowid  # fmt: skip
        for tag in data.get("tags", ()):
            put_tag(ground.store, number or 0, tag, 1)
    return {"id": number or 0}


@command("POST", "/koji/tags")
async def tags(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Move a build to another tag, as Bodhi does with an update: ``{"nvr", "add", "remove"}``."""
    row = find_build(ground.store, data["nvr"])
    if row is None:
        raise BadCommand(f"no build {data['nvr']}")
    with ground.store.transaction():
        if "add" in data:
            put_tag(ground.store, row["id"], data["add"], 1)
        if "remove" in data:
            untag(ground.store, row["id"], data["remove"])
    return data


@command("GET", "/koji/side-tags")
async def side_tags(ground: Ground, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """Return every side tag ever made: name, owner, whether it is removed, and the builds that it holds."""
    rows = ground.store.all(
        "SELECT g.id, g.name, s.removed, u.name AS owner FROM koji_side_tag s JOIN koji_tag g ON g.id = s.tag_id"
        " JOIN koji_user u ON u.id = s.user_id ORDER BY g.id"
    )
    held = "SELECT b.name || '-' || b.version || '-' || b.release AS nvr FROM koji_tagging t"
    held += " JOIN koji_build b ON b.id = t.build_id WHERE t.tag_id = ? AND t.revoke_ts IS NULL ORDER BY t.id"
    found = []
    for row in rows:
        holds = [one["nvr"] for one in ground.store.all(held, row["id"])]
        found.append({**dict(row), "removed": bool(row["removed"]), "holds": holds})
    return found


@command("POST", "/koji/side-tags")
async def change_side_tags(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Deny, remove or hold up side tags.

    ``{"denied"}``: why the hub's policy denies new ones, empty for none; ``{"remove": name}``: somebody removes one;
    ``{"hold_repos"}``: no repository that is begun from now on gets ready.
    """
    with ground.store.transaction():
        if "denied" in data:
            ground.store.set_setting("koji_side_tags_denied", data["denied"])
        if "hold_repos" in data:
            ground.store.set_setting("koji_repos_held", "held" if data["hold_repos"] else "")
            ground.store.execute(
                "UPDATE koji_repo SET ready_at = ? WHERE ready_at > ?", time.time(), time.time()
            )
        if "remove" in data:
            row = tag_row(ground.store, data["remove"])
            if row is None:
                raise BadCommand(f"no side tag {data['remove']}")
            remove_side_tag_rows(ground.store, row["id"])
    return data


def _split(nvr: str) -> tuple[str, str, str]:
    try:
        return split_nvr(nvr)
    except HubFault as error:
        raise BadCommand(error.text) from None
