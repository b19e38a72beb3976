"""What each step of a build leaves behind: files with the real names, and results that name them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any

from sandbox.building.compiling import End
from sandbox.building.real_build import FACE as REALLY_BUILT
from sandbox.ground import Ground
from sandbox.koji.files import output_folder, write
from sandbox.koji.sources import Source
from sandbox.store import Row

ARCH_LOGS = ("state.log", "build.log", "root.log", "hw_info.log", "mock_output.log")
GROWING = ("build.log", "root.log", "state.log")
NO_PACKAGE = "this is no package"


def _logs(row: Row, names: tuple[str, ...]) -> list[str]:
    return [f"tasks/{row['id'] % 10000}/{row['id']}/{name}" for name in names]


def made_srpm(ground: Ground, row: Row, source: Source) -> dict[str, Any]:
    """Files and result of an SRPM step that went well."""
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


def failed_srpm(ground: Ground, row: Row, text: str) -> None:
    """Files of an SRPM step that failed."""
    for name in (
        ("checkout.log", "root.log") if row["method"] == "buildSRPMFromSCM" else ("build.log", "root.log")
    ):
        write(ground, row["id"], name, text)


def begun_arch(ground: Ground, row: Row, source: Source, face: str) -> None:
    """The logs that can be read while an architecture is being built. ``face`` tells what is real about it."""
    for name in GROWING:
        write(ground, row["id"], name, f"+ rpmbuild {row['arch']} {source.nvr}", face)


def made_arch(ground: Ground, row: Row, source: Source, end: End | None) -> dict[str, Any]:
    """Files and result of an architecture that was built; the first one also keeps the SRPM.

    ``end`` is of a build that was really made, and then its packages lie there already, or of a replayed one.
    """
    for name in ARCH_LOGS:
        write(ground, row["id"], name, f"+ rpmbuild {row['arch']} {source.nvr}\n+ exit 0")
    if end is not None:
        write(ground, row["id"], "build.log", end.log, end.face)
    folder = output_folder(ground, row["id"])
    if end is not None and end.face == REALLY_BUILT:
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


def failed_arch(ground: Ground, row: Row, source: Source, text: str, end: End | None) -> None:
    """Files of an architecture that failed. ``end`` is of a build that was really made, or of a replayed one."""
    for name in GROWING:
        write(ground, row["id"], name, f"+ rpmbuild {row['arch']} {source.nvr}\nerror: {text}")
    if end is not None:
        write(ground, row["id"], "build.log", end.log, end.face)


def keep_build(ground: Ground, source: Source, rows: Sequence[Row]) -> None:
    """Put what the architectures made where a build that stays is kept: RPMs by their arch, and their logs."""
    build = ground.koji_files / "packages" / source.name / source.version / source.release
    for row in rows:
        told = json.loads(row["result"])
        places = [(path, build / path.rpartition(".rpm")[0].rpartition(".")[2]) for path in told["rpms"]]
        places += [(path, build / "data" / "logs" / row["arch"]) for path in told["logs"]]
        for path, folder in places:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ground.koji_files / "work" / path, folder / path.rpartition("/")[2])
