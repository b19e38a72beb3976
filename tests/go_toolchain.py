"""Go for tests: where it is, and a build cache that outlives a run, since a cold one costs half a minute."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".install" / "go-cache"
GO = shutil.which("go", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}")
MISSING = [name for name in ("gcc", "ld") if shutil.which(name) is None] + ([] if GO else ["go"])
needs_go = pytest.mark.skipif(bool(MISSING), reason=f"skipped: no Go toolchain ({', '.join(MISSING)})")


def go_environment(scratch: Path) -> dict[str, str]:
    """A bare environment for Go: nothing of the caller's, no network, one cache for all tests."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(scratch),
        "GOCACHE": str(CACHE),
        "GOPATH": str(scratch / "gopath"),
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "GOWORK": "off",
        "GOTELEMETRY": "off",
        "LC_ALL": "C.UTF-8",
    }


def go_build(folder: Path, output: Path, arguments: Sequence[str], environment: dict[str, str]) -> None:
    """``go build`` in ``folder``. Fails the test with the compiler's text."""
    done = subprocess.run(
        [str(GO), "build", "-buildvcs=false", "-o", str(output), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
