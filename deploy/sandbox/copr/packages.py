"""COPR's endpoints for the packages of a project: their default sources, and builds from them."""

from __future__ import annotations

import json
from typing import Any

from sandbox.copr.api import Call, Refused, answer_list, endpoint, has_permission, loads, paged, project_row
from sandbox.copr.builds import build_and_project, create, remove, scm_source
from sandbox.copr.shapes import LIVE, build_shape, package_shape
from sandbox.store import Row

SOURCE_KEYS = {
    "custom": ("script", "chroot", "builddeps", "resultdir", "repos"),
    "distgit": ("distgit", "namespace", "package_name", "committish"),
    "pypi": (
        "pypi_package_name",
        "pypi_package_version",
        "spec_generator",
        "spec_template",
        "python_versions",
    ),
    "rubygems": ("gem_name",),
}


def _project(call: Call, owner: str, name: str, role: str = "builder") -> Row:
    project = project_row(call, owner, name)
    if call.user is not None and not has_permission(call.store, call.user, project, role):
        raise Refused(403, "You are not allowed to change packages of this project.")
    return project


def _package(call: Call, project: Row, name: str) -> Row:
    row = call.store.one("SELECT * FROM package WHERE project_id = ? AND name = ?", project["id"], name)
    if row is None:
        full = f"{project['owner']}/{project['name']}"
        raise Refused(404, f"No package with name {name} in copr {full}")
    return row


def _source(source_type: str, data: dict[str, Any]) -> dict[str, Any]:
    if source_type == "scm":
        return scm_source(data, "source_build_method")
    if source_type not in SOURCE_KEYS:
        raise Refused(400, f"Unsupported package source type {source_type}")
    return {key: data.get(key) for key in SOURCE_KEYS[source_type]}


@endpoint("POST", "/package/add/{owner}/{project}/{name}/{source_type}", body=True)
def add(call: Call) -> dict[str, Any]:
    """Add a package. Raises Refused 409 for a name that is there."""
    project = _project(call, call.path["owner"], call.path["project"])
    name = call.path["name"]
    if call.store.one("SELECT 1 FROM package WHERE project_id = ? AND name = ?", project["id"], name):
        full = f"{project['owner']}/{project['name']}"
        raise Refused(409, f"Package {name} already exists in copr {full}.")
    call.store.execute(
        "INSERT INTO package (project_id, name, source_type, source_dict, auto_rebuild)"
        " VALUES (?, ?, ?, ?, ?)",
        project["id"],
        name,
        call.path["source_type"],
        json.dumps(_source(call.path["source_type"], call.data)),
        bool(call.data.get("webhook_rebuild", False)),
    )
    return package_shape(call.ground, _package(call, project, name))


@endpoint("POST", "/package/edit/{owner}/{project}/{name}/{source_type}", body=True)
def edit(call: Call) -> dict[str, Any]:
    """Change the fields that are given; the others keep their values."""
    project = _project(call, call.path["owner"], call.path["project"])
    package = _package(call, project, call.path["name"])
    source_type = call.path["source_type"]
    given = {key: value for key, value in _source(source_type, call.data).items() if value is not None}
    if source_type == package["source_type"]:
        defaults = {"type": "scm_type", "source_build_method": "source_build_method"}
        # A default that nobody sent must not overwrite what an earlier call set.
        given = {key: value for key, value in given.items() if defaults.get(key, key) in call.data}
        source = {**loads(package, "source_dict"), **given}
    else:
        source = _source(source_type, call.data)
    call.store.execute(
        "UPDATE package SET source_type = ?, source_dict = ?, auto_rebuild = ? WHERE id = ?",
        source_type,
        json.dumps(source),
        bool(call.data.get("webhook_rebuild", package["auto_rebuild"])),
        package["id"],
    )
    return package_shape(call.ground, _package(call, project, package["name"]))


def _asked(call: Call) -> tuple[Row, Row]:
    for key in ("ownername", "projectname", "package_name"):
        if key not in call.data:
            raise Refused(400, f"Missing argument {key}")
    project = _project(call, call.data["ownername"], call.data["projectname"])
    return project, _package(call, project, call.data["package_name"])


@endpoint("PUT", "/package/reset", body=True)
def reset(call: Call) -> dict[str, Any]:
    """Remove a package's default source."""
    project, package = _asked(call)
    call.store.execute(
        "UPDATE package SET source_type = 'unset', source_dict = '{}' WHERE id = ?", package["id"]
    )
    return package_shape(call.ground, _package(call, project, package["name"]))


@endpoint("POST", "/package/build", body=True)
def build(call: Call) -> dict[str, Any]:
    """Make a build from the package's default source; it has the package's name from the start."""
    project, package = _asked(call)
    if package["source_type"] == "unset":
        raise Refused(
            400,
            f"Package 'Unset default source for package {package['name']}' doesn't have the default"
            " source method set, but it is required for the rebuild request."
            "  Please configure some source  method first",
        )
    return create(
        call, project, package["source_type"], loads(package, "source_dict"), package=package["name"]
    )


@endpoint("DELETE", "/package/delete", body=True)
def delete(call: Call) -> dict[str, Any]:
    """Delete the package with all of its builds; refused while one is live."""
    project, package = _asked(call)
    rows = call.store.all(
        "SELECT * FROM build WHERE project_id = ? AND package = ?", project["id"], package["name"]
    )
    live = [row["id"] for row in rows if build_shape(call.ground, row, project)["state"] in LIVE]
    if live:
        raise Refused(400, f"Build(s) {', '.join(map(str, live))} are still running.\n")
    for row in rows:
        remove(call, *build_and_project(call, row["id"]))
    shape = package_shape(call.ground, package)
    call.store.execute("DELETE FROM package WHERE id = ?", package["id"])
    return shape


def _flags(call: Call) -> dict[str, bool]:
    return {
        "latest": call.args.get("with_latest_build") == "True",
        "latest_succeeded": call.args.get("with_latest_succeeded_build") == "True",
    }


@endpoint("GET", "/package")
def get(call: Call) -> dict[str, Any]:
    """Return one package."""
    project = _project(call, call.argument("ownername"), call.argument("projectname"))
    return package_shape(call.ground, _package(call, project, call.argument("packagename")), **_flags(call))


@endpoint("GET", "/package/list")
def get_list(call: Call) -> dict[str, Any]:
    """Return a project's packages, oldest first."""
    project = _project(call, call.argument("ownername"), call.argument("projectname"))
    page, flags = call.page(), _flags(call)
    rows = call.store.all("SELECT * FROM package WHERE project_id = ? ORDER BY id", project["id"])
    return answer_list([package_shape(call.ground, row, **flags) for row in paged(rows, page)], page)
