"""Files and pages of the hub: task output, a task's page, a build's page. Every text says that it is simulated."""

from __future__ import annotations

import base64
import time
from html import escape
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.ground import Ground
from sandbox.koji import wire
from sandbox.koji.hub import Call, rpc
from sandbox.koji.wire import HubFault

FACE = "SIMULATED by cryopack's sandbox Koji hub: nothing was compiled and no package exists.\n"
BANNER = "cryopack's sandbox: simulated, nothing was compiled"
STATES = ("free", "open", "closed", "canceled", "assigned", "failed")


def relative_folder(task_id: int) -> str:
    """Where a task's output lies below the hub's top folder."""
    return f"work/tasks/{task_id % 10000}/{task_id}"


def output_folder(ground: Ground, task_id: int) -> Path:
    """The folder of a task's output on this machine; it may be missing."""
    return ground.koji_files / relative_folder(task_id)


def output_names(ground: Ground, task_id: int) -> list[str]:
    """The names of a task's files; empty where it has none or they were purged."""
    folder = output_folder(ground, int(task_id))
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def write(ground: Ground, task_id: int, name: str, text: str, face: str = FACE) -> None:
    """One file of a task's output, whole or not at all. ``face`` is its first line and tells what is real about it."""
    path = output_folder(ground, task_id) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{name}.part")
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    temporary.write_text(f"{face}[{stamp}] {text}\n")
    temporary.replace(path)


@rpc("listTaskOutput")
def list_task_output(
    call: Call, taskID: int, stat: bool = False, all_volumes: bool = False, strict: bool = False
) -> Any:
    """The names of a task's files; sizes are texts where they are asked for."""
    names = output_names(call.ground, taskID)
    if strict and not names:
        raise HubFault(wire.GENERIC, f"No output for task {taskID}")
    if stat:
        folder = output_folder(call.ground, taskID)
        return {name: _stat(folder / name) for name in names}
    return {name: ["DEFAULT"] for name in names} if all_volumes else names


def _stat(path: Path) -> dict[str, Any]:
    one = path.stat()
    return {
        "st_atime": one.st_atime,
        "st_ctime": one.st_ctime,
        "st_mtime": one.st_mtime,
        "st_size": str(one.st_size),
    }


@rpc("downloadTaskOutput")
def download_task_output(
    call: Call, taskID: int, fileName: str, offset: int = 0, size: int = -1, volume: Any = None
) -> str:
    """A part of a file, in base64."""
    if fileName not in output_names(call.ground, taskID):
        raise HubFault(wire.GENERIC, f'no file "{fileName}" output by task {taskID}')
    content = (output_folder(call.ground, taskID) / fileName).read_bytes()[offset:]
    return base64.b64encode(content if size < 0 else content[:size]).decode()


def _page(title: str, body: str) -> HTMLResponse:
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
    return HTMLResponse(f"{head}<body><p><strong>{BANNER}</strong></p><h1>{escape(title)}</h1>{body}")


async def files(request: Request) -> Response:
    """A file below the hub's top folder, or the listing of a folder."""
    ground: Ground = request.app.state.ground
    path = (ground.koji_files / request.path_params["path"]).resolve()
    if not path.is_relative_to(ground.koji_files.resolve()) or not path.exists():
        return PlainTextResponse("404 - Not Found", 404)
    if path.is_dir():
        names = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
        links = "".join(f'<li><a href="{escape(name)}">{escape(name)}</a>' for name in names)
        return _page(request.path_params["path"], f"<ul>{links}</ul>")
    if path.suffix == ".rpm" and _is_simulated(path):
        # Its name is there as on a real hub; whoever wants the package learns that there is none.
        return PlainTextResponse(FACE, 404)
    return FileResponse(path, media_type="text/plain; charset=utf-8" if path.suffix == ".log" else None)


def _is_simulated(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(FACE)) == FACE.encode()


async def task_page(request: Request) -> Response:
    """A task for people: its state, its children and their logs."""
    ground: Ground = request.app.state.ground
    number = request.query_params.get("taskID", "")
    row = ground.store.one("SELECT * FROM koji_task WHERE id = ?", int(number) if number.isdigit() else 0)
    if row is None:
        return PlainTextResponse("404 - Not Found", 404)
    shown = ground.store.all(
        "SELECT * FROM koji_task WHERE id = ? OR parent = ? ORDER BY id", row["id"], row["id"]
    )
    items = ""
    for one in shown:
        links = " ".join(
            f'<a href="/kojifiles/{relative_folder(one["id"])}/{escape(name)}">{escape(name)}</a>'
            for name in output_names(ground, one["id"])
        )
        items += f"<li>{one['id']} {escape(one['method'])} {escape(one['label'] or '')}: {STATES[one['state']]} {links}"
    return _page(f"Task {row['id']}", f"<ul>{items}</ul>")


async def build_page(request: Request) -> Response:
    """A build for people."""
    ground: Ground = request.app.state.ground
    number = request.query_params.get("buildID", "")
    row = ground.store.one("SELECT * FROM koji_build WHERE id = ?", int(number) if number.isdigit() else 0)
    if row is None:
        return PlainTextResponse("404 - Not Found", 404)
    nvr = f"{row['name']}-{row['version']}-{row['release']}"
    return _page(nvr, f'<p><a href="/koji/taskinfo?taskID={row["task_id"]}">task {row["task_id"]}</a>')


ROUTES = [
    Route("/kojifiles/{path:path}", files),
    Route("/koji/taskinfo", task_page),
    Route("/koji/buildinfo", build_page),
]
