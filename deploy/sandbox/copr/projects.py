"""COPR's endpoints for projects: add, edit, get, list, search, fork and delete them, and keep their webhook secrets."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from typing import Any

from sandbox.copr.api import (
    Call,
    Refused,
    admin_project,
    answer_list,
    endpoint,
    is_owner,
    paged,
    project_row,
)
from sandbox.copr.shapes import (
    CHROOT_ENDS,
    FIELDS,
    LIVE,
    build_shape,
    chroots_of,
    project_chroots,
    project_shape,
    results_path,
)
from sandbox.store import Row

NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
BOOTSTRAP = ("default", "on", "off", "image", "custom_image")


def check_namespace(call: Call, owner: str) -> None:
    """Check that the caller may make projects of this owner. Raises Refused 404 or 403."""
    store = call.store
    if owner.startswith("@"):
        if store.one("SELECT 1 FROM membership WHERE team = ?", owner) is None:
            raise Refused(404, f"Group {owner[1:]} does not exist.")
        if not is_owner(store, call.account, owner):
            raise Refused(403, f"You don't have permissions to build in group {owner[1:]}")
    elif owner != call.account:
        raise Refused(
            403,
            f"You were authorized as '{call.account}' user without permissions to access projects"
            f" of user '{owner}'",
        )


def _check_chroots(call: Call, chroots: Any) -> list[str]:
    if not chroots:
        raise Refused(
            400, f"chroots: '{chroots if chroots is not None else []}' is not a valid choice for this field."
        )
    active = {row["name"] for row in call.store.all("SELECT name FROM chroot WHERE active")}
    for name in chroots:
        if name not in active:
            raise Refused(400, f"chroots: '{name}' is not a valid choice for this field.")
    return list(dict.fromkeys(chroots))


def _check_repos(call: Call, repos: list[str]) -> list[str]:
    for repo in repos:
        owner, _, name = repo.removeprefix("copr://").partition("/")
        if repo.startswith("copr://"):
            if not call.store.one("SELECT 1 FROM project WHERE owner = ? AND name = ?", owner, name):
                raise Refused(400, f"repos: {repo} does not exist.")
        elif not repo.startswith(("http://", "https://", "ftp://")):
            raise Refused(400, f"repos: A list of http[s]/ftp URLs is expected, got {repo}.")
    return repos


def _fields(call: Call, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the project's fields after this call's changes; keys that the server does not know vanish."""
    data = call.data
    changed = {key: data[key] for key in FIELDS if key in data and key not in {"additional_repos", "storage"}}
    if changed.get("bootstrap", "default") not in BOOTSTRAP:
        raise Refused(400, f"bootstrap: '{changed['bootstrap']}' is not a valid choice for this field.")
    repos = data.get("additional_repos", data.get("repos"))
    if repos is not None:
        changed["additional_repos"] = _check_repos(call, repos)
    return {**fields, **changed}


@endpoint("POST", "/project/add/{owner}", body=True)
def add(call: Call) -> dict[str, Any]:
    """Make a project, or return the one that is there, unchanged, where ``exist_ok=True``."""
    owner, name, store = call.path["owner"], call.data.get("name", ""), call.store
    check_namespace(call, owner)
    existing = store.one("SELECT * FROM project WHERE owner = ? AND name = ?", owner, name)
    if existing and call.args.get("exist_ok") == "True":
        return project_shape(call.ground, existing)
    if not NAME.fullmatch(name):
        raise Refused(400, "name: Name must contain only letters, digits, underscores, dashes and dots.")
    if existing:
        who = f"Group {owner} already has" if owner.startswith("@") else "You already have"
        raise Refused(400, f"name: {who} a project named '{name}'.")
    chroots = _check_chroots(call, call.data.get("chroots"))
    fields = _fields(call, dict(FIELDS))
    if fields["persistent"]:
        raise Refused(403, "You are not allowed to create persistent projects.")
    created = store.execute(
        "INSERT INTO project (owner, name, fields) VALUES (?, ?, ?)", owner, name, json.dumps(fields)
    )
    for chroot in chroots:
        store.execute(
            "INSERT INTO project_chroot (project_id, name) VALUES (?, ?)", created.lastrowid, chroot
        )
    return project_shape(call.ground, project_row(call, owner, name))


def edit(call: Call) -> dict[str, Any]:
    """Change the fields that are given; a list of chroots replaces the old one, an empty one is ignored."""
    project = admin_project(call, call.path["owner"], call.path["name"])
    if call.data.get("chroots"):
        _replace_chroots(call, project, _check_chroots(call, call.data["chroots"]))
    fields = _fields(call, json.loads(project["fields"]))
    call.store.execute("UPDATE project SET fields = ? WHERE id = ?", json.dumps(fields), project["id"])
    return project_shape(call.ground, project_row(call, project["owner"], project["name"]))


endpoint("PUT", "/project/edit/{owner}/{name}", body=True)(edit)
endpoint("POST", "/project/edit/{owner}/{name}", body=True)(edit)


def _replace_chroots(call: Call, project: Row, chroots: list[str]) -> None:
    store = call.store
    for dropped in set(project_chroots(store, project["id"])) - set(chroots):
        for build in unfinished(call, project):
            rows = [row for row in chroots_of(store, build) if row["name"] == dropped]
            if any(row["state"] not in CHROOT_ENDS for row in rows):
                raise Refused(
                    409, f"Can't drop chroot from project, related build {build} is still in progress"
                )
        store.execute("DELETE FROM project_chroot WHERE project_id = ? AND name = ?", project["id"], dropped)
    for chroot in chroots:
        store.execute(
            "INSERT INTO project_chroot (project_id, name) VALUES (?, ?) ON CONFLICT DO NOTHING",
            project["id"],
            chroot,
        )


def unfinished(call: Call, project: Row) -> list[int]:
    """Return the ids of the project's builds that still show a live state, lowest first."""
    rows = call.store.all("SELECT * FROM build WHERE project_id = ? ORDER BY id", project["id"])
    return [row["id"] for row in rows if build_shape(call.ground, row, project)["state"] in LIVE]


@endpoint("GET", "/project")
def get(call: Call) -> dict[str, Any]:
    """Return one project."""
    project = project_row(call, call.argument("ownername"), call.argument("projectname"))
    return project_shape(call.ground, project)


def _listed(call: Call, where: str, *values: str) -> dict[str, Any]:
    page = call.page()
    if page["order"] not in {"id", "name"}:
        raise Refused(500, f"Cannot order by {page['order']}, copr doesn't have such property")
    rows = call.store.all(f"SELECT * FROM project WHERE {where} ORDER BY {page['order']}", *values)
    if page["order_type"].upper() == "DESC":
        rows.reverse()
    return answer_list([project_shape(call.ground, row) for row in paged(rows, page)], page)


@endpoint("GET", "/project/list")
def get_list(call: Call) -> dict[str, Any]:
    """Return the projects of an owner, or all."""
    owner = call.args.get("ownername")
    return _listed(call, "owner = ?", owner) if owner else _listed(call, "1")


@endpoint("GET", "/project/search")
def search(call: Call) -> dict[str, Any]:
    """Return the projects whose owner or name contains the query."""
    pattern = f"%{call.argument('query')}%"
    return _listed(call, "owner LIKE ? OR name LIKE ?", pattern, pattern)


@endpoint("POST", "/webhook/generate/{owner}/{name}")
def webhook_secret(call: Call) -> dict[str, Any]:
    """Renew the secret of the project's own webhooks; the sandbox keeps it and listens to none."""
    project = admin_project(call, call.path["owner"], call.path["name"])
    secret = str(uuid.uuid4())
    call.store.execute("UPDATE project SET webhook_secret = ? WHERE id = ?", secret, project["id"])
    return {
        "id": project["id"],
        "name": project["name"],
        "ownername": project["owner"],
        "full_name": f"{project['owner']}/{project['name']}",
        "webhook_secret": secret,
    }


@endpoint("DELETE", "/project/delete/{owner}/{name}", body=True)
def delete(call: Call) -> dict[str, Any]:
    """Delete the project with its builds and results; refused while a build is live."""
    project = project_row(call, call.path["owner"], call.path["name"])
    if not is_owner(call.store, call.account, project["owner"]):
        raise Refused(403, "Only owners may delete their projects.")
    if not call.data.get("verify"):
        raise Refused(400, "You have to pass verify=true to delete the project.")
    running = unfinished(call, project)
    if running:
        raise Refused(400, f"Build(s) {', '.join(map(str, running))} are still running.\n")
    shape = project_shape(call.ground, project)
    call.store.execute("DELETE FROM project WHERE id = ?", project["id"])
    folder = call.ground.results / project["owner"]
    for directory in (folder / project["name"], *folder.glob(f"{project['name']}:*")):
        shutil.rmtree(directory, ignore_errors=True)
    return shape


@endpoint("POST", "/project/fork/{owner}/{name}", body=True)
def fork(call: Call) -> dict[str, Any]:
    """Copy a project with the newest succeeded build of each package, whose state then is ``forked``."""
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
