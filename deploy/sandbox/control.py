"""``/_sandbox``: what tests and demonstrations may tell the farm. No real server has any of this."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.copr.accounts import renew_token
from sandbox.copr.shapes import build_shape, chroot_shape, chroots_of
from sandbox.copr.sources import OUTCOMES
from sandbox.fault_answers import ANSWERS
from sandbox.faults import KINDS, rule_problem
from sandbox.mirror.releases import UnknownTag
from sandbox.mirror.server import release_shape

if TYPE_CHECKING:
    from sandbox.farm import Sandbox

Command = Callable[["Sandbox", dict[str, Any], Request], Awaitable[Any]]
ROUTES: list[Route] = []


class BadCommand(ValueError):
    """A command that the sandbox does not understand; becomes a 400."""


def command(method: str, path: str) -> Callable[[Command], Command]:
    """Register a command, whose result is the JSON answer; BadCommand becomes a 400, UnknownTag a 404."""

    def register(run: Command) -> Command:
        async def answer(request: Request) -> Response:
            data: dict[str, Any] = {}
            if method != "GET":
                # A page in somebody's browser cannot send this type to us without being asked first.
                if request.headers.get("content-type") != "application/json":
                    return JSONResponse({"error": "send application/json"}, 415)
                data = await request.json()
            try:
                result = await run(request.app.state.sandbox, data, request)
            except BadCommand as error:
                return JSONResponse({"error": str(error)}, 400)
            except KeyError as error:
                return JSONResponse({"error": f"{error} is missing"}, 400)
            except UnknownTag as error:
                return JSONResponse({"error": str(error)}, 404)
            request.app.state.sandbox.wake()
            return JSONResponse(result)

        ROUTES.append(Route("/_sandbox" + path, answer, methods=[method]))
        return run

    return register


@command("GET", "/state")
async def state(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Pace, pause, chroots and addresses."""
    rows = sandbox.store.all("SELECT * FROM chroot ORDER BY position")
    return {
        "pace": sandbox.pace,
        "paused": sandbox.paused,
        "chroots": {row["name"]: bool(row["active"]) for row in rows},
        "copr_url": sandbox.copr_url,
        "koji_url": sandbox.koji_url,
        "mirror_url": sandbox.mirror_url,
    }


def all_builds(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Every build of every project, oldest first, with its chroots under ``build_chroots``."""
    answer = []
    for build in sandbox.store.all("SELECT * FROM build ORDER BY id"):
        project = sandbox.store.one("SELECT * FROM project WHERE id = ?", build["project_id"])
        assert project is not None, "a build without its project cannot be stored"
        rows = chroots_of(sandbox.store, build["id"])
        shape = build_shape(sandbox, build, project)
        shape["build_chroots"] = [chroot_shape(sandbox, project, build, row) for row in rows]
        answer.append(shape)
    return answer


@command("GET", "/builds")
async def builds(sandbox: Sandbox, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """What ``all_builds`` says."""
    return all_builds(sandbox)


@command("GET", "/requests")
async def requests(sandbox: Sandbox, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """The newest requests outside of ``/_sandbox``, oldest first: at, method, path, query."""
    return list(request.app.state.faults.seen)


@command("POST", "/pace")
async def pace(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, float]:
    """``{"seconds"}`` per step, also for builds under way."""
    with sandbox.store.transaction():
        sandbox.set_pace(float(data["seconds"]))
    return {"seconds": sandbox.pace}


@command("POST", "/pause")
async def pause(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, bool]:
    """``{"paused"}``: while true, builds move by hand only. Kept over restarts."""
    with sandbox.store.transaction():
        sandbox.store.set_setting("paused", bool(data["paused"]))
    sandbox.paused = bool(data["paused"])
    return {"paused": sandbox.paused}


@command("POST", "/step")
async def step(sandbox: Sandbox, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """``{"build", "count"}``: that many steps of one build, or of all; answers like ``/builds``."""
    for _ in range(int(data.get("count", 1))):
        rows = sandbox.store.all("SELECT id FROM build WHERE due_at IS NOT NULL ORDER BY id")
        for row in rows:
            if data.get("build") in {None, row["id"]}:
                await sandbox.life.step(row["id"])
    return all_builds(sandbox)


@command("POST", "/outcomes")
async def outcome(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, int]:
    """``{"outcome", "package", "chroot", "log"}``: the end of builds that match; the newest rule wins."""
    if data["outcome"] not in OUTCOMES:
        raise BadCommand(f"unknown outcome; there are: {', '.join(OUTCOMES)}")
    with sandbox.store.transaction():
        row = sandbox.store.execute(
            "INSERT INTO outcome (package, chroot, outcome, log) VALUES (?, ?, ?, ?)",
            data.get("package", "*"),
            data.get("chroot", "*"),
            data["outcome"],
            data.get("log", ""),
        )
    return {"id": row.lastrowid or 0}


@command("DELETE", "/outcomes")
async def clear_outcomes(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Every build succeeds again."""
    with sandbox.store.transaction():
        return {"removed": sandbox.store.execute("DELETE FROM outcome").rowcount}


@command("POST", "/chroots")
async def chroots(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, bool]:
    """``{"only": [names]}`` or ``{"name", "active", "cancel"}``; unknown names are added.

    ``cancel`` ends the chroot's pending parts of builds as canceled, as at a chroot's end of life.
    """
    changes = {data["name"]: bool(data["active"])} if "name" in data else dict.fromkeys(data["only"], True)
    store = sandbox.store
    with store.transaction():
        if "only" in data:
            store.execute("UPDATE chroot SET active = 0")
        for name, active in changes.items():
            store.execute(
                "INSERT INTO chroot SELECT ?, ?, count(*) FROM chroot WHERE true"
                " ON CONFLICT (name) DO UPDATE SET active = excluded.active",
                name,
                active,
            )
        if data.get("cancel"):
            store.execute(
                "UPDATE build_chroot SET state = 'canceled'"
                " WHERE name = ? AND state IN ('waiting', 'pending')",
                data["name"],
            )
    return changes


@command("GET", "/faults")
async def fault_kinds(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """``{"kinds": {name: meaning}, "answers": [names], "rules": [...]}``."""
    rules = [dict(row) for row in sandbox.store.all("SELECT * FROM fault ORDER BY id")]
    return {"kinds": KINDS, "answers": sorted(ANSWERS), "rules": rules}


@command("POST", "/faults")
async def fault(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, int]:
    """``{"kind", "method", "path", "times", "skip", ...}``; ``times`` null means until it is cleared."""
    known = {"kind", "method", "path", "times", "skip"}
    options = {key: value for key, value in data.items() if key not in known}
    problem = rule_problem(data["kind"], options)
    if problem:
        raise BadCommand(problem)
    with sandbox.store.transaction():
        row = sandbox.store.execute(
            "INSERT INTO fault (method, path, kind, times, skip, options) VALUES (?, ?, ?, ?, ?, ?)",
            data.get("method", "*"),
            data.get("path", "*"),
            data["kind"],
            data.get("times"),
            int(data.get("skip", 0)),
            json.dumps(options),
        )
    return {"id": row.lastrowid or 0}


@command("DELETE", "/faults")
async def clear_faults(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Remove one rule (``{"id"}``) or all."""
    with sandbox.store.transaction():
        if "id" in data:
            return {"removed": sandbox.store.execute("DELETE FROM fault WHERE id = ?", data["id"]).rowcount}
        return {"removed": sandbox.store.execute("DELETE FROM fault").rowcount}


@command("POST", "/accounts")
async def account(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, str]:
    """``{"name", "groups"}`` to a fresh ``{"login", "token", "expiration"}``; the old token dies."""
    with sandbox.store.transaction():
        for team in data.get("groups", []):
            sandbox.store.execute(
                "INSERT INTO membership VALUES (?, ?) ON CONFLICT DO NOTHING", team, data["name"]
            )
        return renew_token(sandbox.store, data["name"])


@command("POST", "/releases")
async def publish(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """``{"tag", "published_at", "commit", "draft", "prerelease", "facts"}`` to GitHub's release shape."""
    changes = {key: value for key, value in data.items() if key != "tag"}
    unknown = set(changes) - {"published_at", "commit", "draft", "prerelease", "facts"}
    if unknown:
        raise BadCommand(f"unknown fields: {', '.join(sorted(unknown))}")
    with sandbox.store.transaction():
        return release_shape(sandbox, sandbox.releases.publish(data["tag"], **changes))


@command("DELETE", "/releases")
async def withdraw(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, str]:
    """``{"tag", "keep_tag"}``: hide the release; the tag goes too unless it is to be kept."""
    with sandbox.store.transaction():
        if data.get("keep_tag"):
            sandbox.releases.unpublish(data["tag"])
        else:
            sandbox.releases.delete(data["tag"])
    return {"tag": data["tag"]}


@command("POST", "/releases/move")
async def move(sandbox: Sandbox, data: dict[str, Any], request: Request) -> dict[str, str]:
    """``{"tag", "commit"}``: let the tag point to another commit, whose archive has other content."""
    with sandbox.store.transaction():
        row = sandbox.releases.move(data["tag"], data.get("commit"))
    return {"tag": row["tag"], "commit": row["commit_sha"]}
