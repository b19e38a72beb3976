"""Writes and serves the files of Koji tasks, and the pages of tasks and builds; every text says what is real."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.building.builder import End
from sandbox.building.real_build import BANNER as REALLY_BUILT
from sandbox.ground import Ground
from sandbox.koji.hub import Call, FaultCode, HubFault, rpc
from sandbox.koji.sources import Source
from sandbox.pages import listing, not_found, page, path_below
from sandbox.store import Row

BANNER = "SIMULATED by cryopack's sandbox Koji hub: nothing was compiled and no package exists.\n"
STATES = ("free", "open", "closed", "canceled", "assigned", "failed")
ARCH_LOGS = ("state.log", "build.log", "root.log", "hw_info.log", "mock_output.log")
GROWING = ("build.log", "root.log", "state.log")
NO_PACKAGE = "this is no package"


def relative_folder(task_id: int) -> str:
    """Return where a task's output lies below the hub's top folder."""
    return f"work/tasks/{task_id % 10000}/{task_id}"


def output_folder(ground: Ground, task_id: int) -> Path:
    """Return the folder of a task's output on this machine; it may be missing."""
    return ground.koji_files / relative_folder(task_id)


def output_names(ground: Ground, task_id: int) -> list[str]:
    """Return the names of a task's files; empty where it has none or they were purged."""
    folder = output_folder(ground, int(task_id))
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def write(ground: Ground, task_id: int, name: str, text: str, banner: str = BANNER) -> None:
    """Write one file of a task's output, whole or not at all. ``banner`` is its first line and tells what is real."""
    path = output_folder(ground, task_id) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{name}.part")
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    temporary.write_text(f"{banner}[{stamp}] {text}\n")
    temporary.replace(path)


@rpc("listTaskOutput")
def list_task_output(
    call: Call, taskID: int, stat: bool = False, all_volumes: bool = False, strict: bool = False
) -> Any:
    """Return the names of a task's files; sizes are texts where they are asked for."""
    names = output_names(call.ground, taskID)
    if strict and not names:
        raise HubFault(FaultCode.GENERIC, f"No output for task {taskID}")
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
    """Return a part of a file, in base64."""
    if fileName not in output_names(call.ground, taskID):
        raise HubFault(FaultCode.GENERIC, f'no file "{fileName}" output by task {taskID}')
    content = (output_folder(call.ground, taskID) / fileName).read_bytes()[offset:]
    return base64.b64encode(content if size < 0 else content[:size]).decode()


async def files(request: Request) -> Response:
    """Send a file below the hub's top folder, or list a folder."""
    ground: Ground = request.app.state.ground
    path = path_below(ground.koji_files, request.path_params["path"])
    if path is None:
        return not_found()
    if path.is_dir():
        return listing(request.path_params["path"], path)
    if path.suffix == ".rpm" and _is_simulated(path):
        # Its name is there as on a real hub; a client that wants the package learns that there is none.
        return PlainTextResponse(BANNER, 404)
    return FileResponse(path, media_type="text/plain; charset=utf-8" if path.suffix == ".log" else None)


def _is_simulated(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(BANNER)) == BANNER.encode()


def _asked_row(request: Request, table: str, argument: str) -> Row | None:
    """Return the row whose id is a query argument; None where there is none."""
    ground: Ground = request.app.state.ground
    number = request.query_params.get(argument, "")
    return ground.store.one(f"SELECT * FROM {table} WHERE id = ?", int(number) if number.isdigit() else 0)


async def task_page(request: Request) -> Response:
    """Show a task for people: its state, its children and their logs."""
    ground: Ground = request.app.state.ground
    row = _asked_row(request, "koji_task", "taskID")
    if row is None:
        return not_found()
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
    return page(f"Task {row['id']}", f"<ul>{items}</ul>")


async def build_page(request: Request) -> Response:
    """Show a build for people."""
    row = _asked_row(request, "koji_build", "buildID")
    if row is None:
        return not_found()
    nvr = f"{row['name']}-{row['version']}-{row['release']}"
    return page(nvr, f'<p><a href="/koji/taskinfo?taskID={row["task_id"]}">task {row["task_id"]}</a>')


ROUTES = [
    Route("/kojifiles/{path:path}", files),
    Route("/koji/taskinfo", task_page),
    Route("/koji/buildinfo", build_page),
]


def _logs(row: Row, names: tuple[str, ...]) -> list[str]:
    return [f"tasks/{row['id'] % 10000}/{row['id']}/{name}" for name in names]


def finish_srpm(ground: Ground, row: Row, source: Source) -> dict[str, Any]:
    """Write the files of an SRPM step that succeeded, and return its result."""
    names = ("build.log", "checkout.log") if row["method"] == "buildSRPMFromSCM" else ("build.log",)
    for name in names:
        write(ground, row["id"], name, f"SRPM step: {source.nvr}")
    write(ground, row["id"], f"{source.nvr}.src.rpm", NO_PACKAGE)
    srpm = _logs(row, (f"{source.nvr}.src.rpm",))[0]
    return {
        "srpm": srpm,
        "logs": _logs(row, names),
        "brootid": row["id"],
        "source": {"source": srpm, "url": srpm},
    }


def fail_srpm(ground: Ground, row: Row, text: str) -> None:
    """Write the files of an SRPM step that failed."""
    for name in (
        ("checkout.log", "root.log") if row["method"] == "buildSRPMFromSCM" else ("build.log", "root.log")
    ):
        write(ground, row["id"], name, text)


def start_arch(ground: Ground, row: Row, source: Source, banner: str) -> None:
    """Write the logs of an architecture that is being built. ``banner`` tells what is real about it."""
    for name in GROWING:
        write(ground, row["id"], name, f"+ rpmbuild {row['arch']} {source.nvr}", banner)


def finish_arch(ground: Ground, row: Row, source: Source, end: End | None) -> dict[str, Any]:
    """Write the files of an architecture that was built, and return its result; the first one also keeps the SRPM.

    ``end`` is of a build that was really made, and then its packages lie there already, or of a replayed one.
    """
    for name in ARCH_LOGS:
        write(ground, row["id"], name, f"+ rpmbuild {row['arch']} {source.nvr}\n+ exit 0")
    if end is not None:
        write(ground, row["id"], "build.log", end.log, end.banner)
    folder = output_folder(ground, row["id"])
    if end is not None and end.banner == REALLY_BUILT:
        rpms = sorted(path.name for path in folder.glob("*.rpm"))
    else:
        rpms = [f"{source.nvr}.{row['arch']}.rpm"]
        write(ground, row["id"], rpms[0], NO_PACKAGE)
    srpms = [f"{source.nvr}.src.rpm"] if _keeps_srpm(row) else []
    for name in srpms:
        write(ground, row["id"], name, NO_PACKAGE)
    return {
        "rpms": _logs(row, tuple(rpms)),
        "srpms": _logs(row, tuple(srpms)),
        "logs": _logs(row, ARCH_LOGS),
        "brootid": row["id"],
    }


def _keeps_srpm(row: Row) -> bool:
    return ", true, {" in row["request"]


def fail_arch(ground: Ground, row: Row, source: Source, text: str, end: End | None) -> None:
    """Write the files of an architecture that failed. ``end`` is of a compiled or replayed build."""
    for name in GROWING:
        write(ground, row["id"], name, f"+ rpmbuild {row['arch']} {source.nvr}\nerror: {text}")
    if end is not None:
        write(ground, row["id"], "build.log", end.log, end.banner)


def keep_build(ground: Ground, source: Source, rows: Sequence[Row]) -> None:
    """Copy what the architectures made to where a build that stays is kept: RPMs by their arch, and their logs."""
    build = ground.koji_files / "packages" / source.name / source.version / source.release
    for row in rows:
        told = json.loads(row["result"])
        places = [(path, build / path.rpartition(".rpm")[0].rpartition(".")[2]) for path in told["rpms"]]
        places += [(path, build / "data" / "logs" / row["arch"]) for path in told["logs"]]
        for path, folder in places:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ground.koji_files / "work" / path, folder / path.rpartition("/")[2])
