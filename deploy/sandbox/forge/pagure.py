"""Pagure's API v0 below ``/pagure``: what the library ogr asks of it, in the shapes of Pagure's source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.routing import Route

from sandbox.forge import calls, core
from sandbox.forge.core import ForgeRefusal
from sandbox.forge.dist_git import NAMESPACE
from sandbox.ground import Ground
from sandbox.store import Row

ROOT = "/pagure"
PER_PAGE = 20
STATUS = {"open": "Open", "merged": "Merged", "closed": "Closed"}
Handler = Callable[["Call"], Any]
ROUTES: list[Route] = []


class Refused(calls.Refused):
    """An error as Pagure answers it."""

    def __init__(self, status: int, code: str, error: str) -> None:
        super().__init__(status, error, {"error": error, "error_code": code})


class Call(calls.Call):
    """A call with its form. ``user`` is empty for a token that does not hold."""

    def __init__(self, request: Request, raw: bytes) -> None:
        super().__init__(request)
        self.form = {name: values[0] for name, values in parse_qs(raw.decode()).items()}
        self.user = str(self.account["name"]) if self.account else ""

    def package(self) -> str:
        """Return the package of the path. Raises Refused where there is no such repository."""
        package, user = str(self.path["repo"]), str(self.path.get("user", ""))
        if not core.repository(self.ground, package, user).exists():
            raise Refused(404, "ENOPROJECT", "Project not found")
        return package

    def pull(self) -> Row:
        """Return the pull request of the path."""
        try:
            return core.pull_of(self.ground, self.package(), int(self.path["number"]))
        except KeyError:
            raise Refused(404, "ENOREQ", "Pull-Request not found") from None

    def logged_in_user(self) -> str:
        """Return the user of the token. Raises Refused for a token that does not hold."""
        if not self.user:
            where = f"{self.ground.mirror_url}{ROOT}/settings#nav-api-tab"
            text = f"Invalid or expired token. Please visit {where} to get or renew your API token."
            raise Refused(401, "EINVALIDTOK", text)
        return self.user


def endpoint(method: str, *paths: str) -> Callable[[Handler], Handler]:
    """Register a handler for paths below the API's root."""

    def register(run: Handler) -> Handler:
        answer = calls.answering(lambda request, raw: run(Call(request, raw)))
        ROUTES.extend(Route(f"{ROOT}/api/0{path}", answer, methods=[method]) for path in paths)
        return run

    return register


def _user(ground: Ground, name: str) -> dict[str, Any]:
    return {
        "name": name, "fullname": name.title(), "url_path": f"user/{name}",
        "full_url": f"{ground.mirror_url}{ROOT}/user/{name}",
    }  # fmt: skip


def _project(ground: Ground, package: str, user: str = "") -> dict[str, Any]:
    path = f"{f'fork/{user}/' if user else ''}{NAMESPACE}/{package}"
    owner = user or core.MAINTAINER
    return {
        "name": package, "namespace": NAMESPACE, "fullname": path.replace("fork/", "forks/"),
        "url_path": path, "full_url": f"{ground.mirror_url}{ROOT}/{path}",
        "description": f"The {package} package", "user": _user(ground, owner),
        "access_users": {"owner": [owner], "admin": [], "commit": [], "collaborator": [], "ticket": []},
        "access_groups": {"admin": [], "commit": [], "collaborator": [], "ticket": []},
        "parent": _project(ground, package) if user else None,
    }  # fmt: skip


def _pull(ground: Ground, row: Row) -> dict[str, Any]:
    project = _project(ground, row["package"])
    closed_at = str(int(row["closed_at"])) if row["closed_at"] else None
    return {
        "id": row["number"], "uid": f"{row['id']:032x}", "title": row["title"], "branch": row["branch"],
        "project": project, "branch_from": row["branch_from"],
        "repo_from": _project(ground, row["package"], row["user"]), "remote_git": None,
        "date_created": str(int(row["created_at"])), "closed_at": closed_at,
        "user": _user(ground, row["user"]), "assignee": None, "status": STATUS[row["state"]],
        "commit_start": row["head"], "commit_stop": row["head"],
        "closed_by": _user(ground, row["closed_by"]) if row["closed_by"] else None,
        "initial_comment": row["text"], "cached_merge_status": "unknown", "threshold_reached": None, "tags": [],
        "full_url": f"{project['full_url']}/pull-request/{row['number']}",
        "comments": [
            {
                "id": one["id"], "comment": one["text"], "user": _user(ground, one["user"]),
                "date_created": str(int(one["at"])), "edited_on": None, "parent": None, "notification": False,
            }
            for one in core.comments_of(ground, row)
        ],
    }  # fmt: skip


@endpoint("POST", "/-/whoami")
def whoami(call: Call) -> dict[str, Any]:
    """Return the user of the token."""
    return {"username": call.logged_in_user()}


@endpoint("GET", "/{namespace}/{repo}", "/fork/{user}/{namespace}/{repo}")
def project(call: Call) -> dict[str, Any]:
    """Return a repository, or a fork of it."""
    return _project(call.ground, call.package(), str(call.path.get("user", "")))


@endpoint("GET", "/projects")
def projects(call: Call) -> dict[str, Any]:
    """Return the forks whose name is the pattern."""
    pattern = call.query.get("pattern", "")
    found = [_project(call.ground, pattern, user) for user in core.forks_of(call.ground, pattern)]
    return {"projects": found, "total_projects": len(found)}


@endpoint("POST", "/fork")
def make_fork(call: Call) -> dict[str, Any]:
    """Fork a repository to the caller."""
    user, package = call.logged_in_user(), call.form.get("repo", "")
    if not call.may_fork:
        text = "Invalid or expired token. Missing ACLs: fork_project"
        raise Refused(401, "EINVALIDTOK", text)
    if not core.repository(call.ground, package).exists():
        raise Refused(404, "ENOPROJECT", "Project not found")
    try:
        core.fork(call.ground, package, user)
    except ForgeRefusal as error:
        raise Refused(400, "ENOCODE", str(error)) from error
    return {"message": f'Repo "{package}" cloned to "{user}/{package}"'}


@endpoint("GET", "/{namespace}/{repo}/pull-requests")
def list_pulls(call: Call) -> dict[str, Any]:
    """Return a page of pull requests by status and author."""
    wanted = call.query.get("status", "Open").lower()
    rows = core.pulls_of(call.ground, call.package(), "" if wanted == "all" else wanted)
    author = call.query.get("author")
    rows = [row for row in rows if author in {None, row["user"]}]
    page = int(call.query.get("page", 1))
    last = max(1, -(-len(rows) // PER_PAGE))
    shown = rows[(page - 1) * PER_PAGE : page * PER_PAGE]
    return {
        "total_requests": len(rows),
        "requests": [_pull(call.ground, row) for row in shown],
        "pagination": {
            "page": page, "pages": last, "per_page": PER_PAGE, "next": "next" if page < last else None,
            "prev": "prev" if page > 1 else None, "first": "first", "last": "last",
        },
    }  # fmt: skip


@endpoint("GET", "/{namespace}/{repo}/pull-request/{number:int}")
def get_pull(call: Call) -> dict[str, Any]:
    """Return one pull request with its comments."""
    return _pull(call.ground, call.pull())


@endpoint("POST", "/{namespace}/{repo}/pull-request/new")
def new_pull(call: Call) -> dict[str, Any]:
    """Open a pull request. Pagure takes a second one from the same branch, too."""
    user, package, form = call.logged_in_user(), call.package(), call.form
    if not form.get("title") or form.get("repo_from_username") != user:
        raise Refused(400, "EINVALIDREQ", "Invalid or incomplete input submitted")
    try:
        row = core.open_pull(
            call.ground, package, branch=form.get("branch_to", ""), user=user,
            branch_from=form.get("branch_from", ""), title=form["title"], text=form.get("initial_comment", ""),
        )  # fmt: skip
    except ForgeRefusal as error:
        raise Refused(400, "EINVALIDREQ", str(error)) from error
    return _pull(call.ground, row)


@endpoint("POST", "/{namespace}/{repo}/pull-request/{number:int}/comment")
def add_comment(call: Call) -> dict[str, Any]:
    """Add a comment to a pull request."""
    core.comment(call.ground, call.pull(), call.logged_in_user(), call.form["comment"])
    return {"message": "Comment added"}


@endpoint("POST", "/{namespace}/{repo}/pull-request/{number:int}/close")
def close(call: Call) -> dict[str, Any]:
    """Close a pull request without a merge."""
    user, row = call.logged_in_user(), call.pull()
    try:
        core.close_pull(call.ground, row, user)
    except ForgeRefusal as error:
        raise Refused(400, "ENOCODE", str(error)) from error
    return {"message": "Pull-request closed!"}
