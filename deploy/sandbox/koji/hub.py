"""The hub's one endpoint: XML-RPC calls and uploads, with their sessions, call numbers and transactions.

A method is a plain function of a ``Call`` and its arguments. What it changed is committed, together with the
call's number, before the answer leaves; a fault rolls everything back and leaves no number behind. In XML-RPC as the
hub speaks it there are ``nil``, ``i8`` above 31 bits, times as text, and keyword arguments as a last struct. Uploads
come in chunks below ``cli-build/``, each with its checksum, and belong to who came first.
"""

from __future__ import annotations

import inspect
import re
import time
import xmlrpc.client
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from xml.parsers.expat import ExpatError
from xmlrpc.client import ResponseError

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.ground import Ground
from sandbox.store import Row, Store

HEAD = "<?xml version='1.0'?>\n"
MARK = "__starstar"
BASE = "/kojihub"
VERSION = "1.35.3"
LONGEST_REQUEST = 4 * 1024 * 1024
# From this version on the hub names itself in a header, and a repeated number is refused.
FIRST_STRICT = (1, 35)
LOG_INS = frozenset({"login", "sslLogin"})
# The real hub shows its own folder in these texts.
SHOWN = "/mnt/koji/work"
FOLDER = re.compile(r"cli-build(/[A-Za-z0-9][\w.+~-]*)+", re.ASCII)
FILE = re.compile(r"[A-Za-z0-9_][\w.+~^-]*", re.ASCII)


class HubFault(Exception):
    """A fault with one of Koji's codes; 1 stands for what the hub did not expect."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class FaultCode:
    """Koji's own numbers for faults; its client turns them into exception classes."""

    UNEXPECTED = 1
    GENERIC = 1000
    AUTH = 1002
    DENIED = 1004
    BUILD = 1005
    EXPIRED = 1007
    SEQUENCE = 1008
    RETRY = 1009
    OFFLINE = 1014
    PARAMETER = 1019


class _Marshaller(xmlrpc.client.Marshaller):
    # The standard library refuses what is longer than 31 bits; the hub sends it as i8.
    dispatch: ClassVar[dict[Any, Any]] = dict(xmlrpc.client.Marshaller.dispatch)

    def dump_number(self, value: int, write: Callable[[str], object]) -> None:
        kind = "int" if -(2**31) <= value < 2**31 else "i8"
        write(f"<value><{kind}>{value}</{kind}></value>\n")

    dispatch[int] = dump_number


def _dump(value: Any) -> str:
    return _Marshaller("utf-8", True).dumps(value)


def answer_body(value: Any) -> bytes:
    """Return the body of a successful answer."""
    return f"{HEAD}<methodResponse>\n{_dump((value,))}</methodResponse>\n".encode()


def fault_body(error: HubFault) -> bytes:
    """Return the body of a fault, which travels with status 200."""
    return fault_text(error.code, error.text).encode()


def fault_text(code: int, text: str) -> str:
    """Return a fault as the hub also stores it as the result of a failed task."""
    return f"{HEAD}<methodResponse>\n{_dump(xmlrpc.client.Fault(code, text))}</methodResponse>\n"


def call_text(method: str, params: list[Any]) -> str:
    """Return a call as the hub stores it as the request of a task."""
    return f"{HEAD}<methodCall>\n<methodName>{method}</methodName>\n{_dump(tuple(params))}</methodCall>\n"


def read_call(body: bytes) -> tuple[str, list[Any]]:
    """Return method and parameters of a request. Raises ``ExpatError`` and ``ResponseError``."""
    params, method = xmlrpc.client.loads(body, use_builtin_types=True)
    return method or "", list(params)


def split_arguments(params: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and keyword arguments: the last struct holds the latter only if it carries the mark."""
    if params and isinstance(params[-1], dict) and params[-1].get(MARK):
        *positional, last = params
        return positional, {key: value for key, value in last.items() if key != MARK}
    return params, {}


def time_text(seconds: float | None) -> str | None:
    """Return epoch seconds as the hub writes a time."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="microseconds")


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
        """Return the caller's id. Raises HubFault where nobody is logged in."""
        if self.user is None:
            raise HubFault(FaultCode.DENIED, "you must be logged in for this operation")
        return int(self.user["id"])

    def event(self) -> int:
        """Make an event, and return its number."""
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
    """Return the version that the hub plays, and whether it is one that refuses repeated numbers."""
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
        raise HubFault(FaultCode.AUTH, "Invalid session or bad credentials") from None
    session = store.one(
        "SELECT * FROM koji_session WHERE id = ? AND key = ? AND NOT closed", number, who.get("session-key")
    )
    if session is None:
        raise HubFault(FaultCode.AUTH, "Invalid session or bad credentials")
    if session["expired"] and method not in LOG_INS:
        raise HubFault(FaultCode.EXPIRED, f'session "{number}" has expired')
    last = session["callnum"]
    # A renewal comes with the old counter, which begins at 0 for the client and nowhere for the hub.
    if last is not None and method not in LOG_INS:
        if callnum == last and version_of(ground)[1]:
            text = f"unable to retry call {callnum} (method {method}) for session {number}"
            raise HubFault(FaultCode.RETRY, text)
        if callnum < last:
            raise HubFault(FaultCode.SEQUENCE, f"{last} > {callnum} (session {number})")
    user = store.one("SELECT * FROM koji_user WHERE id = ?", session["user_id"])
    return Call(ground, session, user, client)


def invoke(call: Call, name: str, params: list[Any]) -> Any:
    """Run one method. Raises HubFault."""
    method = METHODS.get(name)
    if method is None:
        raise HubFault(FaultCode.GENERIC, f"Invalid method: {name}")
    positional, named = split_arguments(params)
    try:
        bound = inspect.signature(method.run).bind(call, *positional, **named)
    except TypeError as error:
        raise HubFault(FaultCode.PARAMETER, f"RootExports.{name}() {_python_words(str(error))}") from None
    result = method.run(*bound.args, **bound.kwargs)
    call.wrote = call.wrote or method.writes
    return result


def _python_words(text: str) -> str:
    return re.sub(r"^missing a required argument: ", "missing 1 required positional argument: ", text)


@rpc("multiCall")
def multi_call(call: Call, calls: list[dict[str, Any]]) -> list[Any]:
    """Run each call under a savepoint: the good ones are committed although a neighbour failed."""
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
    """Return the XML answer to one XML call. Raises what ``read_call`` raises."""
    name, params = read_call(body)
    try:
        refuse_offline(ground, name)
        with ground.store.transaction():
            call = open_call(ground, who, name)
            result = invoke(call, name, params)
            keep_number(call, who)
    except HubFault as error:
        return fault_body(error)
    return answer_body(result)


def refuse_offline(ground: Ground, name: str) -> None:
    """Raise ServerOffline where the sandbox was told to play an outage; log-ins work during maintenance."""
    text = str(ground.store.setting("koji_offline", ""))
    if text and not ("maintenance" in text and name in LOG_INS):
        raise HubFault(FaultCode.OFFLINE, text)


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


def work_path(ground: Ground, relative: str) -> Path:
    """Return where a name below the hub's work folder lies on this machine."""
    return ground.koji_files / "work" / relative


def receive_upload(ground: Ground, who: Mapping[str, str], query: Mapping[str, str], chunk: bytes) -> bytes:
    """Store one chunk of an upload, and return the XML answer."""
    try:
        refuse_offline(ground, "rawUpload")
        with ground.store.transaction():
            return answer_body(_store(ground, who, query, chunk))
    except HubFault as error:
        return fault_body(error)


def _store(ground: Ground, who: Mapping[str, str], query: Mapping[str, str], chunk: bytes) -> dict[str, Any]:
    if "session-id" not in who:
        raise HubFault(FaultCode.AUTH, "'session-id' not specified in session args")
    call = open_call(ground, who, "rawUpload")
    folder, name = query.get("filepath", ""), query.get("filename", "")
    if folder.startswith("tasks/"):
        raise HubFault(FaultCode.AUTH, f"User {call.user_id} is not a host")
    if not FOLDER.fullmatch(folder) or ".." in folder:
        raise HubFault(FaultCode.GENERIC, f"Invalid upload directory: {folder}")
    if not FILE.fullmatch(name):
        raise HubFault(FaultCode.GENERIC, f"Invalid upload filename: {name}")
    owner = ground.store.one("SELECT user_id FROM koji_upload WHERE path = ?", folder)
    if owner is None:
        ground.store.execute("INSERT INTO koji_upload VALUES (?, ?)", folder, call.user_id)
    elif owner["user_id"] != call.user_id:
        raise HubFault(FaultCode.GENERIC, f"Invalid upload directory, not owner: {folder}")
    path = work_path(ground, f"{folder}/{name}")
    offset = int(query.get("offset", "0"))
    if path.exists() and offset == 0 and not query.get("overwrite"):
        raise HubFault(FaultCode.GENERIC, f"upload path exists: {SHOWN}/{folder}/{name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if path.exists() and offset else "wb") as file:
        file.seek(offset)
        file.write(chunk)
    return {
        "size": len(chunk),
        "fileverify": query.get("fileverify", "adler32"),
        "offset": offset,
        "hexdigest": f"{zlib.adler32(chunk):08x}",
    }


@rpc("checkUpload")
def check_upload(
    call: Call, path: str, name: str, verify: str | None = None, tail: Any = None, volume: str | None = None
) -> dict[str, Any] | None:
    """Return size and time of an uploaded file, with ``verify`` also its checksum; None where there is none."""
    assert call.user_id
    if not FOLDER.fullmatch(path) or not FILE.fullmatch(name):
        return None
    file = work_path(call.ground, f"{path}/{name}")
    if not file.is_file():
        return None
    data = {"size": file.stat().st_size, "mtime": file.stat().st_mtime}
    if verify:
        content = file.read_bytes()
        data |= {"sumlength": len(content), "hexdigest": f"{zlib.adler32(content):08x}"}
    return data


async def endpoint(request: Request) -> Response:
    """Answer ``POST`` below ``/kojihub``: XML is a call, bytes are a part of an upload."""
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
        answer = receive_upload(ground, _who(request), request.query_params, body)
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
