"""A tag on every answer that is read as JSON, so that who has it already gets three lines instead."""

from __future__ import annotations

from hashlib import sha256

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Tags:
    """ASGI middleware: ETag and 304 for JSON under /api/v1 that has no tag of its own."""

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
