"""The command line: serves COPR, Koji and the mirror on three loopback ports, and says in JSON when it is ready."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox import control, levers
from sandbox.building.real_build import Toolchain
from sandbox.copr import accounts as copr_accounts
from sandbox.copr import api as copr_api
from sandbox.copr import builds as copr_builds
from sandbox.copr import chroots as copr_chroots
from sandbox.copr import packages as copr_packages
from sandbox.copr import pages as copr_pages
from sandbox.copr import projects as copr_projects
from sandbox.farm import Sandbox
from sandbox.faults import Faults
from sandbox.forge import control as forge_control
from sandbox.forge import forgejo as forge_forgejo
from sandbox.forge import git as forge_git
from sandbox.forge import lookaside
from sandbox.forge import pages as forge_pages
from sandbox.forge import pagure as forge_pagure
from sandbox.forge.dist_git import DistGit
from sandbox.koji import builds as koji_builds
from sandbox.koji import control as koji_control
from sandbox.koji import hub as koji_hub
from sandbox.koji import outputs as koji_outputs
from sandbox.koji import sessions as koji_sessions
from sandbox.koji import tasks as koji_tasks
from sandbox.mirror import server as mirror
from sandbox.mirror.releases import PUBLISH

DEFAULT_PACE = 3.0
REAL = ("off", "auto", "on")
PATIENCE = 30.0
# Importing these modules is what registers their endpoints, methods and commands.
API_MODULES = (
    copr_accounts,
    copr_builds,
    copr_chroots,
    copr_packages,
    copr_projects,
    control,
    forge_control,
    koji_builds,
    koji_control,
    koji_sessions,
    koji_tasks,
)


log = logging.getLogger("sandbox.command")


class Connection(HttpToolsProtocol):
    """A connection that the fault layer can close: it finds the transport in the request's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.closed = asyncio.Event()
        self.app_state = {**self.app_state, "transport": transport, "closed": self.closed}
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.closed.set()


class Server(uvicorn.Server):
    """A server that stops at once at the first signal: everything it has answered is on disk already."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = self.force_exit = True

    def handle_eof(self) -> None:
        """Stop when the other end of standard input has been closed."""
        if not os.read(sys.stdin.fileno(), 1024):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.should_exit = self.force_exit = True


async def _missing(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 500:
        log.error("%s %s ended in a fault of the sandbox", request.method, request.url.path, exc_info=error)
    if request.url.path.startswith("/api_3"):
        texts = {
            404: "Such API endpoint doesn't exist",
            405: "The method is not allowed for the requested URL.",
        }
        return JSONResponse({"error": texts.get(status, copr_api.BUG)}, status)
    if request.url.path.startswith("/repos") and status == 404:
        return mirror.not_found()
    return PlainTextResponse(f"{status}", status)


def application(sandbox: Sandbox) -> Faults:
    """Return the ASGI application of one sandbox, with the faults as its outermost layer."""
    routes: list[BaseRoute] = [
        *levers.ROUTES, *copr_api.ROUTES, *copr_pages.ROUTES, *koji_hub.ROUTES, *koji_outputs.ROUTES,
        *forge_pagure.ROUTES, *forge_forgejo.ROUTES, *forge_pages.ROUTES, *lookaside.ROUTES,
        *forge_git.ROUTES, *mirror.ROUTES,
    ]  # fmt: skip
    app = Starlette(routes=routes, exception_handlers={404: _missing, 405: _missing, 500: _missing})
    app.router.redirect_slashes = False
    app.state.ground = sandbox.ground
    app.state.build_driver, app.state.task_driver = sandbox.build_driver, sandbox.task_driver
    app.state.faults = Faults(app, sandbox.ground)
    faults: Faults = app.state.faults
    return faults


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket. Raises ValueError for an address that is not loopback, OSError for a busy port."""
    address = ipaddress.ip_address(host)
    if not address.is_loopback:
        raise ValueError(f"{host} is not a loopback address; the sandbox has no business on a network")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # asyncio turns Nagle's delay off only where the protocol is named: 40 ms an answer on a kept connection.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(128)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(sandbox: Sandbox, listeners: Sequence[socket.socket], *, stop_at_eof: bool = False) -> None:
    """Serve until a signal comes, or the end of standard input where ``stop_at_eof`` asks for it."""
    config = uvicorn.Config(
        application(sandbox),
        http=Connection,
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=0,
        timeout_keep_alive=75,
    )
    server = Server(config)
    if stop_at_eof:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), server.handle_eof)
    driving = asyncio.create_task(sandbox.run(), name="build-life")
    ready = {
        "copr_url": sandbox.ground.copr_url,
        "mirror_url": sandbox.ground.mirror_url,
        "copr_config": str(sandbox.write_client_config()),
        "koji_url": sandbox.ground.koji_url,
        "koji_config": str(sandbox.write_koji_config()),
        "pace": sandbox.ground.pace,
    }
    sandbox.write_forge_token()
    # The sockets listen already: a reader of this line can connect, and waits at most for the loop.
    print(json.dumps(ready), flush=True)
    try:
        await server.serve(list(listeners))
    finally:
        driving.cancel()
        sandbox.stop_compiling()
        await asyncio.gather(driving, return_exceptions=True)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="sandbox", description="COPR, Koji and an upstream mirror on loopback."
    )
    parser.add_argument(
        "--state-dir", type=Path, required=True, help="where everything is kept; made if missing"
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default %(default)s)")
    parser.add_argument("--copr-port", type=int, default=0, help="0 (default) takes a free port")
    parser.add_argument("--koji-port", type=int, default=0, help="0 (default) takes a free port")
    parser.add_argument("--mirror-port", type=int, default=0, help="0 (default) takes a free port")
    parser.add_argument(
        "--pace", type=float, default=DEFAULT_PACE, help="seconds per step of a build (default %(default)s)"
    )
    parser.add_argument(
        "--publish",
        choices=PUBLISH,
        default="latest",
        help="what the mirror lists at its first start: the newest of each stream from 1.31 on, all, none",
    )
    parser.add_argument(
        "--hold-back", nargs="*", default=[], metavar="TAG", help="tags to be released later by hand"
    )
    parser.add_argument(
        "--real-builds",
        choices=REAL,
        default="off",
        help="compile this machine's own architecture: on (refuse to start without Go), auto (where Go is and the "
        "machine is not busy), off",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        help="with auto: seconds before a recorded build is shown, or a build is simulated, instead",
    )
    parser.add_argument("--go-cache", type=Path, help="Go's build cache (default: below the state folder)")
    parser.add_argument(
        "--grant",
        nargs="*",
        default=[],
        metavar="PACKAGE/BRANCH",
        help="dist-git repositories to have from the start",
    )
    parser.add_argument("--stop-at-eof", action="store_true", help="stop when the pipe at its input closes")
    return parser.parse_args(argv)


def _tools(options: argparse.Namespace) -> Toolchain | str | None:
    """Return the toolchain, None for simulated builds, or the names of what is missing where it is required."""
    if options.real_builds == "off":
        return None
    cache = options.go_cache or options.state_dir.resolve() / "go-cache"
    # A demonstration must not wait for a busy machine; one who asks for real builds gets them.
    patience = options.patience if options.real_builds == "auto" else float("inf")
    found = Toolchain.find(cache, patience=patience)
    if isinstance(found, str) and options.real_builds == "auto":
        return None
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit status is 0 then, and 2 for a refused address."""
    options = arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="sandbox: %(levelname)s %(message)s")
    try:
        copr = listen(options.host, options.copr_port)
        koji = listen(options.host, options.koji_port)
        mirrored = listen(options.host, options.mirror_port)
    except (ValueError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 2
    tools = _tools(options)
    if isinstance(tools, str):
        print(json.dumps({"error": f"--real-builds on: this machine lacks {tools}"}), flush=True)
        return 2
    sandbox = Sandbox(
        options.state_dir, pace=options.pace, publish=options.publish, hold_back=tuple(options.hold_back),
        tools=tools, replays=options.real_builds != "off",
    )  # fmt: skip
    for name in options.grant:
        package, _, branch = name.partition("/")
        DistGit(options.state_dir / "dist-git").grant(package, branch)
    ground = sandbox.ground
    ground.copr_url, ground.koji_url, ground.mirror_url = _url(copr), _url(koji), _url(mirrored)
    try:
        asyncio.run(serve(sandbox, [copr, koji, mirrored], stop_at_eof=options.stop_at_eof))
    finally:
        sandbox.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
