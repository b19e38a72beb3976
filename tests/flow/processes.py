"""Real Celery workers for tests: started with a settings object, killed, started again."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from service.settings import Settings

ROOT = Path(__file__).parents[2]
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def environment(settings: Settings) -> dict[str, str]:
    """The settings as the environment variables that give them back."""
    values = {}
    for name in type(settings).model_fields:
        value: Any = getattr(settings, name)
        if isinstance(value, tuple):
            value = ",".join(part.get_secret_value() for part in value)
        elif isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value is not None:
            values[f"CRYOPACK_{name.upper()}"] = str(value)
    return values


class Worker:
    """One Celery worker with an embedded beat, in its own process group."""

    def __init__(
        self, settings: Settings, log: Path, *, app: str = "tests.flow.killable", **extra: str
    ) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "deploy")])
        self._environment = {**os.environ, "PYTHONPATH": path, **environment(settings), **extra}
        self._log = log
        self._app = app
        self._schedule = settings.state_dir / "beat-schedule"
        self._process: subprocess.Popen[bytes] | None = None
        settings.state_dir.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Start, or start again after a kill; what is left of the old group goes first."""
        self.kill()
        for leftover in self._schedule.parent.glob("beat-schedule*"):
            leftover.unlink()
        command = [sys.executable, "-m", "celery", "-A", self._app, "worker", "-B", "-l", "warning",
                   "-s", str(self._schedule), "--without-gossip", "--without-mingle"]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=lambda: _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether the worker's main process runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)


def wait_for(done: Callable[[], bool], seconds: float, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Wait until ``done()``; ``meanwhile`` runs at each turn. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if done():
            return
        meanwhile()
        time.sleep(0.1)
    raise TimeoutError(f"not so within {seconds} s")
