"""Builds that are really made, and recorded ones that are shown again, beside the farm's clock.

Both are asked for again and again by a life that never waits: the first question begins the work, later ones get
``Waiting`` until it is done. A key names one chroot of one build.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.building.real_build import Built, Toolchain, build
from sandbox.building.recorded import Recorded, recorded
from sandbox.ground import Ground

log = logging.getLogger("sandbox.real")


@dataclass(frozen=True)
class End:
    """How a chroot ends: succeeded or failed, its log, and the log's first line."""

    outcome: str
    log: str
    face: str


@dataclass(frozen=True)
class Waiting:
    """It still compiles, or waits for the sister that does."""


class Compiling:
    """Real builds of one sandbox, one at a time: COPR's and Koji's share this machine."""

    def __init__(self, ground: Ground, tools: Toolchain) -> None:
        self.tools = tools
        self._ground = ground
        self._tasks: dict[str, asyncio.Task[Built]] = {}
        self._asked_at: dict[str, float] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._one_at_a_time = asyncio.Semaphore(1)
        self._closed = False

    def built(self, key: str, source: Path, dist: str, keep: Path) -> Built | Waiting | None:
        """The end of a real build, whose packages lie below ``keep`` then; None where patience ended first."""
        task = self._tasks.get(key)
        if task is None:
            self._asked_at[key] = time.monotonic()
            self._tasks[key] = asyncio.create_task(self._compile(key, source, dist), name=f"compile {key}")
            return Waiting()
        if not task.done():
            if time.monotonic() - self._asked_at[key] < self.tools.patience:
                return Waiting()
            del self._tasks[key]
            task.cancel()
            self._kill(key)
            return None
        del self._tasks[key]
        built = task.result()
        for path in built.packages:
            shutil.copyfile(path, keep / path.name)
        shutil.rmtree(self._folder(key), ignore_errors=True)
        return built

    async def _compile(self, key: str, source: Path, dist: str) -> Built:
        async with self._one_at_a_time:
            try:
                return await asyncio.to_thread(
                    build, self.tools, source, self._folder(key),
                    dist=dist, started=lambda process: self._started(key, process),
                )  # fmt: skip
            except OSError as error:
                log.exception("build %s cannot be compiled", key)
                return Built(False, f"the sandbox cannot compile on this machine: {error}\n", ())
            finally:
                self._ground.wake()

    def _folder(self, key: str) -> Path:
        return self._ground.state_dir / "compile" / key

    def _started(self, key: str, process: subprocess.Popen[bytes]) -> None:
        self._processes[key] = process
        if self._closed or key not in self._tasks:
            self._kill(key)

    def _kill(self, key: str) -> None:
        process = self._processes.get(key)
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End what still compiles: the next start compiles it again."""
        self._closed = True
        for key in list(self._processes):
            self._kill(key)


class Replaying:
    """Recorded builds of one sandbox. Finding the one that fits reads a whole source package, so it takes a thread."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._tasks: dict[str, asyncio.Task[Recorded | None]] = {}

    def begun(self, key: str) -> bool:
        """Whether a recording is being looked for."""
        return key in self._tasks

    def end(
        self, key: str, source: Path, name: str, version: str, chroot: str, dist: str
    ) -> End | Waiting | None:
        """As a recorded build ended; None where no recording fits."""
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.create_task(
                asyncio.to_thread(recorded, source, name, version, chroot, dist), name=f"replay {key}"
            )
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._ground.wake())
        if not task.done():
            return Waiting()
        del self._tasks[key]
        found = task.result()
        return found and End("succeeded" if found.succeeded else "failed", found.log, found.face)
