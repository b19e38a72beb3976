"""Spoils requests as networks, proxies and servers do: lost answers, silence, foreign pages, broken downloads.

A rule names a method and a path (both may be shell patterns), a kind, how many requests it spoils and
how many it lets pass first. Rules are rows, so that they outlive a restart of the sandbox.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.ground import Ground
from sandbox.store import Row

JSON_TYPE, HTML_TYPE = "application/json", "text/html"
BUG = {"error": "Request wasn't successful, there is probably a bug in the Copr code."}
PLAIN_500 = (
    "<html>\n  <head>\n    <title>Internal Server Error</title>\n  </head>\n  <body>\n"
    "    <h1><p>Internal Server Error</p></h1>\n    \n  </body>\n</html>\n"
)


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    content_type: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def start(self) -> Message:
        """Return the ASGI message that begins the answer; the length is left to the sender."""
        pairs = {"content-type": self.content_type, **self.headers}
        headers = [(name.lower().encode(), value.encode()) for name, value in pairs.items()]
        return {"type": "http.response.start", "status": self.status, "headers": headers}


def _json(status: int, body: Any, **headers: str) -> Callable[[str], Answer]:
    answer = Answer(status, JSON_TYPE, json.dumps(body).encode(), headers)
    return lambda url: answer


def _html(status: int, body: str, **headers: str) -> Callable[[str], Answer]:
    answer = Answer(status, HTML_TYPE, body.encode(), headers)
    return lambda url: answer


def _expired(url: str) -> Answer:
    text = f"Login invalid/expired. Please visit {url}/api to get or renew your API token."
    return Answer(401, JSON_TYPE, json.dumps({"output": "notok", "error": text}).encode())


def _redirect(url: str) -> Answer:
    return Answer(302, HTML_TYPE, b"<html>moved", {"location": f"{url}/api_3/"})


RETRY = {"retry-after": "30"}
# Answers that no endpoint of the sandbox gives by itself: of proxies, filters and stopped databases.
ANSWERS: dict[str, Callable[[str], Answer]] = {
    "expired_token": _expired,
    "forbidden": _json(403, {"error": "User packbot is not allowed to build in this copr"}),
    "conflict": _json(409, {"error": "Can't drop chroot from project, a build is still in progress"}),
    "too_many": _json(429, {"message": "slow"}, **RETRY),
    "too_many_html": _html(429, "<html>slow down", **RETRY),
    "server_error": _json(500, BUG),
    "bare_500": _html(500, PLAIN_500),
    "bad_gateway": _html(502, "<html>Bad GW"),
    "unavailable": _html(503, "<html>unavailable", **RETRY),
    "unavailable_json": _json(503, {}),
    "gateway_timeout": _html(504, "<html>timeout"),
    "html_200": _html(200, "<html>maintenance"),
    "no_content": lambda url: Answer(204, "text/plain", b""),
    "redirect": _redirect,
    "missing": _html(404, "<html>not found"),
    "rate_limited": _json(
        403,
        {
            "message": "API rate limit exceeded for 127.0.0.1.",
            "documentation_url": "https://docs.github.com/rest",
        },
        **{"x-ratelimit-remaining": "0", "retry-after": "60"},
    ),
}


def custom_answer(options: dict[str, Any]) -> Answer:
    """Return an answer made of ``status``, ``json`` or ``body`` (text), ``content_type``, ``headers``."""
    if "json" in options:
        body, content_type = json.dumps(options["json"]), JSON_TYPE
    else:
        body, content_type = str(options.get("body", "")), HTML_TYPE
    content_type = options.get("content_type", content_type)
    return Answer(options["status"], content_type, body.encode(), options.get("headers", {}))


CONTROL = "/_sandbox"
KOJI = "/kojihub"
BEHAVIOURS = {
    "dropped": "the connection is closed and nothing is handled",
    "answer_lost": "handled and committed, then the connection is closed without an answer",
    "hang": "nothing is handled; `seconds` of silence, then the connection is closed",
    "slow_answer": "handled and committed at once; the answer comes after `seconds`",
    "late_commit": "handled only after `seconds`, even if the client has gone by then",
    "twice": "handled twice, as by a proxy that repeats a request; the second answer is sent",
    "states": "the answer's `state` fields are replaced by the next one of the list `states`",
    "shift": "`by` foreign builds appear in the project before the list is read",
    "truncated": "half of the body, then the connection is closed",
    "stall": "half of the body, then `seconds` of silence, then the connection is closed",
    "wrong_length": "a complete answer whose Content-Length and body both lack the last bytes",
    "answer": "the answer given by `status`, `body` (or `json`) and `headers`",
}
SPOILED_ARCHIVES = {
    "traversal": "an archive with a member outside of its root",
    "bomb": "an archive that grows to gigabytes",
    "wrong_version": "an archive whose version.go names another version",
    "changed": "an archive with other content under the same tag and commit",
}
KINDS = {**BEHAVIOURS, **SPOILED_ARCHIVES, **dict.fromkeys(ANSWERS, "the canned answer of that name")}
DEFAULT_SECONDS = 30.0
CUT_BYTES = 512


class Faults:
    """The outermost ASGI layer: spoils requests by rule, and remembers the newest ones for tests that count them."""

    def __init__(self, app: ASGIApp, ground: Ground) -> None:
        self.app = app
        self.ground = ground
        self.seen: deque[dict[str, Any]] = deque(maxlen=5000)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL):
            await self.app(scope, receive, send)
            return
        # The real server takes every path with and without a slash at its end, and never redirects for it.
        if scope["path"].startswith("/api_3/") and scope["path"] != "/api_3/":
            scope["path"] = scope["path"].rstrip("/")
        path = scope["path"]
        if path.startswith(KOJI) and scope["method"] == "POST":
            # All calls of a hub have one address, so rules and tests see the method behind it.
            body = await _body(receive)
            if body is None:
                return
            path = f"{KOJI}/{_rpc_name(scope, body)}"
            receive = _resend(body)
        self.seen.append(
            {
                "at": time.time(),
                "method": scope["method"],
                "path": path,
                "query": scope["query_string"].decode(),
            }
        )
        rule = self.take(scope["method"], path)
        if rule is None:
            await self.app(scope, receive, send)
        else:
            await self._spoil(rule, scope, receive, send)

    def take(self, method: str, path: str) -> Row | None:
        """Return the oldest rule that spoils this request, already counted."""
        store = self.ground.store
        for rule in store.all("SELECT * FROM fault ORDER BY id"):
            if not fnmatch.fnmatchcase(method, rule["method"]) or not fnmatch.fnmatchcase(path, rule["path"]):
                continue
            turn = rule["served"]
            if rule["times"] is not None and turn >= rule["skip"] + rule["times"]:
                continue
            with store.transaction():
                store.execute("UPDATE fault SET served = served + 1 WHERE id = ?", rule["id"])
            if turn >= rule["skip"]:
                return rule
        return None

    async def _spoil(self, rule: Row, scope: Scope, receive: Receive, send: Send) -> None:
        kind, options = rule["kind"], json.loads(rule["options"])
        seconds = float(options.get("seconds", DEFAULT_SECONDS))
        if kind in SPOILED_ARCHIVES:
            scope["fault"] = kind
            await self.app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            return
        if kind == "dropped":
            await _close(scope)
        elif kind == "hang":
            await asyncio.sleep(seconds)
            await _close(scope)
        elif kind == "answer_lost":
            await self._handle(scope, body)
            await _close(scope)
        elif kind == "late_commit":
            await asyncio.sleep(seconds)
            await _replay(await self._handle(scope, body), send)
        elif kind == "slow_answer":
            messages = await self._handle(scope, body)
            await asyncio.sleep(seconds)
            await _replay(messages, send)
        elif kind == "twice":
            await self._handle(scope, body)
            await _replay(await self._handle(scope, body), send)
        elif kind == "shift":
            self._shift(scope, int(options.get("by", 1)))
            await _replay(await self._handle(scope, body), send)
        elif kind == "states":
            states = options["states"]
            state = states[(rule["served"] - rule["skip"]) % len(states)]
            await _send_whole(send, *_with_state(await self._handle(scope, body), state))
        elif kind in {"truncated", "stall", "wrong_length"}:
            await _cut(kind, seconds, scope, await self._handle(scope, body), send)
        else:
            if options.get("when") == "after":
                await self._handle(scope, body)
            answer = custom_answer(options) if kind == "answer" else ANSWERS[kind](self.ground.copr_url)
            await _send_whole(send, answer.start(), answer.body)

    async def _handle(self, scope: Scope, body: bytes) -> list[Message]:
        """Let the endpoint run to its end, whether or not the client still listens, and return its messages."""
        sent: list[Message] = []
        pending = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return pending.pop() if pending else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app({**scope, "extensions": {}}, receive, send)
        return sent

    def _shift(self, scope: Scope, by: int) -> None:
        """Insert cancelled builds of somebody else, which push the others towards later pages."""
        query = parse_qs(scope["query_string"].decode())
        store = self.ground.store
        project = store.one(
            "SELECT * FROM project WHERE owner = ? AND name = ?",
            query.get("ownername", [""])[0],
            query.get("projectname", [""])[0],
        )
        if project is None:
            return
        with store.transaction():
            for _ in range(by):
                store.execute(
                    "INSERT INTO build (project_id, dirname, submitter, submitted_on, source_type,"
                    " source_dict, source_state, source_url, options, canceled, confirmed)"
                    " VALUES (?, ?, 'somebody', ?, 'link', '{}', 'pending', ?, '{}', 1, 1)",
                    project["id"],
                    project["name"],
                    int(time.time()),
                    "http://127.0.0.1/somebody-elses-1-1.src.rpm",
                )


def _rpc_name(scope: Scope, body: bytes) -> str:
    """Return the method of an XML-RPC request, or ``upload``."""
    if b"filename=" in scope["query_string"]:
        return "upload"
    match = re.search(rb"<methodName>(\w+)</methodName>", body[:400])
    return match[1].decode() if match else "unknown"


def _resend(body: bytes) -> Receive:
    """Return a receiver that gives a body that was read already once more."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


async def _body(receive: Receive) -> bytes | None:
    """Return the whole request body, or None when the client left before its end."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _close(scope: Scope, *, flush: bool = False) -> None:
    """Close the client's connection; ``flush`` lets what was written reach it first."""
    transport = scope["state"]["transport"]
    if flush:
        transport.close()
    else:
        transport.abort()
    # The server learns of it in the next turns of the loop, and must before this request ends.
    while not scope["state"]["closed"].is_set():
        await asyncio.sleep(0)


async def _replay(messages: list[Message], send: Send) -> None:
    for message in messages:
        await send(message)


def _whole(messages: list[Message]) -> tuple[Message, bytes]:
    return messages[0], b"".join(message.get("body", b"") for message in messages[1:])


async def _send_whole(send: Send, start: Message, body: bytes) -> None:
    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    if start["status"] not in {204, 304}:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({**start, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_state(messages: list[Message], state: str) -> tuple[Message, bytes]:
    start, body = _whole(messages)
    data = json.loads(body)
    for item in data.get("items", [data]):
        if "state" in item:
            item["state"] = state
    return start, json.dumps(data).encode()


async def _cut(kind: str, seconds: float, scope: Scope, messages: list[Message], send: Send) -> None:
    start, body = _whole(messages)
    if kind == "wrong_length":
        await _send_whole(send, start, body[:-CUT_BYTES])
        return
    await send(start)
    await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
    if kind == "stall":
        await asyncio.sleep(seconds)
    await _close(scope, flush=True)


def rule_problem(kind: str, options: dict[str, Any]) -> str:
    """Return what is wrong with a rule, or an empty text."""
    if kind not in KINDS:
        return f"unknown kind '{kind}'; there are: {', '.join(sorted(KINDS))}"
    if kind == "states" and not options.get("states"):
        return "the kind 'states' needs a list `states`"
    if kind == "answer" and not isinstance(options.get("status"), int):
        return "the kind 'answer' needs a number `status`"
    return ""


__all__ = ["KINDS", "Answer", "Faults", "rule_problem"]
