"""Reads, checks, commits and answers one call of COPR's API v3.

An endpoint is a plain function of a ``Call``; it runs inside one transaction that is committed before
the answer leaves. Errors are ``{"error": text}`` with the status of the real frontend.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.ground import Ground
from sandbox.multipart import BadMultipart, Part, boundary_of, read_parts
from sandbox.store import Row, Store

BUG = "Request wasn't successful, there is probably a bug in the Copr code."
NO_JSON = "Did not attempt to load JSON data because the request Content-Type was not 'application/json'."
UPLOADS = frozenset({"pkgs"})

ROUTES: list[Route] = []


class Refused(Exception):
    """An answer that is not a success: ``status`` and the text under ``error``."""

    def __init__(self, status: int, text: str, **more: str) -> None:
        super().__init__(text)
        self.status = status
        self.body = {"error": text, **more}


@dataclass
class Call:
    """One request after log-in. ``data`` is the JSON body, ``user`` the account's name or None."""

    ground: Ground
    path: dict[str, Any]
    args: QueryParams
    user: str | None
    data: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    multipart: bool = False

    @property
    def store(self) -> Store:
        return self.ground.store

    @property
    def account(self) -> str:
        """Return the name of the logged-in account. Raises Refused 401 where nobody is logged in."""
        if self.user is None:
            raise login_expired(self.ground)
        return self.user

    def argument(self, name: str) -> str:
        """Return a query argument. Raises Refused 400 when it is missing."""
        value = self.args.get(name)
        if value is None:
            raise Refused(400, f"Missing argument {name}")
        return value

    def page(self) -> dict[str, Any]:
        """Return ``{"limit", "offset", "order", "order_type"}`` as the server repeats them. Raises Refused 500."""
        try:
            limit = int(self.args["limit"]) if "limit" in self.args else None
            offset = int(self.args.get("offset", "0"))
        except ValueError:
            raise Refused(500, BUG) from None
        order_type = self.args.get("order_type", "ASC")
        return {
            "limit": limit,
            "offset": offset,
            "order": self.args.get("order", "id"),
            "order_type": order_type,
        }


def login_expired(ground: Ground) -> Refused:
    """Return the refusal 401: missing, wrong and expired tokens cannot be told apart."""
    return Refused(
        401,
        f"Login invalid/expired. Please visit {ground.copr_url}/api to get or renew your API token.",
        output="notok",
    )


def account_of(ground: Ground, authorization: str | None) -> str | None:
    """Return the account behind a Basic header, or None. Raises Refused 500 on another scheme."""
    if authorization is None:
        return None
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise Refused(500, BUG)
    try:
        login, _, token = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Refused(500, BUG) from None
    row = ground.store.one("SELECT name FROM account WHERE login = ? AND token = ?", login, token)
    return None if row is None else str(row["name"])


async def _read(request: Request, ground: Ground, login: bool) -> Call:
    authorization = request.headers.get("authorization")
    user = account_of(ground, authorization) if login else None
    if login and user is None:
        raise login_expired(ground)
    call = Call(ground, dict(request.path_params), request.query_params, user)
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        call.multipart = True
        try:
            stream = request.stream()
            call.parts = await read_parts(stream, boundary_of(content_type), ground.spool, UPLOADS)
        except BadMultipart as error:
            raise Refused(400, str(error)) from error
        body = call.parts["json"].content if "json" in call.parts else b""
    elif content_type.startswith("application/json"):
        body = await request.body()
    else:
        return call
    try:
        data = json.loads(body) if body else {}
    except ValueError:
        raise Refused(
            400, "The browser (or proxy) sent a request that this server could not understand."
        ) from None
    if not isinstance(data, dict):
        raise Refused(500, BUG)
    call.data = {key: value for key, value in data.items() if value is not None}
    return call


def endpoint(
    method: str, path: str, *, login: bool | None = None, body: bool = False
) -> Callable[[Callable[[Call], Any]], Callable[[Call], Any]]:
    """Register ``handler`` for ``/api_3`` + ``path``. ``login`` defaults to: everything but GET needs it.

    ``body`` asks for JSON or a multipart ``json`` part, and refuses with 415 otherwise. The handler
    returns what becomes the JSON body of a 200, or raises Refused.
    """
    need_login = method != "GET" if login is None else login

    def register(handler: Callable[[Call], Any]) -> Callable[[Call], Any]:
        async def answer(request: Request) -> Response:
            ground: Ground = request.app.state.ground
            call: Call | None = None
            try:
                call = await _read(request, ground, need_login)
                typed = call.multipart or "json" in request.headers.get("content-type", "")
                if body and not typed:
                    raise Refused(415, NO_JSON)
                with ground.store.transaction():
                    result = handler(call)
            except Refused as refused:
                return JSONResponse(refused.body, refused.status)
            except ClientDisconnect:
                # Half a request is no request: the client left before the server could know what it wanted.
                return Response(status_code=400)
            finally:
                for part in call.parts.values() if call else ():
                    if part.path:
                        part.path.unlink(missing_ok=True)
            if method != "GET":
                ground.wake()
            return JSONResponse(result)

        ROUTES.append(Route("/api_3" + path, answer, methods=[method]))
        return handler

    return register


def paged(items: list[Any], page: dict[str, Any]) -> list[Any]:
    """Return the slice that ``limit`` and ``offset`` ask for."""
    end = None if page["limit"] is None else page["offset"] + page["limit"]
    return items[page["offset"] : end]


def answer_list(items: list[Any], page: dict[str, Any]) -> dict[str, Any]:
    """Return ``{"items", "meta"}``, with no total, as the server has it."""
    return {"items": items, "meta": page}


@endpoint("GET", "/")
def home(call: Call) -> dict[str, int]:
    """Return the API's version; it answers even where the database does not."""
    return {"version": 3}


def project_row(call: Call, owner: str, name: str) -> Row:
    """Return the project's row. Raises Refused 404."""
    row = call.store.one("SELECT * FROM project WHERE owner = ? AND name = ?", owner, name)
    if row is None:
        raise Refused(404, f"Project {owner}/{name} does not exist.")
    return row


def is_owner(store: Store, account: str, owner: str) -> bool:
    """Return whether the account is the namespace's user, or a member of its group."""
    if not owner.startswith("@"):
        return account == owner
    return store.one("SELECT 1 FROM membership WHERE team = ? AND account = ?", owner, account) is not None


def has_permission(store: Store, account: str, project: Row, kind: str) -> bool:
    """Return whether an account is the owner or approved as ``kind``: ``builder``, or ``admin`` who may build too."""
    if is_owner(store, account, project["owner"]):
        return True
    row = store.one("SELECT * FROM permission WHERE project_id = ? AND account = ?", project["id"], account)
    return row is not None and "approved" in {row[kind], row["admin"]}


def admin_project(call: Call, owner: str, name: str) -> Row:
    """Return the row of a project that the caller may edit. Raises Refused 404 or 403."""
    project = project_row(call, owner, name)
    if not has_permission(call.store, call.account, project, "admin"):
        raise Refused(403, "Only owners and admins may update their projects.")
    return project


def loads(row: Row, column: str) -> Any:
    """Return the value of a JSON column."""
    return json.loads(row[column])
