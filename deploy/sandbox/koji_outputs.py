"""What each step of a build leaves behind: files with the real names, and results that name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.koji_files import write
from sandbox.koji_sources import Source
from sandbox.store import Row

if TYPE_CHECKING:
    from sandbox.farm import Sandbox

ARCH_LOGS = ("state.log", "build.log", "root.log", "hw_info.log", "mock_output.log")


def _logs(row: Row, names: tuple[str, ...]) -> list[str]:
    return [f"tasks/{row['id'] % 10000}/{row['id']}/{name}" for name in names]


def made_srpm(sandbox: Sandbox, row: Row, source: Source) -> dict[str, Any]:
    """Files and result of an SRPM step that went well."""
    names = ("build.log", "checkout.log") if row["method"] == "buildSRPMFromSCM" else ("build.log",)
    for name in names:
        write(sandbox, row["id"], name, f"SRPM step: {source.nvr}")
    write(sandbox, row["id"], f"{source.nvr}.src.rpm", "this is no package")
    srpm = _logs(row, (f"{source.nvr}.src.rpm",))[0]
    return {
        "srpm": srpm,
        "logs": _logs(row, names),
        "brootid": row["id"],
        "source": {"source": srpm, "url": srpm},
    }


def failed_srpm(sandbox: Sandbox, row: Row, text: str) -> None:
    """Files of an SRPM step that failed."""
    for name in (
        ("checkout.log", "root.log") if row["method"] == "buildSRPMFromSCM" else ("build.log", "root.log")
    ):
        write(sandbox, row["id"], name, text)


def begun_arch(sandbox: Sandbox, row: Row, source: Source) -> None:
    """The logs that can be read while an architecture is being built."""
    for name in ("build.log", "root.log", "state.log"):
        write(sandbox, row["id"], name, f"+ rpmbuild {row['arch']} {source.nvr}")


def made_arch(sandbox: Sandbox, row: Row, source: Source) -> dict[str, Any]:
    """Files and result of an architecture that was built; the first one also keeps the SRPM."""
    for name in ARCH_LOGS:
        write(sandbox, row["id"], name, f"+ rpmbuild {row['arch']} {source.nvr}\n+ exit 0")
    rpms, srpms = [f"{source.nvr}.{row['arch']}.rpm"], []
    if _keeps_srpm(row):
        srpms = [f"{source.nvr}.src.rpm"]
    for name in (*rpms, *srpms):
        write(sandbox, row["id"], name, "this is no package")
    return {
        "rpms": _logs(row, tuple(rpms)),
        "srpms": _logs(row, tuple(srpms)),
        "logs": _logs(row, ARCH_LOGS),
        "brootid": row["id"],
    }


def _keeps_srpm(row: Row) -> bool:
    return ", true, {" in row["request"]


def failed_arch(sandbox: Sandbox, row: Row, source: Source, text: str) -> None:
    """Files of an architecture that failed."""
    for name in ("build.log", "root.log", "state.log"):
        write(sandbox, row["id"], name, f"+ rpmbuild {row['arch']} {source.nvr}\nerror: {text}")
