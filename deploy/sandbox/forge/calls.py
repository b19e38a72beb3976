"""Reads a call to one of the forge's APIs, and sends what its handler returns or refuses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.forge import core
from sandbox.ground import Ground


class Refused(Exception):
    """An answer that is not a success, with a body in the shape of the API that gives it."""

    def __init__(self, status: int, text: str, body: dict[str, Any]) -> None:
        super().__init__(text)
        self.response = JSONResponse(body, status)


class Call:
    """One request: its path, its query, and the account of its token, None for a token that does not hold."""

    def __init__(self, request: Request) -> None:
        self.ground: Ground = request.app.state.ground
        self.path = request.path_params
        self.query = request.query_params
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        self.account = core.account_of(self.ground.store, token) if scheme == "token" else None
        self.may_fork = bool(self.account and self.account["forks"])


def answering(
    run: Callable[[Request, bytes], Any], status: int = 200
) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that sends as JSON what ``run`` makes of a request and its body."""

    async def answer(request: Request) -> Response:
        raw = await request.body()
        try:
            return JSONResponse(run(request, raw), status)
        except Refused as refused:
            return refused.response

    return answer
