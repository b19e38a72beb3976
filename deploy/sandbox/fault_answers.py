"""Answers that no endpoint of the sandbox gives by itself: of proxies, filters and stopped databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Message

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
        """The ASGI message that begins it; the length is left to the sender."""
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


def custom(options: dict[str, Any]) -> Answer:
    """An answer from its parts: ``status``, ``json`` or ``body`` (text), ``content_type``, ``headers``."""
    if "json" in options:
        body, content_type = json.dumps(options["json"]), JSON_TYPE
    else:
        body, content_type = str(options.get("body", "")), HTML_TYPE
    content_type = options.get("content_type", content_type)
    return Answer(options["status"], content_type, body.encode(), options.get("headers", {}))
