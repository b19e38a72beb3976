"""Builds after their creation: get, list, sources, results, cancel, delete."""

from __future__ import annotations

import json
import shutil
from typing import Any

from sandbox.copr.api import (
    BUG,
    Call,
    Refused,
    answer_list,
    endpoint,
    has_permission,
    loads,
    paged,
    project_row,
)
from sandbox.copr.create import DEFAULT_TIMEOUT
from sandbox.copr.shapes import absolute, build_shape, chroots_of, results_path, source_path
from sandbox.store import Row

LIVE = ("pending", "starting", "running", "importing")


def build_and_project(call: Call, build_id: Any) -> tuple[Row, Row]:
    """The build's row and its project's. Raises Refused 404."""
    build = call.store.one("SELECT * FROM build WHERE id = ?", build_id)
    if build is None:
        raise Refused(404, f"Build {build_id} does not exist.")
    project = call.store.one("SELECT * FROM project WHERE id = ?", build["project_id"])
    assert project is not None, "a build without its project cannot be stored"
    return build, project


@endpoint("GET", "/build/{build_id:int}")
def get(call: Call) -> dict[str, Any]:
    """One build."""
    return build_shape(call.ground, *build_and_project(call, call.path["build_id"]))


@endpoint("GET", "/build/list")
def get_list(call: Call) -> dict[str, Any]:
    """A project's builds, newest first whatever order is asked for."""
    project = project_row(call, call.argument("ownername"), call.argument("projectname"))
    page = call.page()
    sql, values = "SELECT * FROM build WHERE project_id = ?", [project["id"]]
    for argument, column in (("packagename", "package"), ("dirname", "dirname")):
        if call.args.get(argument):
            sql += f" AND {column} = ?"
            values.append(call.args[argument])
    sql += " ORDER BY id DESC"
    status = call.args.get("status")
    if status:
        # The real server computes the state of every build before it filters, and so must this one.
        shapes = [build_shape(call.ground, row, project) for row in call.store.all(sql, *values)]
        return answer_list(paged([shape for shape in shapes if shape["state"] == status], page), page)
    limit = -1 if page["limit"] is None else page["limit"]
    rows = call.store.all(sql + " LIMIT ? OFFSET ?", *values, limit, page["offset"])
    return answer_list([build_shape(call.ground, row, project) for row in rows], page)


@endpoint("GET", "/build/source-chroot/{build_id:int}")
def source_chroot(call: Call) -> dict[str, Any]:
    """``{"state", "result_url"}``; 500 until the source step runs, as the real server does."""
    build, project = build_and_project(call, call.path["build_id"])
    if build["source_state"] in {"pending", "starting"}:
        raise Refused(500, BUG)
    url = f"{call.ground.copr_url}/results/{source_path(project, build)}"
    return {"state": build["source_state"], "result_url": url}


@endpoint("GET", "/build/source-build-config/{build_id:int}")
def source_build_config(call: Call) -> dict[str, Any]:
    """What was submitted, kept for ever: an upload's cleaned file name is ``source_dict.pkg``."""
    build, _ = build_and_project(call, call.path["build_id"])
    source, options = loads(build, "source_dict"), loads(build, "options")
    if "url" in source:
        source["url"] = absolute(call.ground, source["url"])
    return {
        "source_type": build["source_type"],
        "source_dict": source,
        "memory_limit": 2048,
        "timeout": options.get("timeout", DEFAULT_TIMEOUT),
        "is_background": bool(options.get("background", False)),
    }


@endpoint("GET", "/build/built-packages/{build_id:int}")
def built_packages(call: Call) -> dict[str, Any]:
    """``{chroot: {"packages": [...]}}``; the lists are empty until their chroot succeeds."""
    build, _ = build_and_project(call, call.path["build_id"])
    return {row["name"]: {"packages": loads(row, "packages")} for row in chroots_of(call.store, build["id"])}


@endpoint("PUT", "/build/cancel/{build_id:int}")
def cancel(call: Call) -> dict[str, Any]:
    """Canceled at once for whoever reads the build; its chroots follow when the backend confirms."""
    build, project = build_and_project(call, call.path["build_id"])
    if not has_permission(call.store, call.account, project, "builder"):
        raise Refused(403, "You are not allowed to cancel this build.")
    if build_shape(call.ground, build, project)["state"] not in LIVE:
        raise Refused(409, f"Cannot cancel build {build['id']}")
    call.store.execute(
        "UPDATE build SET canceled = 1, due_at = ? WHERE id = ?", call.ground.next_step(), build["id"]
    )
    build, project = build_and_project(call, build["id"])
    return build_shape(call.ground, build, project)


@endpoint("DELETE", "/build/delete/{build_id:int}")
def delete(call: Call) -> dict[str, Any]:
    """The build as it was, gone with its results. Raises Refused 500 for an unfinished one."""
    build, project = build_and_project(call, call.path["build_id"])
    shape = build_shape(call.ground, build, project)
    if shape["state"] in LIVE or not has_permission(call.store, call.account, project, "admin"):
        status = 500 if shape["state"] in LIVE else 403
        raise Refused(status, f"User '{call.account}' can not delete build {build['id']}")
    remove(call, build, project)
    return shape


@endpoint("DELETE", "/build/delete/list", body=True)
def delete_list(call: Call) -> dict[str, Any]:
    """All of the named builds, or none of them."""
    missing: list[int] = []
    running: list[int] = []
    found: list[int] = []
    for build_id in call.data.get("builds", []):
        row = call.store.one("SELECT * FROM build WHERE id = ?", build_id)
        if row is None:
            missing.append(build_id)
            continue
        build, project = build_and_project(call, build_id)
        if not has_permission(call.store, call.account, project, "admin"):
            raise Refused(403, f"User '{call.account}' can not delete build {build_id}")
        (running if build_shape(call.ground, build, project)["state"] in LIVE else found).append(build_id)
    text = f"Build(s) {', '.join(map(str, missing))} don't exist.\n" if missing else ""
    text += f"Build(s) {', '.join(map(str, running))} are still running.\n" if running else ""
    if text:
        raise Refused(400, text)
    for build_id in found:
        remove(call, *build_and_project(call, build_id))
    return {"builds": found}


def remove(call: Call, build: Row, project: Row) -> None:
    """Take the build, its chroots and its results away; the caller has checked that this is allowed."""
    folders = [source_path(project, build)]
    folders += [results_path(project, build, row["name"]) for row in chroots_of(call.store, build["id"])]
    for folder in folders:
        shutil.rmtree(call.ground.results / folder, ignore_errors=True)
    temporary = json.loads(build["source_dict"]).get("tmp")
    if temporary:
        shutil.rmtree(call.ground.uploads / temporary, ignore_errors=True)
    call.store.execute("DELETE FROM build WHERE id = ?", build["id"])
