"""Commands below ``/_sandbox`` with which tests and demonstrations change the farm. No real server has any of this."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request

from sandbox.copr.accounts import renew_token
from sandbox.copr.driver import BuildDriver
from sandbox.copr.shapes import build_shape, chroot_shape, chroots_of, project_of
from sandbox.copr.sources import OUTCOMES
from sandbox.faults import ANSWERS, KINDS, rule_problem
from sandbox.ground import Ground
from sandbox.levers import BadCommand, command
from sandbox.mirror.releases import Releases, UnknownTag
from sandbox.mirror.server import release_shape


@contextmanager
def _known_tag() -> Iterator[None]:
    """Answer 404 for a tag that the mirror does not have."""
    try:
        yield
    except UnknownTag as error:
        raise BadCommand(str(error), 404) from error


@command("GET", "/state")
async def state(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Return pace, pause, chroots and addresses."""
    rows = ground.store.all("SELECT * FROM chroot ORDER BY position")
    return {
        "pace": ground.pace,
        "paused": ground.paused,
        "chroots": {row["name"]: bool(row["active"]) for row in rows},
        "copr_url": ground.copr_url,
        "koji_url": ground.koji_url,
        "mirror_url": ground.mirror_url,
    }


def all_builds(ground: Ground) -> list[dict[str, Any]]:
    """Return every build of every project, oldest first, with its chroots under ``build_chroots``."""
    answer = []
    for build in ground.store.all("SELECT * FROM build ORDER BY id"):
        project = project_of(ground.store, build)
        rows = chroots_of(ground.store, build["id"])
        shape = build_shape(ground, build, project)
        shape["build_chroots"] = [chroot_shape(ground, project, build, row) for row in rows]
        answer.append(shape)
    return answer


@command("GET", "/builds")
async def builds(ground: Ground, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """Return what ``all_builds`` returns."""
    return all_builds(ground)


@command("GET", "/requests")
async def requests(ground: Ground, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """Return the newest requests outside of ``/_sandbox``, oldest first: at, method, path, query."""
    return list(request.app.state.faults.seen)


@command("POST", "/pace")
async def pace(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, float]:
    """Set the pace: ``{"seconds"}`` per step, also for builds under way."""
    with ground.store.transaction():
        ground.set_pace(float(data["seconds"]))
    return {"seconds": ground.pace}


@command("POST", "/pause")
async def pause(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, bool]:
    """Stop or resume the clock: while ``{"paused"}`` is true, builds move by hand only. Kept over restarts."""
    with ground.store.transaction():
        ground.store.set_setting("paused", bool(data["paused"]))
    ground.paused = bool(data["paused"])
    return {"paused": ground.paused}


@command("POST", "/step")
async def step(ground: Ground, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """Move one build or all of them by hand, ``{"build", "count"}``; answers like ``/builds``."""
    driver: BuildDriver = request.app.state.build_driver
    for _ in range(int(data.get("count", 1))):
        rows = ground.store.all("SELECT id FROM build WHERE due_at IS NOT NULL ORDER BY id")
        for row in rows:
            if data.get("build") in {None, row["id"]}:
                await driver.step(row["id"])
    return all_builds(ground)


@command("POST", "/outcomes")
async def outcome(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Script how matching builds end: ``{"outcome", "package", "chroot", "log"}``; the newest rule wins."""
    if data["outcome"] not in OUTCOMES:
        raise BadCommand(f"unknown outcome; there are: {', '.join(OUTCOMES)}")
    with ground.store.transaction():
        row = ground.store.execute(
            "INSERT INTO outcome (package, chroot, outcome, log) VALUES (?, ?, ?, ?)",
            data.get("package", "*"),
            data.get("chroot", "*"),
            data["outcome"],
            data.get("log", ""),
        )
    return {"id": row.lastrowid or 0}


@command("DELETE", "/outcomes")
async def clear_outcomes(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Remove every scripted outcome: every build succeeds again."""
    with ground.store.transaction():
        return {"removed": ground.store.execute("DELETE FROM outcome").rowcount}


@command("POST", "/chroots")
async def chroots(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, bool]:
    """Activate or add chroots: ``{"only": [names]}`` or ``{"name", "active", "cancel"}``.

    ``cancel`` ends the chroot's pending parts of builds as canceled, as at a chroot's end of life.
    """
    changes = {data["name"]: bool(data["active"])} if "name" in data else dict.fromkeys(data["only"], True)
    store = ground.store
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
async def fault_kinds(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Return ``{"kinds": {name: meaning}, "answers": [names], "rules": [...]}``."""
    rules = [dict(row) for row in ground.store.all("SELECT * FROM fault ORDER BY id")]
    return {"kinds": KINDS, "answers": sorted(ANSWERS), "rules": rules}


@command("POST", "/faults")
async def fault(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Add a fault: ``{"kind", "method", "path", "times", "skip", ...}``; ``times`` null means until it is cleared."""
    known = {"kind", "method", "path", "times", "skip"}
    options = {key: value for key, value in data.items() if key not in known}
    problem = rule_problem(data["kind"], options)
    if problem:
        raise BadCommand(problem)
    with ground.store.transaction():
        row = ground.store.execute(
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
async def clear_faults(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Remove one fault (``{"id"}``) or all."""
    with ground.store.transaction():
        if "id" in data:
            return {"removed": ground.store.execute("DELETE FROM fault WHERE id = ?", data["id"]).rowcount}
        return {"removed": ground.store.execute("DELETE FROM fault").rowcount}


@command("POST", "/accounts")
async def account(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, str]:
    """Make or renew an account: ``{"name", "groups"}`` to ``{"login", "token", "expiration"}``; the old token dies."""
    with ground.store.transaction():
        for team in data.get("groups", []):
            ground.store.execute(
                "INSERT INTO membership VALUES (?, ?) ON CONFLICT DO NOTHING", team, data["name"]
            )
        return renew_token(ground.store, data["name"])


@command("POST", "/releases")
async def publish(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Publish ``{"tag", "published_at", "commit", "draft", "prerelease", "facts"}``; return GitHub's shape."""
    changes = {key: value for key, value in data.items() if key != "tag"}
    unknown = set(changes) - {"published_at", "commit", "draft", "prerelease", "facts"}
    if unknown:
        raise BadCommand(f"unknown fields: {', '.join(sorted(unknown))}")
    with _known_tag(), ground.store.transaction():
        return release_shape(ground, Releases(ground.store).publish(data["tag"], **changes))


@command("DELETE", "/releases")
async def withdraw(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, str]:
    """Withdraw a release: ``{"tag", "keep_tag"}``; the tag goes too unless it is to be kept."""
    with _known_tag(), ground.store.transaction():
        if data.get("keep_tag"):
            Releases(ground.store).unpublish(data["tag"])
        else:
            Releases(ground.store).delete(data["tag"])
    return {"tag": data["tag"]}


@command("POST", "/releases/move")
async def move(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, str]:
    """Move a tag: ``{"tag", "commit"}``; the archive of the other commit has other content."""
    with _known_tag(), ground.store.transaction():
        row = Releases(ground.store).move(data["tag"], data.get("commit"))
    return {"tag": row["tag"], "commit": row["commit_sha"]}
