"""Forgejo's API v1 below ``/forgejo``: what the library ogr asks of it through Forgejo's own client."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from sandbox.forge import calls, core
from sandbox.forge.core import ForgeRefusal
from sandbox.forge.dist_git import NAMESPACE
from sandbox.ground import Ground
from sandbox.store import Row

ROOT = "/forgejo"
PER_PAGE = 30
Handler = Callable[["Call"], Any]
ROUTES: list[Route] = []


class Refused(calls.Refused):
    """An error as Forgejo answers it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message, {"message": message, "url": "/api/swagger"})


class Call(calls.Call):
    """A call with its JSON. Raises Refused for a token that does not hold."""

    def __init__(self, request: Request, data: dict[str, Any]) -> None:
        super().__init__(request)
        self.data = data
        if self.account is None:
            raise Refused(401, "invalid username, password or token")
        self.user = str(self.account["name"])

    def repository(self) -> tuple[str, str]:
        """Return the package of the path, and whose fork it is: empty for the original."""
        owner, package = str(self.path["owner"]), str(self.path["repo"])
        user = "" if owner == NAMESPACE else owner
        if not core.repository(self.ground, package, user).exists():
            raise Refused(404, "The target couldn't be found.")
        return package, user

    def pull(self) -> Row:
        """Return the pull request of the path."""
        package, _ = self.repository()
        try:
            return core.pull_of(self.ground, package, int(self.path["number"]))
        except KeyError:
            raise Refused(404, "The target couldn't be found.") from None

    def paged(self, rows: list[Any]) -> list[Any]:
        """Return the page that was asked for."""
        page = int(self.query.get("page", 1))
        return rows[(page - 1) * PER_PAGE : page * PER_PAGE]


def endpoint(method: str, path: str, status: int = 200) -> Callable[[Handler], Handler]:
    """Register a handler for a path below the API's root."""

    def register(run: Handler) -> Handler:
        answer = calls.answering(
            lambda request, raw: run(Call(request, json.loads(raw) if raw else {})), status
        )
        ROUTES.append(Route(f"{ROOT}/api/v1{path}", answer, methods=[method]))
        return run

    return register


def _user(name: str) -> dict[str, Any]:
    return {"id": sum(name.encode()), "login": name, "username": name, "full_name": name.title()}


def _time(at: float | None) -> str | None:
    return datetime.fromtimestamp(at, UTC).isoformat() if at else None


def _repository(ground: Ground, package: str, user: str = "") -> dict[str, Any]:
    owner = user or NAMESPACE
    return {
        "id": sum(f"{owner}/{package}".encode()), "name": package, "full_name": f"{owner}/{package}",
        "owner": _user(owner), "fork": bool(user), "private": False,
        "html_url": f"{ground.mirror_url}{ROOT}/{owner}/{package}",
        "parent": _repository(ground, package) if user else None,
    }  # fmt: skip


def _pull(ground: Ground, row: Row) -> dict[str, Any]:
    package, url = row["package"], f"{ground.mirror_url}{ROOT}/{NAMESPACE}/{row['package']}/pulls"
    merged = row["state"] == "merged"
    there = core.head_of(core.repository(ground, package, row["user"]), row["branch_from"])
    ref = row["branch_from"] if there else f"refs/pull/{row['number']}/head"
    return {
        "id": row["id"], "number": row["number"], "url": f"{url}/{row['number']}",
        "html_url": f"{url}/{row['number']}", "user": _user(row["user"]), "title": row["title"],
        "body": row["text"], "labels": [], "state": "open" if row["state"] == "open" else "closed",
        "merged": merged, "merged_at": _time(row["closed_at"]) if merged else None,
        "merged_by": _user(row["closed_by"]) if merged else None, "merge_commit_sha": row["merge_commit"],
        "base": {
            "label": row["branch"], "ref": row["branch"], "repo": _repository(ground, package),
            "sha": core.head_of(core.repository(ground, package), row["branch"]),
        },
        "head": {
            "label": row["branch_from"], "ref": ref, "sha": row["head"],
            "repo": _repository(ground, package, row["user"]),
        },
        "created_at": _time(row["created_at"]), "updated_at": _time(row["created_at"]),
        "closed_at": _time(row["closed_at"]),
    }  # fmt: skip


def _comment(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"], "body": row["text"], "user": _user(row["user"]), "created_at": _time(row["at"]),
        "updated_at": _time(row["at"]),
    }  # fmt: skip


@endpoint("GET", "/user")
def user(call: Call) -> dict[str, Any]:
    """Return the account of the token."""
    return _user(call.user)


@endpoint("GET", "/repos/{owner}/{repo}")
def get_repository(call: Call) -> dict[str, Any]:
    """Return a repository, or a fork of it."""
    return _repository(call.ground, *call.repository())


@endpoint("GET", "/repos/{owner}/{repo}/forks")
def forks(call: Call) -> list[dict[str, Any]]:
    """Return the forks of a repository."""
    package, _ = call.repository()
    names = core.forks_of(call.ground, package)
    return [_repository(call.ground, package, name) for name in call.paged(names)]


@endpoint("POST", "/repos/{owner}/{repo}/forks", 202)
def make_fork(call: Call) -> dict[str, Any]:
    """Fork a repository to the caller."""
    package, _ = call.repository()
    if not call.may_fork:
        raise Refused(403, "token does not have at least one of required scope(s): [write:repository]")
    try:
        core.fork(call.ground, package, call.user)
    except ForgeRefusal as error:
        raise Refused(409, str(error)) from error
    return _repository(call.ground, package, call.user)


@endpoint("GET", "/repos/{owner}/{repo}/pulls")
def list_pulls(call: Call) -> list[dict[str, Any]]:
    """Return a page of pull requests; ``closed`` includes the merged ones."""
    package, _ = call.repository()
    wanted = call.query.get("state", "open")
    rows = [
        row
        for row in core.pulls_of(call.ground, package)
        if wanted == "all" or (row["state"] == "open") == (wanted == "open")
    ]
    return [_pull(call.ground, row) for row in call.paged(rows)]


@endpoint("GET", "/repos/{owner}/{repo}/pulls/{number:int}")
def get_pull(call: Call) -> dict[str, Any]:
    """Return one pull request."""
    return _pull(call.ground, call.pull())


@endpoint("POST", "/repos/{owner}/{repo}/pulls", 201)
def new_pull(call: Call) -> dict[str, Any]:
    """Open a pull request; a second open one from the same branch is a 409."""
    package, _ = call.repository()
    owner, _, branch_from = call.data["head"].partition(":")
    open_rows = core.pulls_of(call.ground, package, "open")
    if any((row["user"], row["branch_from"]) == (owner, branch_from) for row in open_rows):
        raise Refused(409, f"pull request already exists for these targets [head_branch: {branch_from}]")
    try:
        row = core.open_pull(
            call.ground, package, branch=call.data["base"], user=owner, branch_from=branch_from,
            title=call.data["title"], text=call.data.get("body") or "",
        )  # fmt: skip
    except ForgeRefusal as error:
        raise Refused(404, str(error)) from error
    return _pull(call.ground, row)


@endpoint("PATCH", "/repos/{owner}/{repo}/pulls/{number:int}", 201)
def edit_pull(call: Call) -> dict[str, Any]:
    """Close a pull request without a merge."""
    row = call.pull()
    if call.data.get("state") == "closed":
        try:
            core.close_pull(call.ground, row, call.user)
        except ForgeRefusal as error:
            raise Refused(412, str(error)) from error
    return _pull(call.ground, call.pull())


@endpoint("GET", "/repos/{owner}/{repo}/issues/{number:int}/comments")
def list_comments(call: Call) -> list[dict[str, Any]]:
    """Return the comments of a pull request."""
    return [_comment(row) for row in core.comments_of(call.ground, call.pull())]


@endpoint("POST", "/repos/{owner}/{repo}/issues/{number:int}/comments", 201)
def add_comment(call: Call) -> dict[str, Any]:
    """Add a comment to a pull request."""
    return _comment(core.comment(call.ground, call.pull(), call.user, call.data["body"]))
