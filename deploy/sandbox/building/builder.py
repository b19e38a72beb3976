"""Builds a source package for one chroot: compiles it on this machine, or replays the log of a recorded build.

The driver of a build asks again at each step and never waits: the first question begins the work, later ones get
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

from sandbox.building.real_build import BANNER, Built, Toolchain, build
from sandbox.building.recorded import Recorded, recorded
from sandbox.ground import Ground

log = logging.getLogger("sandbox.real")


@dataclass(frozen=True)
class End:
    """How a chroot ends: succeeded or failed, its log, and the log's first line."""

    outcome: str
    log: str
    banner: str


@dataclass(frozen=True)
class Waiting:
    """The answer while a chroot still compiles, or waits for the other architecture that does."""


class Compiling:
    """Compiles the source packages of one sandbox, one at a time: COPR's and Koji's share this machine."""

    def __init__(self, ground: Ground, tools: Toolchain) -> None:
        self.tools = tools
        self._ground = ground
        self._tasks: dict[str, asyncio.Task[Built]] = {}
        self._asked_at: dict[str, float] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._one_at_a_time = asyncio.Semaphore(1)
        self._closed = False

    def built(self, key: str, source: Path, dist: str, keep: Path) -> Built | Waiting | None:
        """Compile a package, and copy what it made to ``keep``; None where patience ended first."""
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
    """Finds recorded builds in a thread of its own, because that reads a whole source package."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._tasks: dict[str, asyncio.Task[Recorded | None]] = {}

    def begun(self, key: str) -> bool:
        """Return whether a recording is being looked for."""
        return key in self._tasks

    def end(
        self, key: str, source: Path, name: str, version: str, chroot: str, dist: str
    ) -> End | Waiting | None:
        """Return how a recorded build ended; None where no recording fits."""
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
        return None if found is None else _end(found.succeeded, found.log, found.banner)


class Builder:
    """Compiles where there are ``tools``, and replays where ``replays`` allows it; with neither it builds nothing."""

    def __init__(self, ground: Ground, tools: Toolchain | None, *, replays: bool) -> None:
        self.arch = tools.arch if tools is not None else ""
        """The architecture that can be compiled here; empty where none can."""
        self._compiling = Compiling(ground, tools) if tools is not None else None
        self._replaying = Replaying(ground) if replays else None

    def is_replaying(self, key: str) -> bool:
        """Return whether a recording is being looked for."""
        return self._replaying is not None and self._replaying.begun(key)

    def compiled(self, key: str, source: Path, dist: str, keep: Path) -> End | Waiting | None:
        """Compile for this machine's architecture, and leave the packages in the folder ``keep``.

        None where nothing can be compiled, where patience ended, or where a recording is being looked for already.
        """
        if self._compiling is None or self.is_replaying(key):
            return None
        built = self._compiling.built(key, source, dist, keep)
        if built is None or isinstance(built, Waiting):
            return built
        return _end(built.succeeded, built.log, BANNER)

    def replayed(
        self, key: str, source: Path, name: str, version: str, chroot: str, dist: str
    ) -> End | Waiting | None:
        """Replay the recording that fits a source package in a chroot; None where none fits."""
        if self._replaying is None:
            return None
        return self._replaying.end(key, source, name, version, chroot, dist)

    def close(self) -> None:
        """End what still compiles: the next start compiles it again."""
        if self._compiling is not None:
            self._compiling.close()


def _end(succeeded: bool, log: str, banner: str) -> End:
    return End("succeeded" if succeeded else "failed", log, banner)
