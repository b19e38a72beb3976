"""The hub's one endpoint: who calls, under which number, which method, and one transaction for the call.

A method is a plain function of a ``Call`` and its arguments. What it changed is committed, together with the
call's number, before the answer leaves; a fault rolls everything back and leaves no number behind.
"""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.parsers.expat import ExpatError
from xmlrpc.client import ResponseError

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.ground import Ground
from sandbox.koji import wire
from sandbox.koji.wire import HubFault
from sandbox.store import Row, Store

BASE = "/kojihub"
VERSION = "1.35.3"
LONGEST_REQUEST = 4 * 1024 * 1024
# From this version on the hub names itself in a header, and a repeated number is refused.
FIRST_STRICT = (1, 35)
LOG_INS = frozenset({"login", "sslLogin"})


@dataclass
class Call:
    """One call. ``session`` and ``user`` are None where nobody is logged in; ``wrote`` decides about the number.

    ``client`` is who the TLS front says the client is: (name, kind of log-in), or None.
    """

    ground: Ground
    session: Row | None
    user: Row | None
    client: tuple[str, int] | None = None
    wrote: bool = False

    @property
    def store(self) -> Store:
        return self.ground.store

    @property
    def user_id(self) -> int:
        """The caller's id. Raises HubFault where nobody is logged in."""
        if self.user is None:
            raise HubFault(wire.DENIED, "you must be logged in for this operation")
        return int(self.user["id"])

    def event(self) -> int:
        """A fresh event number."""
        return self.store.execute("INSERT INTO koji_event (at) VALUES (?)", time.time()).lastrowid or 0


@dataclass(frozen=True)
class Method:
    """A registered method; ``writes`` makes the session remember the call's number."""

    name: str
    run: Callable[..., Any]
    writes: bool


METHODS: dict[str, Method] = {}


def rpc(name: str, *, writes: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function of a Call and the method's arguments under the hub's name for it."""

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        METHODS[name] = Method(name, run, writes)
        return run

    return register


def version_of(ground: Ground) -> tuple[str, bool]:
    """The version that the hub plays, and whether it is one that refuses repeated numbers."""
    text = str(ground.store.setting("koji_version", VERSION))
    return text, tuple(int(part) for part in text.split(".")[:2]) >= FIRST_STRICT


def open_call(ground: Ground, who: Mapping[str, str], method: str) -> Call:
    """Check session and number; ``who`` has ``session-id``, ``session-key``, ``callnum``, ``client``, ``kind``."""
    client = (who["client"], int(who["kind"])) if "client" in who else None
    if "session-id" not in who:
        return Call(ground, None, None, client)
    store = ground.store
    try:
        number, callnum = int(who["session-id"]), int(who.get("callnum", "0"))
    except ValueError:
        raise HubFault(wire.AUTH, "Invalid session or bad credentials") from None
    session = store.one(
        "SELECT * FROM koji_session WHERE id = ? AND key = ? AND NOT closed", number, who.get("session-key")
    )
    if session is None:
        raise HubFault(wire.AUTH, "Invalid session or bad credentials")
    if session["expired"] and method not in LOG_INS:
        raise HubFault(wire.EXPIRED, f'session "{number}" has expired')
    last = session["callnum"]
    # A renewal comes with the old counter, which begins at 0 for the client and nowhere for the hub.
    if last is not None and method not in LOG_INS:
        if callnum == last and version_of(ground)[1]:
            text = f"unable to retry call {callnum} (method {method}) for session {number}"
            raise HubFault(wire.RETRY, text)
        if callnum < last:
            raise HubFault(wire.SEQUENCE, f"{last} > {callnum} (session {number})")
    user = store.one("SELECT * FROM koji_user WHERE id = ?", session["user_id"])
    return Call(ground, session, user, client)


def invoke(call: Call, name: str, params: list[Any]) -> Any:
    """Run one method. Raises HubFault."""
    method = METHODS.get(name)
    if method is None:
        raise HubFault(wire.GENERIC, f"Invalid method: {name}")
    positional, named = wire.split_arguments(params)
    try:
        bound = inspect.signature(method.run).bind(call, *positional, **named)
    except TypeError as error:
        raise HubFault(wire.PARAMETER, f"RootExports.{name}() {_python_words(str(error))}") from None
    result = method.run(*bound.args, **bound.kwargs)
    call.wrote = call.wrote or method.writes
    return result


def _python_words(text: str) -> str:
    return re.sub(r"^missing a required argument: ", "missing 1 required positional argument: ", text)


@rpc("multiCall")
def multi_call(call: Call, calls: list[dict[str, Any]]) -> list[Any]:
    """Each call under a savepoint: the good ones are committed although a neighbour failed."""
    answers: list[Any] = []
    for one in calls:
        call.store.execute("SAVEPOINT one")
        try:
            result = invoke(call, one["methodName"], list(one.get("params", [])))
        except HubFault as error:
            call.store.execute("ROLLBACK TO one")
            trace = ["Traceback (most recent call last):\n", f"koji.GenericError: {error.text}\n"]
            answers.append({"faultCode": error.code, "faultString": error.text, "traceback": trace})
        else:
            answers.append([result])
        call.store.execute("RELEASE one")
    return answers


def run(ground: Ground, who: Mapping[str, str], body: bytes) -> bytes:
    """The XML answer to one XML call. Raises what ``wire.read_call`` raises."""
    name, params = wire.read_call(body)
    try:
        refuse_offline(ground, name)
        with ground.store.transaction():
            call = open_call(ground, who, name)
            result = invoke(call, name, params)
            keep_number(call, who)
    except HubFault as error:
        return wire.fault(error)
    return wire.answer(result)


def refuse_offline(ground: Ground, name: str) -> None:
    """Raise ServerOffline where the sandbox was told to play an outage; log-ins work during maintenance."""
    text = str(ground.store.setting("koji_offline", ""))
    if text and not ("maintenance" in text and name in LOG_INS):
        raise HubFault(wire.OFFLINE, text)


def keep_number(call: Call, who: Mapping[str, str]) -> None:
    """Remember the number of a call that changed something."""
    if call.session is not None and call.wrote:
        call.store.execute(
            "UPDATE koji_session SET callnum = ? WHERE id = ?",
            int(who.get("callnum", "0")),
            call.session["id"],
        )


def _who(request: Request) -> dict[str, str]:
    query, headers = request.query_params, request.headers
    who: dict[str, str] = {}
    for name in ("session-id", "session-key", "callnum"):
        header = headers.get(f"koji-session-{name.removeprefix('session-')}")
        value = header if header is not None else query.get(name)
        if value is not None:
            who[name] = value
    # A TLS front before the real hub tells it who came with a certificate or a ticket; a test's front does too.
    for header, kind in (("x-ssl-client-cn", "2"), ("x-remote-user", "3")):
        if header in headers:
            who |= {"client": headers[header], "kind": kind}
    return who


UPLOAD: list[Callable[[Ground, Mapping[str, str], Mapping[str, str], bytes], bytes]] = []


async def endpoint(request: Request) -> Response:
    """``POST`` below ``/kojihub``: XML is a call, bytes are a part of an upload."""
    ground: Ground = request.app.state.ground
    version, strict = version_of(ground)
    headers = {"Koji-Version": version} if strict else {}
    if request.method != "POST":
        text = "Method Not Allowed\nThis is an XML-RPC server. Only POST requests are accepted.\n"
        return PlainTextResponse(text, 405, {**headers, "Allow": "POST", "Content-Type": "text/plain"})
    try:
        body = await request.body()
    except ClientDisconnect:
        return Response(status_code=400)
    if request.headers.get("content-type") == "application/octet-stream":
        answer = UPLOAD[0](ground, _who(request), request.query_params, body)
        return Response(answer, headers={**headers, "Content-Type": "text/xml"})
    problem = "Empty request" if not body else "Request too long" if len(body) > LONGEST_REQUEST else ""
    if not problem:
        try:
            answer = run(ground, _who(request), body)
        except (ExpatError, ResponseError) as error:
            problem = str(error)
        else:
            ground.wake()
            return Response(answer, headers={**headers, "Content-Type": "text/xml"})
    text = f"Invalid request: {problem}\n"
    return PlainTextResponse(text, 400, {**headers, "Content-Type": "text/plain"})


ROUTES = [
    Route(BASE, endpoint, methods=["GET", "POST"]),
    Route(BASE + "/{rest:path}", endpoint, methods=["GET", "POST"]),
]
