"""rpmspec and rpmbuild, bounded: no shell, a bare environment, our own macros, killed when late."""

from __future__ import annotations

import importlib.resources
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RPM_CONFIG = Path("/usr/lib/rpm")
OUTPUT_LIMIT = 8 * 1024 * 1024


class RpmTrouble(OSError):
    """RPM itself is missing, was too slow or was stopped: this machine's fault, never the package's."""


@dataclass(frozen=True)
class Finished:
    """How a command ended: its status, and what it wrote, cut at OUTPUT_LIMIT bytes each."""

    status: int
    output: str
    complaints: str


def macro_files() -> str:
    """RPM's own macros, the platform's, and our stand-ins: never a distribution's or a user's.

    So a spec parses the same on every machine, and the bytes of a source package do not depend on it.
    """
    ours = Path(str(importlib.resources.files("workers.packaging").joinpath("macros", "fedora.macros")))
    return f"{RPM_CONFIG}/macros:{RPM_CONFIG}/platform/%{{_target}}/macros:{ours}"


def definitions(values: Mapping[str, str]) -> list[str]:
    """``--define`` arguments. An empty value becomes ``%{nil}``, since RPM refuses a macro without a body."""
    return [word for name, value in values.items() for word in ("--define", f"{name} {value or '%{nil}'}")]


def run(
    program: str,
    arguments: Sequence[str],
    *,
    home: Path,
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run one of RPM's programs in ``home``, which is also its HOME and its TMPDIR.

    Raises RpmTrouble where it is not installed, takes longer than ``seconds`` or was ended by a signal.
    Its children die with it: it leads a process group of its own.
    """
    path = shutil.which(program)
    if path is None:
        raise RpmTrouble(f"{program} is not installed: install rpm-build (Fedora) or rpm (Debian)")
    bare = {
        "PATH": os.defpath,
        "HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        **(environment or {}),
    }
    output, complaints = home / ".output", home / ".complaints"
    with output.open("wb") as out, complaints.open("wb") as err:
        process = subprocess.Popen(
            [path, *arguments],
            cwd=home,
            env=bare,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise RpmTrouble(f"{program} did not end within {seconds:g} s and was stopped") from None
        finally:
            _end(process)
    if status < 0:
        raise RpmTrouble(f"{program} was ended by signal {-status}")
    return Finished(status, _read(output), _read(complaints))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group, also where we are stopped ourselves while waiting."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(file: Path) -> str:
    with file.open("rb") as handle:
        return handle.read(OUTPUT_LIMIT).decode(errors="replace")
