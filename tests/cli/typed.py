"""Run ``cryopack`` as a user types it: in a process of its own, or in this one, which saves the imports."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workers.cli.main import app

ROOT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


def type_here(words: Sequence[str], environment: Mapping[str, str], folder: Path) -> Done:
    """Run the command in this process, with that environment and no other setting. An escaped error is raised."""
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CRYOPACK_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        done = CliRunner().invoke(app, list(words), prog_name="cryopack")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(["cryopack", *words], done.exit_code, done.stdout, done.stderr)


def type_apart(words: Sequence[str], environment: Mapping[str, str], folder: Path) -> Done:
    """Run the command in a process of its own, as its user does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CRYOPACK_")}
    return subprocess.run(
        [sys.executable, "-c", "from workers.cli.main import main; main()", *words],
        env={**kept, "PYTHONPATH": str(ROOT), **environment}, cwd=folder,
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
