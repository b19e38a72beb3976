"""Forgejo's API, version 1, below ``/forgejo``: what the library ogr asks of it through Forgejo's own client."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.forge import core as forge
from sandbox.forge.core import ForgeRefusal
from sandbox.ground import Ground
from sandbox.store import Row

ROOT = "/forgejo"
PER_PAGE = 30
Handler = Callable[["Call"], Any]
ROUTES: list[Route] = []


class Refused(Exception):
    """An error as Forgejo answers it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.response = JSONResponse({"message": message, "url": "/api/swagger"}, status)


class Call:
    """One request: who asks, its path and its JSON."""

    def __init__(self, request: Request, data: dict[str, Any]) -> None:
        self.ground: Ground = request.app.state.ground
        self.path = request.path_params
        self.query = request.query_params
        self.data = data
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        account = forge.account_of(self.ground.store, token) if scheme == "token" else None
        if account is None:
            raise Refused(401, "invalid username, password or token")
        self.user = str(account["name"])
        self.may_fork = bool(account["forks"])

    def repository(self) -> tuple[str, str]:
        """The package of the path, and who has it: nobody for the original."""
        owner, package = str(self.path["owner"]), str(self.path["repo"])
        user = "" if owner == forge.NAMESPACE else owner
        if not forge.repository(self.ground, package, user).exists():
            raise Refused(404, "The target couldn't be found.")
        return package, user

    def pull(self) -> Row:
        """The pull request of the path."""
        package, _ = self.repository()
        try:
            return forge.pull_of(self.ground, package, int(self.path["number"]))
        except KeyError:
            raise Refused(404, "The target couldn't be found.") from None

    def paged(self, rows: list[Any]) -> list[Any]:
        """The page that was asked for."""
        page = int(self.query.get("page", 1))
        return rows[(page - 1) * PER_PAGE : page * PER_PAGE]


def endpoint(method: str, path: str, status: int = 200) -> Callable[[Handler], Handler]:
    """Register a handler for a path below the API's root."""

    def register(run: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            raw = await request.body()
            try:
                return JSONResponse(run(Call(request, json.loads(raw) if raw else {})), status)
            except Refused as refused:
                return refused.response

        ROUTES.append(Route(f"{ROOT}/api/v1{path}", answer, methods=[method]))
        return run

    return register


def _user(name: str) -> dict[str, Any]:
    return {"id": sum(name.encode()), "login": name, "username": name, "full_name": name.title()}


def _time(at: float | None) -> str | None:
    return datetime.fromtimestamp(at, UTC).isoformat() if at else None


def _repository(ground: Ground, package: str, user: str = "") -> dict[str, Any]:
    owner = user or forge.NAMESPACE
    return {
        "id": sum(f"{owner}/{package}".encode()), "name": package, "full_name": f"{owner}/{package}",
        "owner": _user(owner), "fork": bool(user), "private": False,
        "html_url": f"{ground.mirror_url}{ROOT}/{owner}/{package}",
        "parent": _repository(ground, package) if user else None,
    }  # fmt: skip


def _pull(ground: Ground, row: Row) -> dict[str, Any]:
    package, url = row["package"], f"{ground.mirror_url}{ROOT}/{forge.NAMESPACE}/{row['package']}/pulls"
    merged = row["state"] == "merged"
    there = forge.head_of(forge.repository(ground, package, row["user"]), row["branch_from"])
    ref = row["branch_from"] if there else f"refs/pull/{row['number']}/head"
    return {
        "id": row["id"], "number": row["number"], "url": f"{url}/{row['number']}",
        "html_url": f"{url}/{row['number']}", "user": _user(row["user"]), "title": row["title"],
        "body": row["text"], "labels": [], "state": "open" if row["state"] == "open" else "closed",
        "merged": merged, "merged_at": _time(row["closed_at"]) if merged else None,
        "merged_by": _user(row["closed_by"]) if merged else None, "merge_commit_sha": row["merge_commit"],
        "base": {
            "label": row["branch"], "ref": row["branch"], "repo": _repository(ground, package),
            "sha": forge.head_of(forge.repository(ground, package), row["branch"]),
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
    """Whose token it is."""
    return _user(call.user)


@endpoint("GET", "/repos/{owner}/{repo}")
def get_repository(call: Call) -> dict[str, Any]:
    """A repository, or a fork of it."""
    return _repository(call.ground, *call.repository())


@endpoint("GET", "/repos/{owner}/{repo}/forks")
def forks(call: Call) -> list[dict[str, Any]]:
    """The forks of a repository."""
    package, _ = call.repository()
    names = forge.forks_of(call.ground, package)
    return [_repository(call.ground, package, name) for name in call.paged(names)]


@endpoint("POST", "/repos/{owner}/{repo}/forks", 202)
def make_fork(call: Call) -> dict[str, Any]:
    """Fork a repository to the caller."""
    package, _ = call.repository()
    if not call.may_fork:
        raise Refused(403, "token does not have at least one of required scope(s): [write:repository]")
    try:
        forge.fork(call.ground, package, call.user)
    except ForgeRefusal as error:
        raise Refused(409, str(error)) from error
    return _repository(call.ground, package, call.user)


@endpoint("GET", "/repos/{owner}/{repo}/pulls")
def list_pulls(call: Call) -> list[dict[str, Any]]:
    """A page of pull requests; ``closed`` are the merged ones, too."""
    package, _ = call.repository()
    wanted = call.query.get("state", "open")
    rows = [
        row
        for row in forge.pulls_of(call.ground, package)
        if wanted == "all" or (row["state"] == "open") == (wanted == "open")
    ]
    return [_pull(call.ground, row) for row in call.paged(rows)]


@endpoint("GET", "/repos/{owner}/{repo}/pulls/{number:int}")
def get_pull(call: Call) -> dict[str, Any]:
    """One pull request."""
    return _pull(call.ground, call.pull())


@endpoint("POST", "/repos/{owner}/{repo}/pulls", 201)
def new_pull(call: Call) -> dict[str, Any]:
    """Open a pull request; a second open one from the same branch is a 409."""
    package, _ = call.repository()
    owner, _, branch_from = call.data["head"].partition(":")
    open_rows = forge.pulls_of(call.ground, package, "open")
    if any((row["user"], row["branch_from"]) == (owner, branch_from) for row in open_rows):
        raise Refused(409, f"pull request already exists for these targets [head_branch: {branch_from}]")
    try:
        row = forge.open_pull(
            call.ground, package, branch=call.data["base"], user=owner, branch_from=branch_from,
            title=call.data["title"], text=call.data.get("body") or "",
        )  # fmt: skip
    except ForgeRefusal as error:
        raise Refused(404, str(error)) from error
    return _pull(call.ground, row)


@endpoint("PATCH", "/repos/{owner}/{repo}/pulls/{number:int}", 201)
def edit_pull(call: Call) -> dict[str, Any]:
    """Close without a merge."""
    row = call.pull()
    if call.data.get("state") == "closed":
        try:
            forge.close_pull(call.ground, row, call.user)
        except ForgeRefusal as error:
            raise Refused(412, str(error)) from error
    return _pull(call.ground, call.pull())


@endpoint("GET", "/repos/{owner}/{repo}/issues/{number:int}/comments")
def list_comments(call: Call) -> list[dict[str, Any]]:
    """The comments of a pull request."""
    return [_comment(row) for row in forge.comments_of(call.ground, call.pull())]


@endpoint("POST", "/repos/{owner}/{repo}/issues/{number:int}/comments", 201)
def add_comment(call: Call) -> dict[str, Any]:
    """Say something."""
    return _comment(forge.comment(call.ground, call.pull(), call.user, call.data["body"]))
