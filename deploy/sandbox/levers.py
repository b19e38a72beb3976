"""Registers commands below ``/_sandbox``, with which tests and demonstrations tell the sandbox what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.ground import Ground

Command = Callable[[Ground, dict[str, Any], Request], Awaitable[Any]]
ROUTES: list[Route] = []


class BadCommand(ValueError):
    """A command that the sandbox cannot carry out; becomes an answer with ``status``."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


def keep_settings(ground: Ground, prefix: str, names: tuple[str, ...], data: dict[str, Any]) -> None:
    """Store those of the named values that ``data`` has, as settings that begin with ``prefix``."""
    with ground.store.transaction():
        for name in names:
            if name in data:
                ground.store.set_setting(f"{prefix}_{name}", data[name])


def command(method: str, path: str) -> Callable[[Command], Command]:
    """Register a command, whose result is the JSON answer; BadCommand and a missing key become errors."""

    def register(run: Command) -> Command:
        async def answer(request: Request) -> Response:
            ground: Ground = request.app.state.ground
            data: dict[str, Any] = {}
            if method != "GET":
                # A page in somebody's browser cannot send this type to us without being asked first.
                if request.headers.get("content-type") != "application/json":
                    return JSONResponse({"error": "send application/json"}, 415)
                data = await request.json()
            try:
                result = await run(ground, data, request)
            except BadCommand as error:
                return JSONResponse({"error": str(error)}, error.status)
            except KeyError as error:
                return JSONResponse({"error": f"{error} is missing"}, 400)
            ground.wake()
            return JSONResponse(result)

        ROUTES.append(Route("/_sandbox" + path, answer, methods=[method]))
        return run

    return register
