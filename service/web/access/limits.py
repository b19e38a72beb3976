"""What a request that writes may cost: a rate, and a body of a type, a size and a time."""

from __future__ import annotations

import asyncio
import re
from hashlib import sha256

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.base.context import context_of
from service.web.base.errors import answer_problem
from service.web.base.problem import Problem

READING = frozenset({"GET", "HEAD", "OPTIONS"})
# The webhook has limits of its own, counted while it reads.
NOT_HERE = ("/webhooks/",)
BODY_SECONDS = 15.0

_JSON = re.compile(r"application/(?:json|[\w.\-]+\+json)", re.ASCII)


class WriteLimits:
    """ASGI middleware around everything that writes, except the webhook: rate, then type, size and time of the body."""

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
    """The body that was read, once more for the application; after it, what the server says."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
