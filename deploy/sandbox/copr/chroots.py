"""COPR's endpoints for chroots (of the server, of a project, of a build) and for the project monitor."""

from __future__ import annotations

import json
from typing import Any

from sandbox.copr.api import (
    Call,
    Refused,
    admin_project,
    answer_list,
    endpoint,
    loads,
    project_row,
)
from sandbox.copr.builds import DEFAULT_TIMEOUT, build_and_project
from sandbox.copr.shapes import CODES, chroot_shape, chroots_of, project_chroots, repos_shape, rotated
from sandbox.store import Row

LISTS = ("additional_repos", "additional_packages", "additional_modules", "with_opts", "without_opts")
MONITOR_FIELDS = ("url_build", "url_build_log", "url_backend_log")


@endpoint("GET", "/mock-chroots/list")
def mock_chroots(call: Call) -> dict[str, str]:
    """Return the active chroots and their comments."""
    rows = call.store.all("SELECT name FROM chroot WHERE active ORDER BY position")
    return {row["name"]: "" for row in rows}


def _project_chroot(call: Call, project: Row, name: str) -> dict[str, Any]:
    """Return the chroot's settings in this project. Raises Refused 404, also for a deactivated chroot."""
    if name not in project_chroots(call.store, project["id"]):
        full = f"{project['owner']}/{project['name']}"
        raise Refused(404, f"Chroot name {name} does not exist in Copr {full}.")
    row = call.store.one(
        "SELECT settings FROM project_chroot WHERE project_id = ? AND name = ?", project["id"], name
    )
    settings: dict[str, Any] = {key: [] for key in LISTS}
    return {**settings, "isolation": "unchanged", **(loads(row, "settings") if row else {})}


def _chroot_answer(project: Row, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "mock_chroot": name,
        "ownername": project["owner"],
        "projectname": project["name"],
        "comps_name": None,
        "delete_after_days": None,
        **{key: settings[key] for key in (*LISTS, "isolation")},
    }


@endpoint("GET", "/project-chroot")
def project_chroot(call: Call) -> dict[str, Any]:
    """Return one chroot's settings in a project."""
    project = project_row(call, call.argument("ownername"), call.argument("projectname"))
    name = call.argument("chrootname")
    return _chroot_answer(project, name, _project_chroot(call, project, name))


@endpoint("PUT", "/project-chroot/edit/{owner}/{name}/{chroot}", body=True)
def edit_project_chroot(call: Call) -> dict[str, Any]:
    """Change the settings that are given; ``reset_fields`` names what goes back to its default."""
    project = admin_project(call, call.path["owner"], call.path["name"])
    name = call.path["chroot"]
    settings = _project_chroot(call, project, name)
    settings.update({key: call.data[key] for key in (*LISTS, "isolation", "bootstrap") if key in call.data})
    for key in call.data.get("reset_fields") or []:
        if key not in (*LISTS, "isolation", "bootstrap"):
            raise Refused(400, f"Trying to reset an invalid attribute: {key}")
        settings.pop(key, None)
    call.store.execute(
        "UPDATE project_chroot SET settings = ? WHERE project_id = ? AND name = ?",
        json.dumps(settings),
        project["id"],
        name,
    )
    return _chroot_answer(project, name, _project_chroot(call, project, name))


@endpoint("GET", "/project-chroot/build-config")
def project_chroot_config(call: Call) -> dict[str, Any]:
    """Return what a build in this chroot of the project would use."""
    project = project_row(call, call.argument("ownername"), call.argument("projectname"))
    name = call.argument("chrootname")
    settings, fields = _project_chroot(call, project, name), loads(project, "fields")
    extra = fields["additional_repos"] + settings["additional_repos"]
    return {
        **{key: settings[key] for key in (*LISTS, "isolation")},
        "additional_repos": extra,
        "chroot": name,
        "enable_net": fields["enable_net"],
        "repos": repos_shape(call.ground, project, project["name"], name, extra),
    }


def _build_chroot(call: Call) -> tuple[Row, Row, Row]:
    build, project = build_and_project(call, call.argument("build_id"))
    name = call.argument("chrootname")
    for row in chroots_of(call.store, build["id"]):
        if row["name"] == name:
            return build, project, row
    raise Refused(404, f"Build {build['id']} doesn't contain chroot {name}.")


@endpoint("GET", "/build-chroot")
def build_chroot(call: Call) -> dict[str, Any]:
    """Return one chroot of a build."""
    build, project, row = _build_chroot(call)
    return chroot_shape(call.ground, project, build, row)


@endpoint("GET", "/build-chroot/list")
def build_chroots(call: Call) -> dict[str, Any]:
    """Return all chroots of a build, in an order that changes between calls."""
    build, project = build_and_project(call, call.argument("build_id"))
    rows = {row["name"]: row for row in chroots_of(call.store, build["id"])}
    items = [chroot_shape(call.ground, project, build, rows[name]) for name in rotated(list(rows))]
    return answer_list(items, call.page())


@endpoint("GET", "/build-chroot/build-config")
def build_chroot_config(call: Call) -> dict[str, Any]:
    """Return what this build uses in this chroot; what is not set is left out."""
    build, project, row = _build_chroot(call)
    options, fields = loads(build, "options"), loads(project, "fields")
    kept = call.store.one(
        "SELECT settings FROM project_chroot WHERE project_id = ? AND name = ?", project["id"], row["name"]
    )
    settings = loads(kept, "settings") if kept else {}
    extra = fields["additional_repos"] + settings.get("additional_repos", [])
    answer = {
        "additional_repos": extra,
        "additional_packages": settings.get("additional_packages", []),
        "with_opts": settings.get("with_opts", []),
        "without_opts": settings.get("without_opts", []),
        "enable_net": options.get("enable_net", fields["enable_net"]),
        "is_background": bool(options.get("background", False)),
        "memory_limit": 2048,
        "timeout": options.get("timeout", DEFAULT_TIMEOUT),
        "bootstrap": options.get("bootstrap"),
        "repos": repos_shape(call.ground, project, build["dirname"], row["name"], extra),
    }
    return {key: value for key, value in answer.items() if value is not None}


@endpoint("GET", "/build-chroot/built-packages")
def build_chroot_packages(call: Call) -> dict[str, Any]:
    """Return what one chroot built: ``{"packages": [{name, epoch, version, release, arch}]}``."""
    _, _, row = _build_chroot(call)
    return {"packages": loads(row, "packages")}


@endpoint("GET", "/monitor")
def monitor(call: Call) -> dict[str, Any]:
    """Return the newest build of each package and chroot of one directory."""
    project = project_row(call, call.argument("ownername"), call.argument("projectname"))
    fields = call.args.getlist("additional_fields[]")
    for field in fields:
        if field not in MONITOR_FIELDS:
            raise Refused(400, f"Wrong additional_fields argument: {field}")
    dirname = call.args.get("project_dirname", project["name"])
    rows = call.store.all(
        "SELECT * FROM build WHERE project_id = ? AND dirname = ? ORDER BY id DESC", project["id"], dirname
    )
    if not rows and dirname != project["name"]:
        raise Refused(404, f"No directory '{dirname}' in project '{project['owner']}/{project['name']}'")
    packages: dict[str, dict[str, Any]] = {}
    for build in rows:
        if build["package"] is None:
            continue
        chroots = packages.setdefault(build["package"], {})
        for row in chroots_of(call.store, build["id"]):
            if row["name"] not in chroots:
                chroots[row["name"]] = _monitor_cell(call, project, build, row, fields)
    items = [{"name": name, "chroots": packages[name]} for name in sorted(packages)]
    return {"output": "ok", "message": "Project monitor request successful", "packages": items}


def _monitor_cell(call: Call, project: Row, build: Row, row: Row, fields: list[str]) -> dict[str, Any]:
    url = chroot_shape(call.ground, project, build, row)["result_url"]
    cell: dict[str, Any] = {
        "state": row["state"],
        "status": CODES[row["state"]],
        "build_id": build["id"],
        "pkg_version": build["version"],
    }
    if "url_build_log" in fields:
        cell["url_build_log"] = url and url + "builder-live.log.gz"
    if "url_backend_log" in fields:
        cell["url_backend_log"] = url and url + "backend.log.gz"
    return cell
