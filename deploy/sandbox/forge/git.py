"""Serves git over HTTP with git's own server program; the owner of a token may push to their own forks.

It is there below ``/git``, and below ``/pagure`` as Fedora's dist-git has it: with and without ``.git``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.forge import core
from sandbox.ground import Ground

WRITES = "git-receive-pack"


def _caller(ground: Ground, request: Request) -> str:
    """Return the user of a request with a name and a token; empty for any other."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        name, _, token = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    account = core.account_of(ground.store, token) if scheme.lower() == "basic" else None
    return name if account is not None and account["name"] == name else ""


async def serve(request: Request) -> Response:
    """Answer one request of git's smart protocol."""
    ground: Ground = request.app.state.ground
    asked = str(request.path_params["path"]).removesuffix(".git")
    service = next(name for name in SERVICES if request.url.path.endswith(f"/{name}"))
    path = f"{asked}.git/{service}"
    user = _caller(ground, request)
    if WRITES in (service, request.query_params.get("service")):
        if not user:
            headers = {"WWW-Authenticate": 'Basic realm="sandbox"'}
            return PlainTextResponse("a token is needed", 401, headers)
        if not path.startswith(f"forks/{user}/"):
            return PlainTextResponse("you may not push here", 403)
    body = await request.body()
    environment = {
        "PATH": os.environ.get("PATH", os.defpath), "GIT_PROJECT_ROOT": str(ground.state_dir / "dist-git"),
        "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": f"/{path}", "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.url.query, "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)), "REMOTE_USER": user, "REMOTE_ADDR": "127.0.0.1",
        "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        "GIT_PROTOCOL": request.headers.get("git-protocol", ""), "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        "git", "http-backend", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment
    )
    output, _ = await child.communicate(body)
    head, _, content = output.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode().splitlines()]
    headers = {name: value for name, _, value in lines}
    status = int(headers.pop("Status", "200").split()[0])
    return Response(content, status, headers)


SERVICES = {"info/refs": "GET", "git-upload-pack": "POST", WRITES: "POST"}
ROUTES = [
    Route(f"{root}/{{path:path}}/{service}", serve, methods=[method])
    for root in ("/git", "/pagure")
    for service, method in SERVICES.items()
]
