"""COPR's endpoints for builds: create, get, list, cancel and delete them.

The same upload twice is two builds: nothing is ever deduplicated.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import tempfile
import time
import unicodedata
from pathlib import Path
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
from sandbox.copr.shapes import (
    LIVE,
    absolute,
    build_shape,
    chroots_of,
    project_chroots,
    project_of,
    results_path,
    source_path,
)
from sandbox.store import Row

DEFAULT_TIMEOUT = 18000
MAX_TIMEOUT = 108000
UPLOAD_NAMES = (".src.rpm", ".nosrc.rpm", ".spec")
CHOICES = {
    "bootstrap": ("unchanged", "default", "on", "off", "image", "custom_image"),
    "isolation": ("unchanged", "default", "simple", "nspawn"),
}
KEPT = ("background", "enable_net", "timeout", "bootstrap", "isolation", "after_build_id", "with_build_id")
FINISHED = ("succeeded", "failed", "canceled", "skipped", "forked", "unknown")


def form_error(field: str, text: str) -> Refused:
    """Return a form error of the build endpoints."""
    return Refused(400, f"Bad request parameters: {{{field!r}: [{text!r}]}}")


def clean_name(name: str) -> str:
    """Return a file name as the server keeps it: without ``~ ^ = +`` and accents, blanks as ``_``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = plain.replace("/", " ").replace("\\", " ")
    return re.sub(r"[^A-Za-z0-9_.-]", "", "_".join(plain.split())).strip("._")


def _project(call: Call) -> Row:
    for name in ("ownername", "projectname"):
        if name not in call.data:
            raise Refused(
                500 if name == "ownername" else 400,
                BUG if name == "ownername" else f"Missing argument {name}",
            )
    project = project_row(call, call.data["ownername"], call.data["projectname"])
    full = f"{project['owner']}/{project['name']}"
    if not has_permission(call.store, call.account, project, "builder"):
        raise Refused(403, f"User {call.account} is not allowed to build in the copr: {full}")
    if not project_chroots(call.store, project["id"]):
        raise Refused(400, f"Can't create build - project {full} has no active chroots")
    forge = call.data.get("packit_forge_project")
    if forge and forge not in json.loads(project["fields"])["packit_forge_projects_allowed"]:
        raise Refused(403, f"Forge project {forge} can't build in this Copr via Packit.")
    return project


def _chroots(call: Call, project: Row) -> list[str]:
    """Return the chroots asked for, patterns expanded and repeats dropped; empty means all, decided later."""
    known = project_chroots(call.store, project["id"])
    asked = call.data.get("chroots") or []
    asked = [asked] if isinstance(asked, str) else asked
    chosen: list[str] = []
    for pattern in asked:
        matches = fnmatch.filter(known, pattern)
        if not matches:
            raise form_error("chroots", f"{pattern!r} is not a valid choice for this field.")
        chosen += matches
    excluded = call.data.get("exclude_chroots") or []
    excluded = [excluded] if isinstance(excluded, str) else excluded
    if excluded:
        chosen = [name for name in chosen or known if not any(fnmatch.fnmatch(name, out) for out in excluded)]
    return list(dict.fromkeys(chosen))


def _dirname(call: Call, project: Row) -> str:
    dirname = str(call.data.get("project_dirname") or project["name"])
    name = re.escape(project["name"])
    if not re.fullmatch(rf"{name}(:pr:\d+|:pr:[A-Za-z0-9:-]*\d+|:custom:[A-Za-z0-9-]+)?", dirname):
        raise Refused(
            400,
            f"Please use directory format {project['name']}:custom:<SUFFIX_OF_YOUR_DIRECTORY>"
            f" or {project['name']}:pr:<ID>",
        )
    return dirname


def _options(call: Call) -> dict[str, Any]:
    options = {key: call.data[key] for key in KEPT if key in call.data}
    timeout = options.setdefault("timeout", DEFAULT_TIMEOUT)
    if not isinstance(timeout, int) or not 0 <= timeout <= MAX_TIMEOUT:
        raise form_error("timeout", f"Number must be between 0 and {MAX_TIMEOUT}.")
    for field, choices in CHOICES.items():
        if options.get(field, choices[0]) not in choices:
            raise form_error(field, f"{options[field]!r} is not a valid choice for this field.")
    _check_batch(call, options)
    return options


def _check_batch(call: Call, options: dict[str, Any]) -> None:
    """Check that a build waits for another (``after_build_id``) or goes with one (``with_build_id``), not both."""
    both = [options.get("after_build_id"), options.get("with_build_id")]
    if all(both):
        raise Refused(400, "Only one of with_build_id and after_build_id can be specified")
    if not any(both):
        return
    other = both[0] or both[1]
    row = call.store.one("SELECT * FROM build WHERE id = ?", other)
    if row is None:
        raise Refused(404, f"Build {other} does not exist.")
    its = json.loads(row["options"])
    in_batch = its.get("with_build_id") or its.get("after_build_id")
    if not in_batch and build_shape(call.ground, row)["state"] in FINISHED:
        raise Refused(400, f"Build {other} is already finished, not suitable for batching")


def create(
    call: Call,
    project: Row,
    source_type: str,
    source_dict: dict[str, Any],
    *,
    url: str | None = None,
    package: str | None = None,
) -> dict[str, Any]:
    """Make a pending build in this project. ``url`` is what ``source_package.url`` shows until the import."""
    chroots, dirname, options = _chroots(call, project), _dirname(call, project), _options(call)
    build_id = call.store.execute(
        "INSERT INTO build (project_id, dirname, submitter, submitted_on, source_type, source_dict,"
        " source_state, source_url, package, options, due_at)"
        " VALUES (?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?)",
        project["id"],
        dirname,
        call.account,
        int(time.time()),
        source_type,
        json.dumps(source_dict),
        url,
        package,
        json.dumps(options),
        call.ground.next_step(),
    ).lastrowid
    for position, name in enumerate(chroots):
        call.store.execute(
            "INSERT INTO build_chroot (build_id, name, position, state) VALUES (?, ?, ?, 'waiting')",
            build_id,
            name,
            position,
        )
    row = call.store.one("SELECT * FROM build WHERE id = ?", build_id)
    assert row is not None, "the row was inserted in this transaction"
    return build_shape(call.ground, row, project)


@endpoint("POST", "/build/create/upload", body=True)
def upload(call: Call) -> dict[str, Any]:
    """Make a build of a source RPM or spec file, the multipart part ``pkgs``; its content is not looked at here."""
    part = call.parts.get("pkgs")
    project = _project(call)
    if part is None or part.path is None or not part.filename:
        raise form_error("pkgs", "This field is required.")
    if not part.filename.endswith(UPLOAD_NAMES):
        raise form_error("pkgs", "You can upload only .src.rpm, .nosrc.rpm, and .spec files")
    name = clean_name(Path(part.filename).name)
    folder = Path(tempfile.mkdtemp(prefix="tmp", dir=call.ground.uploads))
    os.link(part.path, folder / name)
    for directory in (folder, call.ground.uploads):
        descriptor = os.open(directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    url = f"/tmp/{folder.name}/{name}"
    try:
        return create(call, project, "upload", {"url": url, "pkg": name, "tmp": folder.name}, url=url)
    except Refused:
        (folder / name).unlink()
        folder.rmdir()
        raise


@endpoint("POST", "/build/create/url", body=True)
def from_urls(call: Call) -> dict[str, Any]:
    """Make one build per address in the list ``pkgs``."""
    project = _project(call)
    urls = call.data.get("pkgs") or []
    if not urls:
        raise form_error("pkgs", "This field is required.")
    for url in urls:
        if not url.startswith(("http://", "https://", "ftp://")) or not url.partition("?")[0].partition("#")[
            0
        ].endswith(UPLOAD_NAMES):
            raise form_error(
                "pkgs", f"Please provide links to .src.rpm, .nosrc.rpm or .spec files, not {url}"
            )
    items = [create(call, project, "link", {"url": url}, url=url) for url in urls]
    return {"items": items, "meta": dict.fromkeys(("limit", "offset", "order", "order_type"))}


def scm_source(data: dict[str, Any], method_key: str) -> dict[str, Any]:
    """Return the source of an scm build or package; ``method_key`` names its method as that endpoint does."""
    return {
        "type": data.get("scm_type", "git"),
        "clone_url": data.get("clone_url"),
        "subdirectory": data.get("subdirectory"),
        "committish": data.get("committish"),
        "spec": data.get("spec"),
        method_key: data.get("source_build_method", "rpkg"),
    }


@endpoint("POST", "/build/create/scm", body=True)
def from_scm(call: Call) -> dict[str, Any]:
    """Make a build of a repository's commit."""
    project = _project(call)
    if not call.data.get("clone_url"):
        raise form_error("clone_url", "This field is required.")
    return create(call, project, "scm", scm_source(call.data, "srpm_build_method"))


def _simple(path: str, source_type: str, required: str, keys: tuple[str, ...]) -> None:
    def handler(call: Call) -> dict[str, Any]:
        project = _project(call)
        if not call.data.get(required):
            raise form_error(required, "This field is required.")
        return create(call, project, source_type, {key: call.data.get(key) for key in keys})

    endpoint("POST", f"/build/create/{path}", body=True)(handler)


_simple("distgit", "distgit", "package_name", ("distgit", "namespace", "package_name", "committish"))
_simple(
    "pypi",
    "pypi",
    "pypi_package_name",
    ("pypi_package_name", "pypi_package_version", "spec_generator", "spec_template", "python_versions"),
)
_simple("rubygems", "rubygems", "gem_name", ("gem_name",))
_simple("custom", "custom", "script", ("script", "chroot", "builddeps", "resultdir", "repos"))


@endpoint("POST", "/build/check-before-build", body=True)
def check_before_build(call: Call) -> dict[str, str]:
    """Make all the checks of a creation, and no build."""
    project = _project(call)
    _chroots(call, project)
    _dirname(call, project)
    _options(call)
    return {"message": "It should be safe to submit a build like this"}


def build_and_project(call: Call, build_id: Any) -> tuple[Row, Row]:
    """Return the build's row and its project's. Raises Refused 404."""
    build = call.store.one("SELECT * FROM build WHERE id = ?", build_id)
    if build is None:
        raise Refused(404, f"Build {build_id} does not exist.")
    return build, project_of(call.store, build)


@endpoint("GET", "/build/{build_id:int}")
def get(call: Call) -> dict[str, Any]:
    """Return one build."""
    return build_shape(call.ground, *build_and_project(call, call.path["build_id"]))


@endpoint("GET", "/build/list")
def get_list(call: Call) -> dict[str, Any]:
    """Return a project's builds, newest first whatever order is asked for."""
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
    """Return ``{"state", "result_url"}``; 500 until the source step runs, as the real server does."""
    build, project = build_and_project(call, call.path["build_id"])
    if build["source_state"] in {"pending", "starting"}:
        raise Refused(500, BUG)
    url = f"{call.ground.copr_url}/results/{source_path(project, build)}"
    return {"state": build["source_state"], "result_url": url}


@endpoint("GET", "/build/source-build-config/{build_id:int}")
def source_build_config(call: Call) -> dict[str, Any]:
    """Return what was submitted: the cleaned file name of an upload is ``source_dict.pkg``."""
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
    """Return ``{chroot: {"packages": [...]}}``; the lists are empty until their chroot succeeds."""
    build, _ = build_and_project(call, call.path["build_id"])
    return {row["name"]: {"packages": loads(row, "packages")} for row in chroots_of(call.store, build["id"])}


@endpoint("PUT", "/build/cancel/{build_id:int}")
def cancel(call: Call) -> dict[str, Any]:
    """Cancel a build: it shows so at once, and its chroots follow when the backend confirms."""
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
    """Delete a build with its results, and return it as it was. Raises Refused 500 for an unfinished one."""
    build, project = build_and_project(call, call.path["build_id"])
    shape = build_shape(call.ground, build, project)
    if shape["state"] in LIVE or not has_permission(call.store, call.account, project, "admin"):
        status = 500 if shape["state"] in LIVE else 403
        raise Refused(status, f"User '{call.account}' can not delete build {build['id']}")
    remove(call, build, project)
    return shape


@endpoint("DELETE", "/build/delete/list", body=True)
def delete_list(call: Call) -> dict[str, Any]:
    """Delete all of the named builds, or none of them."""
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
    """Delete the rows and results of a build; the caller has checked that this is allowed."""
    folders = [source_path(project, build)]
    folders += [results_path(project, build, row["name"]) for row in chroots_of(call.store, build["id"])]
    for folder in folders:
        shutil.rmtree(call.ground.results / folder, ignore_errors=True)
    temporary = json.loads(build["source_dict"]).get("tmp")
    if temporary:
        shutil.rmtree(call.ground.uploads / temporary, ignore_errors=True)
    call.store.execute("DELETE FROM build WHERE id = ?", build["id"])
