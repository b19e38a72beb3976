"""The JSON shapes of COPR's API v3, and the state that a build shows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

from sandbox.ground import Ground
from sandbox.store import Row, Store

CODES = {
    "failed": 0, "succeeded": 1, "canceled": 2, "running": 3, "pending": 4, "skipped": 5,
    "starting": 6, "importing": 7, "forked": 8, "waiting": 9, "unknown": 1000,
}  # fmt: skip
SOURCE_FIRST = ("starting", "pending", "running", "importing", "failed")
CHROOTS_THEN = ("running", "starting", "pending", "failed", "succeeded", "skipped", "forked")
LIVE = ("pending", "starting", "running", "importing")
"""The states of a build that has not ended."""
CHROOT_ENDS = ("succeeded", "failed", "canceled", "skipped", "forked")

_turn = itertools.count()


def build_state(canceled: bool, source_state: str, chroots: Iterable[str]) -> str:
    """Compute ``build.state``: it is computed at each read and can go backwards."""
    if canceled:
        return "canceled"
    if source_state in SOURCE_FIRST:
        return source_state
    states = set(chroots)
    for state in CHROOTS_THEN:
        if state in states:
            return state
    return "pending" if "waiting" in states else "unknown"


def rotated(names: list[str]) -> list[str]:
    """Return the same names in another order at each call: clients must compare them as sets."""
    if len(names) < 2:
        return names
    by = next(_turn) % len(names)
    return names[by:] + names[:by]


def project_of(store: Store, row: Row) -> Row:
    """Return the project of a build or a package."""
    project = store.one("SELECT * FROM project WHERE id = ?", row["project_id"])
    assert project is not None, "neither a build nor a package can be stored without its project"
    return project


def chroots_of(store: Store, build_id: int) -> list[Row]:
    """Return the build's chroot rows in the order in which they were asked for."""
    return store.all("SELECT * FROM build_chroot WHERE build_id = ? ORDER BY position", build_id)


def results_path(project: Row, build: Row, chroot: str) -> str:
    """Return the folder of a chroot's results below ``results/``, without slashes at its ends."""
    return f"{project['owner']}/{build['dirname']}/{chroot}/{build['id']:08d}-{build['package']}"


def source_path(project: Row, build: Row) -> str:
    """Return the folder of the source step's results below ``results/``."""
    return f"{project['owner']}/{build['dirname']}/srpm-builds/{build['id']:08d}"


def absolute(ground: Ground, url: str | None) -> str | None:
    """Return a stored address with this start's host and port; foreign addresses stay as they are."""
    return ground.copr_url + url if url is not None and url.startswith("/") else url


def build_shape(ground: Ground, build: Row, project: Row | None = None) -> dict[str, Any]:
    """Return a build as get, list, create, cancel and delete answer it; times are epoch seconds or null."""
    store = ground.store
    if project is None:
        project = project_of(store, build)
    chroots = chroots_of(store, build["id"])
    started = [row["started_on"] for row in chroots if row["started_on"] is not None]
    ended = [row["ended_on"] for row in chroots]
    base = f"{ground.copr_url}/results/{project['owner']}/{project['name']}"
    return {
        "id": build["id"],
        "state": build_state(build["canceled"], build["source_state"], [row["state"] for row in chroots]),
        "ownername": project["owner"],
        "projectname": project["name"],
        "project_dirname": build["dirname"],
        "repo_url": base,
        "source_package": {
            "name": build["package"],
            "url": absolute(ground, build["source_url"]),
            "version": build["version"],
        },
        "submitted_on": build["submitted_on"],
        "started_on": min(started, default=None),
        "ended_on": max(ended) if ended and None not in ended else None,
        "submitter": build["submitter"],
        "chroots": rotated([row["name"] for row in chroots]),
        "is_background": bool(json.loads(build["options"]).get("background", False)),
    }


def chroot_shape(ground: Ground, project: Row, build: Row, row: Row) -> dict[str, Any]:
    """Return a chroot of a build; ``result_url`` ends with a slash and is null until the chroot starts."""
    path = results_path(project, build, row["name"])
    return {
        "name": row["name"],
        "state": row["state"],
        "started_on": row["started_on"],
        "ended_on": row["ended_on"],
        "result_url": f"{ground.copr_url}/results/{path}/" if row["has_result"] else None,
    }


def project_chroots(store: Store, project_id: int, *, active: bool = True) -> list[str]:
    """Return the names of the project's chroots; ones deactivated on the server are hidden unless asked for."""
    only = "AND chroot.active" if active else ""
    rows = store.all(
        f"SELECT name FROM project_chroot JOIN chroot USING (name) WHERE project_id = ? {only}"
        " ORDER BY chroot.position",
        project_id,
    )
    return [row["name"] for row in rows]


FIELDS: dict[str, Any] = {
    "homepage": None, "contact": None, "description": "", "instructions": "", "devel_mode": False,
    "persistent": False, "unlisted_on_hp": False, "auto_prune": True, "additional_repos": [],
    "enable_net": False, "bootstrap": "default", "isolation": "default", "module_hotfixes": False,
    "appstream": False, "packit_forge_projects_allowed": [], "follow_fedora_branching": True,
    "repo_priority": None, "storage": "backend",
}  # fmt: skip


def project_shape(ground: Ground, project: Row) -> dict[str, Any]:
    """Return a project as get, list, add, edit, delete and fork answer it."""
    base = f"{ground.copr_url}/results/{project['owner']}/{project['name']}"
    return {
        **json.loads(project["fields"]),
        "id": project["id"],
        "name": project["name"],
        "ownername": project["owner"],
        "full_name": f"{project['owner']}/{project['name']}",
        "chroot_repos": {name: f"{base}/{name}/" for name in project_chroots(ground.store, project["id"])},
    }


def package_shape(
    ground: Ground, package: Row, *, latest: bool = False, latest_succeeded: bool = False
) -> dict[str, Any]:
    """Return a package; ``builds`` holds builds only where the caller asked for them."""
    rows = (
        ground.store.all(
            "SELECT * FROM build WHERE project_id = ? AND package = ? ORDER BY id DESC",
            package["project_id"],
            package["name"],
        )
        if latest or latest_succeeded
        else []
    )
    builds = [build_shape(ground, row) for row in rows]
    good = [build for build in builds if build["state"] == "succeeded"]
    project = project_of(ground.store, package)
    return {
        "id": package["id"],
        "name": package["name"],
        "ownername": project["owner"],
        "projectname": project["name"],
        "source_type": package["source_type"],
        "source_dict": json.loads(package["source_dict"]),
        "auto_rebuild": bool(package["auto_rebuild"]),
        "builds": {
            "latest": builds[0] if latest and builds else None,
            "latest_succeeded": good[0] if latest_succeeded and good else None,
        },
    }


def repos_shape(
    ground: Ground, project: Row, dirname: str, chroot: str, extra: list[str]
) -> list[dict[str, Any]]:
    """Return the repositories that a build in this chroot sees, the project's own first."""

    def entry(identifier: str, name: str, baseurl: str) -> dict[str, Any]:
        return {
            "id": identifier,
            "name": name,
            "baseurl": baseurl,
            "module_hotfixes": None,
            "priority": None,
            "repo_gpgcheck": False,
        }

    base = f"{ground.copr_url}/results/{project['owner']}"
    own = f"copr://{project['owner']}/{project['name']}"
    repos = [entry("copr_base", "Copr repository", f"{base}/{project['name']}/{chroot}/")]
    if dirname != project["name"]:
        repos.append(entry("copr_dir", "Copr directory", f"{base}/{dirname}/{chroot}/"))
    for url in extra:
        if url == own:
            continue
        label = "".join(letter if letter.isalnum() else "_" for letter in url)
        other = f"{ground.copr_url}/results/{url.removeprefix('copr://')}/{chroot}/"
        repos.append(entry(label, f"Additional repo {label}", other if url.startswith("copr://") else url))
    return repos
