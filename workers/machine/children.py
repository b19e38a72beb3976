"""Child processes of one supervisor: started, watched, started again, stopped; none survives its parent."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 30.0
# A child that ran this long was well, and its next end starts at the first pause again.
WELL_SECONDS = 30.0
LOG_LIMIT = 16 * 1024 * 1024
ECHO_LINES = 10

_TROUBLE = re.compile(r"\b(warning|error|critical|traceback)\b", re.IGNORECASE)
# Root in a container is no news, nor is a memory setting that only matters to large brokers.
_NO_TROUBLE = re.compile(r"superuser privileges|SecurityWarning|overcommit")


def die_with_parent(parent: int, sig: int = signal.SIGKILL) -> None:
    """Have the kernel send ``sig`` to this process when ``parent`` dies, also where that is by ``kill -9``.

    The kernel watches the thread that started this process: only a main thread should start children.
    """
    _LIBC.prctl(PR_SET_PDEATHSIG, sig)
    if os.getppid() != parent:
        os.kill(os.getpid(), sig)


class Child:
    """One process in its own session. Its output is appended to ``<log_dir>/<name>.log``.

    ``environment`` is complete. ``ready`` says whether it serves; without it, running is enough.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_dir: Path,
        ready: Callable[[], bool] | None = None,
    ) -> None:
        self.name = name
        self.log = log_dir / f"{name}.log"
        self.ends = 0
        self._command = list(command)
        self._environment = dict(environment)
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._next_start = 0.0
        self._pause = FIRST_PAUSE
        self._echoed = 0

    def start(self) -> None:
        """Start it from the main thread. Raises OSError where the program or the log cannot be opened."""
        parent = os.getpid()
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as output:
            self._echoed = output.tell()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),
            )
        self._started = time.monotonic()

    @property
    def pid(self) -> int | None:
        """Its process id, or None while it does not run."""
        return self._process.pid if self._process else None

    def ready(self) -> bool:
        """Whether it runs and serves."""
        return self._process is not None and (self._ready is None or self._ready())

    def watch(self) -> str:
        """Notice its end, start it again when the pause is over; what there is to say, or an empty string."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._next_start:
                self.start()
            return ""
        if not self._ended():
            return ""
        status = self._reap()
        self.ends += 1
        if now - self._started > WELL_SECONDS:
            self._pause = FIRST_PAUSE
        self._next_start = now + self._pause
        said = f"{self.name} ended ({status}); starting it again in {self._pause:g} s"
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return said

    def terminate(self) -> None:
        """Ask the process itself to stop; its own children are its own affair."""
        if self._process is not None:
            self._process.terminate()

    def gone(self) -> bool:
        """Whether nothing of it runs; reaps it if it has ended."""
        if self._process is not None and self._ended():
            self._reap()
        return self._process is None

    def kill(self) -> None:
        """End it and its whole process group at once."""
        if self._process is not None:
            self._reap()

    def _ended(self) -> bool:
        assert self._process is not None
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _reap(self) -> str:
        # The group dies before its leader is reaped: afterwards the number may belong to somebody else.
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._process = None
        return f"signal {-code}" if code < 0 else f"status {code}"

    def troubles(self) -> list[str]:
        """The warnings and errors that it has logged since the last call, at most ECHO_LINES of them."""
        with suppress(OSError), self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < self._echoed:
                self._echoed = 0
            file.seek(self._echoed)
            fresh = file.read(1 << 20)
            whole = fresh.rfind(b"\n") + 1 or (len(fresh) if len(fresh) == 1 << 20 else 0)
            self._echoed += whole
            lines = fresh[:whole].decode(errors="replace").splitlines()
            found = [line for line in lines if _TROUBLE.search(line) and not _NO_TROUBLE.search(line)]
            if len(found) > ECHO_LINES:
                found[ECHO_LINES:] = [f"{len(found) - ECHO_LINES} more such lines in {self.log}"]
            self._shorten(size)
            return found
        return []

    def _shorten(self, size: int) -> None:
        # The child appends, so a file cut to nothing is simply filled again; a line in between may be lost.
        # A busy child has written more than ``size`` by now, and then more than ``size`` has been looked at.
        if size > LOG_LIMIT and self._echoed >= size:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)
            self._echoed = 0

    def last_lines(self, count: int = 5) -> list[str]:
        """The end of its log, to explain why it does not start."""
        with suppress(OSError):
            return self.log.read_text(errors="replace").splitlines()[-count:]
        return []


class Terminal:
    """Lines on standard error, with the name of whoever says them; a closed terminal is no reason to fail."""

    def say(self, text: str, name: str = "cryopack") -> None:
        """Write one line."""
        with suppress(OSError, ValueError):
            print(f"{name:>8} | {text}", file=sys.stderr, flush=True)
