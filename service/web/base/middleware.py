"""The ASGI middlewares around every request: log line, metrics and headers; limits on writes; ETags."""

from __future__ import annotations

import asyncio
import re
import time
from hashlib import sha256

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.base.context import context_of
from service.web.base.errors import answer_problem, crash_response
from service.web.base.problems import Problem

CONTENT_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
QUIET_PATHS = ("/healthz", "/readyz", "/metrics", "/static/")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
READING = frozenset({"GET", "HEAD", "OPTIONS"})
# The webhook has limits of its own, counted while it reads.
NOT_HERE = ("/webhooks/",)
BODY_SECONDS = 15.0

_JSON = re.compile(r"application/(?:json|[\w.\-]+\+json)", re.ASCII)

log = structlog.get_logger()


class EveryAnswer:
    """ASGI middleware around every request: log line, metrics, headers of security, and no traceback in an answer.

    It also answers HEAD as GET; the server leaves the body out.
    """

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
    scope["app"].state.context.metrics.count_request(
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


class WriteLimits:
    """ASGI middleware that limits writing requests, except the webhook: rate, then size, time and type of the body."""

    def __init__(self, app: ASGIApp, body_limit: int) -> None:
        self._app = app
        self._limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in READING or scope["path"].startswith(NOT_HERE):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            self._check_rate(request)
            body = await self._body(request)
            if body and request.url.path.startswith("/api/"):
                _check_type(request)
        except Problem as problem:
            await answer_problem(request, problem)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    def _check_rate(self, request: Request) -> None:
        rates = context_of(request).rates
        # The address first: whoever is over it must not fill the memory with made-up tokens.
        rates.take("address", request.client.host if request.client else "", "writes from one address")
        header = request.headers.get("authorization", "")
        if header:
            # By the whole text: whoever knows only a token's name cannot use up what its owner may do.
            rates.take("token", sha256(header.encode()).hexdigest(), "writes with one token")

    async def _body(self, request: Request) -> bytes:
        too_large = Problem(
            413, f"The body is over {self._limit} bytes, the most that is taken here; a repeat will not help."
        )
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > self._limit:
            raise too_large
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self._limit:
                        raise too_large
                    chunks.append(chunk)
        except TimeoutError:
            raise Problem(408, f"The body did not arrive within {BODY_SECONDS:g} seconds.") from None
        return b"".join(chunks)


def _check_type(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _JSON.fullmatch(media_type):
        raise Problem(415, "Send the body as JSON, with 'Content-Type: application/json'.")


def _replay(body: bytes, receive: Receive) -> Receive:
    """Make a ``receive`` that gives the application the body that was read, and after it the server's messages."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class ETags:
    """ASGI middleware that adds ETag and answers 304, for JSON under /api/v1 that has no ETag of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith("/api/v1/"):
            await self._app(scope, receive, send)
            return
        known = [part.strip() for part in Headers(scope=scope).get("if-none-match", "").split(",")]
        start: Message | None = None
        chunks: list[bytes] = []

        async def hold(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _wants_tag(message):
                start = message
                return
            if start is None:
                await send(message)
                return
            chunks.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = b"".join(chunks)
            tag = f'W/"{sha256(body).hexdigest()[:32]}"'
            headers = MutableHeaders(raw=start["headers"])
            headers["ETag"] = tag
            headers["Cache-Control"] = "no-cache"
            if tag in known:
                for name in ("content-length", "content-type"):
                    del headers[name]
                start["status"], body = 304, b""
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, hold)


def _wants_tag(message: Message) -> bool:
    headers = Headers(raw=message["headers"])
    return (
        message["status"] == 200
        and headers.get("content-type", "").startswith("application/json")
        and "etag" not in headers
        and headers.get("cache-control", "") != "no-store"
    )
