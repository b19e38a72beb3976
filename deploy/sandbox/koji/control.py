"""``/_sandbox/koji``: what tests and demonstrations may tell the hub. No real hub has any of this."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

from starlette.requests import Request

from sandbox.ground import Ground
from sandbox.koji import builds as koji_builds
from sandbox.koji import side_tags as koji_side_tags
from sandbox.koji.files import output_folder
from sandbox.koji.life import KojiLife
from sandbox.koji.tables import add_target, package, secret
from sandbox.koji.tasks import FREE, OPEN, add_task, next_step, task_shape
from sandbox.koji.wire import HubFault
from sandbox.levers import BadCommand, command

SESSION_ACTIONS = {
    "expire": "UPDATE koji_session SET expired = 1",
    "close": "UPDATE koji_session SET closed = 1",
    "delete": "DELETE FROM koji_session",
}


def all_tasks(ground: Ground) -> list[dict[str, Any]]:
    """Every task, oldest first, with its request."""
    return [task_shape(row, request=True) for row in ground.store.all("SELECT * FROM koji_task ORDER BY id")]


@command("GET", "/koji/tasks")
async def tasks(ground: Ground, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """What ``all_tasks`` says."""
    return all_tasks(ground)


@command("POST", "/koji/step")
async def step(ground: Ground, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """``{"task", "count"}``: that many steps of one build task, or of all that are live."""
    life: KojiLife = request.app.state.koji_life
    for _ in range(int(data.get("count", 1))):
        rows = ground.store.all("SELECT id FROM koji_task WHERE due_at IS NOT NULL ORDER BY id")
        for row in rows:
            if data.get("task") in {None, row["id"]}:
                await life.step(row["id"])
    return all_tasks(ground)


@command("POST", "/koji/outcomes")
async def outcome(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """``{"step", "package", "code", "text"}``: how a step of matching builds ends.

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
    """Every step goes well again."""
    with ground.store.transaction():
        return {"removed": ground.store.execute("DELETE FROM koji_outcome").rowcount}


@command("POST", "/koji/hub")
async def hub(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """``{"version", "offline"}``: another version (below 1.35 a repeated call runs twice), or an outage's text."""
    with ground.store.transaction():
        for key in ("version", "offline"):
            if key in data:
                ground.store.set_setting(f"koji_{key}", data[key])
    return data


@command("POST", "/koji/sessions")
async def sessions(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """``{"action", "id"}``: ``expire``, ``close`` or ``delete`` one session, or all of them."""
    action = SESSION_ACTIONS.get(data["action"])
    if action is None:
        raise BadCommand(f"unknown action; there are: {', '.join(SESSION_ACTIONS)}")
    with ground.store.transaction():
        where = " WHERE id = ?" if "id" in data else ""
        return {"sessions": ground.store.execute(action + where, *([data["id"]] if where else [])).rowcount}


@command("POST", "/koji/users")
async def users(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """``{"name", "admin"}`` to ``{"id", "name", "password"}``; the old password is worth nothing any more."""
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
    """``{"task"}``: its builder gives it back, OPEN to FREE; the time of its start stays."""
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
    """``{"task", "output"}``: the hub loses a task, or with ``output`` only its files."""
    shutil.rmtree(output_folder(ground, data["task"]), ignore_errors=True)
    if data.get("output"):
        return {"removed": 0}
    with ground.store.transaction():
        ground.store.execute("DELETE FROM koji_task WHERE parent = ?", data["task"])
        return {"removed": ground.store.execute("DELETE FROM koji_task WHERE id = ?", data["task"]).rowcount}


@command("POST", "/koji/resubmit")
async def resubmit(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """``{"task"}``: an administrator submits the same request once more, in the same owner's name."""
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
    """``{"name", "build_tag", "dest_tag", "arches", "locked"}``, or ``{"only": [names]}`` to remove the others."""
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
    """``{"name", "unlisted"}``: whether a package is missing in every tag's list."""
    with ground.store.transaction():
        package(ground.store, data["name"])
        unlisted = int(data.get("unlisted", True))
        ground.store.execute("UPDATE koji_package SET unlisted = ? WHERE name = ?", unlisted, data["name"])
    return data


@command("POST", "/koji/sources")
async def sources(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """``{"url", "nvr"}``: the name-version-release of a commit, which has no content here."""
    name, version, release = _split(data["nvr"])
    with ground.store.transaction():
        ground.store.execute(
            "INSERT OR REPLACE INTO koji_source VALUES (?, ?, ?, ?)", data["url"], name, version, release
        )
    return data


@command("POST", "/koji/builds")
async def builds(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """``{"nvr", "state", "task", "source", "tags"}``: a build that somebody else has made before."""
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
            koji_builds.put_tag(ground.store, number or 0, tag, 1)
    return {"id": number or 0}


@command("POST", "/koji/tags")
async def tags(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """``{"nvr", "add", "remove"}``: move a build on, as Bodhi does with an update."""
    row = koji_builds.find_build(ground.store, data["nvr"])
    if row is None:
        raise BadCommand(f"no build {data['nvr']}")
    with ground.store.transaction():
        if "add" in data:
            koji_builds.put_tag(ground.store, row["id"], data["add"], 1)
        if "remove" in data:
            koji_side_tags.untag(ground.store, row["id"], data["remove"])
    return data


@command("GET", "/koji/side-tags")
async def side_tags(ground: Ground, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """Every side tag that was ever made: name, owner, whether it is removed, and the builds that it holds."""
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
    """``{"denied"}``: why the hub's policy denies new ones, empty for none; ``{"remove": name}``: somebody removes one;
    ``{"hold_repos"}``: no repository that is begun from now on gets ready."""
    with ground.store.transaction():
        if "denied" in data:
            ground.store.set_setting("koji_side_tags_denied", data["denied"])
        if "hold_repos" in data:
            ground.store.set_setting("koji_repos_held", "held" if data["hold_repos"] else "")
            ground.store.execute(
                "UPDATE koji_repo SET ready_at = ? WHERE ready_at > ?", time.time(), time.time()
            )
        if "remove" in data:
            row = koji_builds.tag_row(ground.store, data["remove"])
            if row is None:
                raise BadCommand(f"no side tag {data['remove']}")
            koji_side_tags.remove(ground.store, row["id"])
    return data


def _split(nvr: str) -> tuple[str, str, str]:
    try:
        return koji_builds.split_nvr(nvr)
    except HubFault as error:
        raise BadCommand(error.text) from None
