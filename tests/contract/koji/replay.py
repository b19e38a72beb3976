"""Sends the captured calls of ``payloads/koji/calls.jsonl`` to the sandbox hub and makes both sides comparable."""

from __future__ import annotations

import base64
import json
import re
import xmlrpc.client
from pathlib import Path
from typing import Any

import requests

from sandbox.testing import Farm

PAYLOADS = Path(__file__).parents[2] / "payloads/koji"
CALLS: dict[int, dict[str, Any]] = {
    call["n"]: call for call in map(json.loads, (PAYLOADS / "calls.jsonl").read_text().splitlines())
}
LONG = "x" * 4_300_000
COUNTED = {
    "size",
    "sumlength",
    "st_size",
    "buildtime",
    "brootid",
    "buildroot_id",
    "payloadhash",
    "hexdigest",
    "volume_id",
}
IDS = {
    "id", "parent", "owner", "build_id", "task_id", "host_id", "owner_id", "package_id", "creation_event_id",
    "build_tag", "dest_tag", "session-id", "user_id",
}  # fmt: skip


def masked(text: str) -> str:
    """A text without ids, keys, and what a traceback of another program says."""
    text = re.sub(r"\b(\d+)-(EXAMPLEKEY\w+|[A-Za-z0-9]{19})\b", "KEY", text)
    text = re.sub(r"tasks/\d+/\d+/", "tasks/N/N/", text)
    text = re.sub(
        r"((?:[Tt]ask|call|session|User)[: ]+\"?|id=|'task_id': |'pkg_id': |'owner': |-side-)\d+",
        r"\1N",
        text,
    )
    text = re.sub(r"1\.36\.\d+", "1.36.N", text)
    text = re.sub(r"(, ?\"custom_user_metadata\": \{[^}]*\})", "", text)
    if text.startswith("Traceback"):
        # Only the line of the exception itself is told by name; what a database adds to it is its own.
        text = "\n".join(
            text.split("\n")[:1] + [line for line in text.split("\n") if re.match(r"\w+(\.\w+)*: ", line)]
        )
    return text


def normal(value: Any, key: str = "") -> Any:
    """A result without what differs from hub to hub; types and everything else stay."""
    if isinstance(value, dict):
        return {re.sub(r"^\d+$", "ID", name): normal(item, name) for name, item in value.items()}
    if isinstance(value, list):
        items = [normal(item, "id" if key == "request" and type(item) is int else "") for item in value]
        named = all(isinstance(item, str) for item in items)
        return sorted(items) if named and key != "traceback" else items
    if value is None or isinstance(value, bool):
        return value
    if key in IDS and isinstance(value, int | str):
        return f"ID {type(value).__name__}"
    if key in COUNTED:
        return type(value).__name__
    if key.startswith("st_") or key.endswith(("_ts", "mtime")):
        return f"TIME {type(value).__name__}"
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00", value):
        return "TIME"
    return masked(value) if isinstance(value, str) else value


def _without_fresh_ids(request: dict[str, Any], told: Any) -> Any:
    """The ids of new tasks, counts, and the content of logs are each hub's own."""
    method = (request.get("decoded") or {}).get("method")
    result = told.get("result") if isinstance(told, dict) else None
    if isinstance(result, int) and not isinstance(result, bool):
        return {"result": type(result).__name__}
    if method == "multiCall" and isinstance(result, list):
        return {
            "result": [["ID"] if isinstance(one, list) and isinstance(one[0], int) else one for one in result]
        }
    if method == "downloadTaskOutput" and isinstance(result, str):
        return {"result": len(base64.b64decode(result))}
    if method == "getBuildLogs" and isinstance(result, list):
        return {"result": sorted(result, key=lambda log: (log["dir"], log["name"]))}
    return told


def decoded(body: bytes) -> Any:
    """What an answer holds: ``{"result"}`` or ``{"fault"}``; text where it is not XML."""
    if not body.startswith(b"<?xml"):
        return body.decode()
    try:
        (value,), _ = xmlrpc.client.loads(body, use_builtin_types=True)
    except xmlrpc.client.Fault as fault:
        return {"fault": {"code": fault.faultCode, "string": fault.faultString}}
    return {"result": value}


class Replay:
    """Keeps ``{n: [(expected, answered), ...]}``, one pair an exchange that was answered in the capture."""

    def __init__(self, farm: Farm, srpm: bytes, owner: int) -> None:
        self.farm, self.srpm, self.owner = farm, srpm, owner
        self.http = requests.Session()
        self.http.trust_env = False
        self.sessions: dict[str, dict[str, Any]] = {}
        self.ids: dict[int, int] = {}
        self.names: dict[str, str] = {}
        self.results: dict[int, list[tuple[Any, Any]]] = {}

    def pair(self, *numbers: int) -> None:
        """Replay these calls, exchange by exchange."""
        for n in numbers:
            self.results[n] = []
            for exchange in CALLS[n]["exchanges"]:
                self._exchange(n, exchange)

    def _exchange(self, n: int, exchange: dict[str, Any]) -> None:
        request, response = exchange["request"], exchange["response"]
        if exchange.get("injected_fault") == "drop_after":
            self.farm.koji.fault("answer_lost", "build")
        try:
            answer = self.http.request(
                request["method"], self._address(request), data=self._body(request), headers=self._headers(request),
                timeout=20,
            )  # fmt: skip
        except requests.ConnectionError:
            assert exchange.get("injected_fault") == "drop_after", n
            return
        told = decoded(answer.content)
        expected = response.get("decoded", response.get("body"))
        self._learn(request, expected, told)
        told, expected = _without_fresh_ids(request, told), _without_fresh_ids(request, expected)
        headers = {name: answer.headers.get(name) for name in response["headers"] if name != "Content-Length"}
        wanted = {name: value for name, value in response["headers"].items() if name != "Content-Length"}
        self.results[n].append(
            (
                (response["status"], wanted, normal(expected)),
                (answer.status_code, headers, normal(told)),
            )
        )

    def _address(self, request: dict[str, Any]) -> str:
        target = str(request["target"])
        for captured, ours in self.sessions.items():
            target = target.replace(
                f"session-id={captured}&session-key={ours['captured-key']}",
                f"session-id={ours['session-id']}&session-key={ours['session-key']}",
            )
        return self.farm.koji_url + target

    def _headers(self, request: dict[str, Any]) -> dict[str, str]:
        headers = {name: value for name, value in request["headers"].items() if name != "Content-Length"}
        ours = self.sessions.get(headers.get("Koji-Session-Id", ""))
        if ours is not None:
            headers |= {"Koji-Session-Id": str(ours["session-id"]), "Koji-Session-Key": ours["session-key"]}
        if request["target"].endswith("/ssllogin"):
            headers["X-SSL-Client-CN"] = "cryopack-svc"
        return headers

    def _body(self, request: dict[str, Any]) -> bytes | None:
        call = request.get("decoded")
        if call is not None:
            params = self._ours(call["params"])
            return encode(call["method"], params)
        match = re.search(r"filename=(\S+?)&.*offset=(\d+)", request["target"])
        if match and request["body"] is None:
            offset = int(match[2])
            size = int(request["headers"]["Content-Length"])
            return self.srpm[offset : 4096 if size == 4096 else None] if size else b""
        if request["body"] is None:
            return encode("echo", [LONG])
        return str(request["body"]).encode() if request["method"] == "POST" else None

    def _ours(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self._ours(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self._ours(item) for item in value]
        if key == "session_id":
            return self.sessions[str(value)]["session-id"] if str(value) in self.sessions else value
        if isinstance(value, int) and not isinstance(value, bool):
            return self.owner if key == "owner" else self.ids.get(value, value)
        return self.names.get(value, value) if isinstance(value, str) else value

    def _learn(self, request: dict[str, Any], expected: Any, told: Any) -> None:
        method = (request.get("decoded") or {}).get("method")
        if method in {"login", "sslLogin"} and "result" in told:
            self.know_session(
                str(expected["result"]["session-id"]), told["result"], expected["result"]["session-key"]
            )
        elif method in {"build", "resubmitTask"} and "result" in told:
            self.ids[expected["result"]] = told["result"]
        elif method == "createSideTag" and "result" in told:
            self.names[expected["result"]["name"]] = told["result"]["name"]

    def know_session(self, captured: str, ours: dict[str, Any], key: str) -> None:
        """Send our session wherever the capture sent that one."""
        self.sessions[captured] = {**ours, "captured-key": key}

    def call(self, method: str, *params: Any, session: str = "", number: int = 0) -> Any:
        """The result of a call of our own, under a captured session's name."""
        return self.ask(method, *params, session=session, number=number)["result"]

    def ask(self, method: str, *params: Any, session: str = "", number: int = 0) -> Any:
        """The same, with a fault as an answer like any other."""
        headers = {"Content-Type": "text/xml"}
        if session:
            ours = self.sessions[session]
            headers |= {
                "Koji-Session-Id": str(ours["session-id"]), "Koji-Session-Key": ours["session-key"],
                "Koji-Session-Callnum": str(number),
            }  # fmt: skip
        answer = self.http.post(
            self.farm.koji_url + "/kojihub", encode(method, list(params)), headers=headers, timeout=20
        )
        return decoded(answer.content)

    def upload(self, n: int) -> None:
        """The upload of a capture, before its time has come."""
        request = CALLS[n]["exchanges"][0]["request"]
        self.http.post(
            self._address(request), self._body(request), headers=self._headers(request), timeout=20
        )

    def login(self, captured: str, user: str, password: str, key: str = "") -> None:
        """A session of our own that stands for a captured one."""
        self.know_session(captured, self.call("login", user, password), key)

    def finish(self, captured: int, steps: int = 30) -> dict[str, int]:
        """Let a task live to its end; its children's ids by label."""
        self.farm.koji.step(self.ids[captured], steps)
        return {
            one["label"]: one["id"] for one in self.farm.koji.tasks("") if one["parent"] == self.ids[captured]
        }


def encode(method: str, params: list[Any]) -> bytes:
    """A call with numbers of any length."""
    text = xmlrpc.client.dumps(tuple(_short(param) for param in params), method, allow_none=True)
    return re.sub(r"<string>LONG:(-?\d+)</string>", r"<i8>\1</i8>", text).encode()


def _short(value: Any) -> Any:
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        return f"LONG:{value}"
    if isinstance(value, list):
        return [_short(item) for item in value]
    return value
