"""Compiles an uploaded source package with rpmbuild, Go and the linker of this machine, with Fedora's flags.

Only this machine's own architecture. What is not real says so in the log: the macros are stand-ins, go-md2man copies
its input, and the source is a stand-in of CRI-O's shape.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MACROS = Path(__file__).parents[1] / "data" / "buildroot.macros"
TEXT_CHECK_SINCE = 44
"""From this Fedora on, the linker takes text relocations for an error (binutils 2.46)."""
SECONDS = 170.0
PR_SET_PDEATHSIG = 1
BANNER = (
    "BUILT by cryopack's sandbox build farm on this machine: really compiled and linked, from a stand-in of "
    "CRI-O's source and with stand-ins of Fedora's macros.\n"
)
MD2MAN = """#!/bin/sh
while [ $# -gt 0 ]; do case "$1" in -in) i=$2; shift ;; -out) o=$2; shift ;; esac; shift; done
exec cp "$i" "$o"
"""


@dataclass(frozen=True)
class Toolchain:
    """The programs of this machine that a real build needs. ``arch`` is the machine's own, as Fedora names it."""

    go: Path
    rpmbuild: Path
    arch: str
    cache: Path
    patience: float = float("inf")

    @classmethod
    def find(cls, cache: Path, *, patience: float = float("inf")) -> Toolchain | str:
        """Return the toolchain, or the names of the programs that are missing. Go may lie beside this Python.

        ``patience``: seconds after which a build that has not ended, or not begun, is replayed or simulated instead.
        """
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
        found = {
            name: shutil.which(name, path=path) for name in ("go", "gcc", "rpmbuild", "make", "readelf", "nm")
        }
        missing = [name for name, where in found.items() if where is None]
        if missing or platform.machine() not in {"x86_64", "aarch64"}:
            return (
                ", ".join(missing) or f"a machine that Go's assembly is there for, not {platform.machine()}"
            )
        return cls(
            Path(str(found["go"])), Path(str(found["rpmbuild"])), platform.machine(), cache, patience
        )  # fmt: skip


@dataclass(frozen=True)
class Built:
    """The result of a real build: whether it passed, its log without the banner, and the packages that it made."""

    succeeded: bool
    log: str
    packages: tuple[Path, ...]


def build(
    tools: Toolchain,
    srpm: Path,
    folder: Path,
    *,
    dist: str,
    started: Callable[[subprocess.Popen[bytes]], None],
) -> Built:
    """Build a source package below ``folder``. ``started`` gets the process, the leader of a group of its own.

    A build that fails is no error here. Raises OSError for this machine's own trouble.
    """
    shutil.rmtree(folder, ignore_errors=True)
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True)
    tools.cache.mkdir(parents=True, exist_ok=True)
    (bin_folder / "go-md2man").write_text(MD2MAN)
    (bin_folder / "go-md2man").chmod(0o755)
    log = folder / "build.log"
    passed = False
    with log.open("w") as file:
        process = subprocess.Popen(
            _command(tools, srpm, folder, dist), stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=_environment(tools, bin_folder, folder), start_new_session=True, preexec_fn=_die_with_us,
        )  # fmt: skip
        started(process)
        try:
            passed = process.wait(SECONDS) == 0
        except subprocess.TimeoutExpired:
            file.write(f"\nCopr timeout => sending INT (the sandbox gives a build {SECONDS:g} seconds)\n")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = _in_a_build_root(log.read_text(errors="replace"), folder)
    made = sorted((folder / "RPMS").rglob("*.rpm")) if passed else []
    return Built(passed and bool(made), text, tuple(made))


def _command(tools: Toolchain, srpm: Path, folder: Path, dist: str) -> list[str]:
    number = re.fullmatch(r"\.fc(\d+)", dist)
    fedora = int(number[1]) if number else 0
    defines = {
        "_topdir": str(folder), "dist": dist, "fedora": str(fedora), "debug_package": "%{nil}",
        "_build_id_links": "none", "_smp_mflags": "-j1", "_tmppath": str(folder / "tmp"),
    }  # fmt: skip
    if fedora >= TEXT_CHECK_SINCE:
        defines["text_check"] = "-Wl,-z,text"
    words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
    (folder / "tmp").mkdir()
    return ["nice", str(tools.rpmbuild), f"--load={MACROS}", "--rebuild", "--nodeps", *words, str(srpm)]


def _environment(tools: Toolchain, bin_folder: Path, folder: Path) -> dict[str, str]:
    """Return a bare environment, as a build root's: no network, no toolchain but the machine's own."""
    return {
        "PATH": f"{bin_folder}:{tools.go.parent}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "GOCACHE": str(tools.cache),
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "GOFLAGS": "-p=2",
        "GOTELEMETRY": "off",
    }


def _die_with_us() -> None:
    """Kill this process when the sandbox dies, so that no compiler is left behind."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _in_a_build_root(text: str, folder: Path) -> str:
    """Return the log with the folder named as in a real build root, so that it tells nothing of this machine."""
    return text.replace(f"{folder}/tmp", "/var/tmp").replace(str(folder), "/builddir/build")
