"""Around every request: one log line, one count, careful headers, and never a traceback."""

from __future__ import annotations

import time

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.base.errors import crash_response

CONTENT_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
QUIET_PATHS = ("/healthz", "/readyz", "/metrics", "/static/")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger()


class EveryAnswer:
    """ASGI middleware. It also answers HEAD as GET; the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        inner = {**scope, "method": "GET"} if method == "HEAD" else scope
        started = time.perf_counter()
        status = 0

        async def send_careful(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(scope=message))
            await send(message)

        try:
            await self._app(inner, receive, send_careful)
        except Exception as error:
            if status:
                # Half an answer is out already: breaking the connection is the only honest end.
                raise
            await crash_response(Request(inner, receive), error)(inner, receive, send_careful)
        finally:
            _record(inner, method, status, time.perf_counter() - started)


def _add_headers(headers: MutableHeaders) -> None:
    headers.setdefault("Content-Security-Policy", CONTENT_POLICY)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["X-Frame-Options"] = "DENY"


def _record(scope: Scope, method: str, status: int, seconds: float) -> None:
    path = scope["path"]
    # The pattern, not the address: addresses have no bound, and a query is no business of a log.
    route = getattr(scope.get("route"), "path", "") or ("/static" if path.startswith("/static/") else "none")
    scope["app"].state.context.figures.count_request(
        method if method in METHODS else "other", route, status, seconds
    )
    note = log.debug if path.startswith(QUIET_PATHS) and status < 400 else log.info
    note(
        "request",
        method=method,
        path=path[:200],
        status=status,
        ms=round(seconds * 1000, 1),
        client=scope["client"][0] if scope.get("client") else "",
    )
