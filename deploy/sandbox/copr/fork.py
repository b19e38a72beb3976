"""Forking a project: its settings, packages, and the newest good build of each package."""

from __future__ import annotations

import shutil
from typing import Any

from sandbox.copr.api import Call, Refused, endpoint, project_row
from sandbox.copr.projects import check_namespace
from sandbox.copr.shapes import build_shape, chroots_of, project_shape, results_path
from sandbox.store import Row


@endpoint("POST", "/project/fork/{owner}/{name}", body=True)
def fork(call: Call) -> dict[str, Any]:
    """A copy with the newest succeeded build of each package, whose state then is ``forked``."""
    store = call.store
    source = project_row(call, call.path["owner"], call.path["name"])
    owner, name = call.data.get("ownername", call.account), call.data.get("name", source["name"])
    check_namespace(call, owner)
    if store.one("SELECT 1 FROM project WHERE owner = ? AND name = ?", owner, name):
        raise Refused(400, f"name: You already have a project named '{name}'.")
    target = store.execute(
        "INSERT INTO project (owner, name, fields) VALUES (?, ?, ?)", owner, name, source["fields"]
    ).lastrowid
    store.execute(
        "INSERT INTO project_chroot SELECT ?, name, settings FROM project_chroot WHERE project_id = ?",
        target,
        source["id"],
    )
    store.execute(
        "INSERT INTO package (project_id, name, source_type, source_dict, auto_rebuild)"
        " SELECT ?, name, source_type, source_dict, auto_rebuild FROM package WHERE project_id = ?",
        target,
        source["id"],
    )
    copied: set[str] = set()
    rows = store.all(
        "SELECT * FROM build WHERE project_id = ? AND package IS NOT NULL ORDER BY id DESC", source["id"]
    )
    for build in rows:
        if build["package"] in copied or build_shape(call.ground, build)["state"] != "succeeded":
            continue
        copied.add(build["package"])
        _copy_build(call, source, build, project_row(call, owner, name))
    return project_shape(call.ground, project_row(call, owner, name))


def _copy_build(call: Call, source: Row, build: Row, target: Row) -> None:
    columns = "submitter, submitted_on, source_type, source_dict, source_state, source_url, package, version"
    columns += ", options"
    copy = call.store.execute(
        f"INSERT INTO build (project_id, dirname, {columns}) SELECT ?, ?, {columns} FROM build WHERE id = ?",
        target["id"],
        target["name"],
        build["id"],
    ).lastrowid
    call.store.execute(
        "INSERT INTO build_chroot"
        " SELECT ?, name, position, 'forked', started_on, ended_on, has_result, 0, packages"
        " FROM build_chroot WHERE build_id = ?",
        copy,
        build["id"],
    )
    row = call.store.one("SELECT * FROM build WHERE id = ?", copy)
    assert row is not None, "the row was inserted in this transaction"
    for chroot in chroots_of(call.store, build["id"]):
        origin = call.ground.results / results_path(source, build, chroot["name"])
        if origin.is_dir():
            goal = call.ground.results / results_path(target, row, chroot["name"])
            shutil.copytree(origin, goal, dirs_exist_ok=True)
