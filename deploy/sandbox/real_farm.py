"""Which chroots are really built, which are replayed, and which are simulated as ever.

Where the sandbox has a toolchain, a chroot of the machine's own architecture is compiled, one at a time, beside the
farm's clock. Its sisters of other architectures wait for it and show its log again, and say so. Where there is no
toolchain, where its patience ends first, and for other architectures alone, a recorded log that fits is shown again
(``recorded``), which its first line says. A scripted outcome goes before all that; what is left is simulated.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import copr_results
from sandbox.copr_shapes import CHROOT_ENDS, chroots_of, results_path
from sandbox.copr_sources import outcome_of
from sandbox.real_build import FACE, Built, Toolchain, build
from sandbox.recorded import Recorded, as_of_arch, recorded
from sandbox.store import Row

if TYPE_CHECKING:
    from sandbox.farm import Sandbox

NOT_SCRIPTED = ("succeeded", "")
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


class RealFarm:
    """Real builds of one sandbox, and recorded ones if it ``replays``. With neither every chroot is simulated."""

    def __init__(self, sandbox: Sandbox, tools: Toolchain | None, *, replays: bool) -> None:
        self.sandbox = sandbox
        self.tools = tools
        self._replays = replays
        self._recorded: dict[tuple[int, str], asyncio.Task[Recorded | None]] = {}
        self._tasks: dict[tuple[int, str], asyncio.Task[Built]] = {}
        self._asked_at: dict[tuple[int, str], float] = {}
        self._processes: dict[tuple[int, str], subprocess.Popen[bytes]] = {}
        self._one_at_a_time = asyncio.Semaphore(1)
        self._closed = False

    def face(self, build_row: Row, chroot: str) -> str:
        """The first line of a chroot's live log."""
        sister = self._sister(build_row, chroot)
        if self.tools is None or sister is None or self._scripted(build_row, chroot):
            return copr_results.FACE
        return FACE if sister == chroot else replayed(chroot, sister)

    def end(self, build_row: Row, project: Row, chroot: str) -> End | Waiting | None:
        """The end of a running chroot; None where it is simulated. Called within a transaction, so it never waits."""
        if self._scripted(build_row, chroot) or not chroot.startswith("fedora-"):
            return None
        return self._compiled(build_row, project, chroot) or self._again(build_row, chroot)

    def _compiled(self, build_row: Row, project: Row, chroot: str) -> End | Waiting | None:
        """As this machine's compiler decided; None where it decides nothing about this chroot."""
        sister = self._sister(build_row, chroot)
        if self.tools is None or sister is None or (build_row["id"], chroot) in self._recorded:
            return None
        if sister == chroot:
            return self._built(build_row, project, chroot)
        state = next(
            row["state"] for row in chroots_of(self.sandbox.store, build_row["id"]) if row["name"] == sister
        )
        if state not in CHROOT_ENDS:
            return Waiting()
        path = self.sandbox.results / results_path(project, build_row, sister) / "build.log.gz"
        if state not in {"succeeded", "failed"} or not path.exists():
            return None
        text = gzip.decompress(path.read_bytes()).decode()
        if not text.startswith(FACE):
            return None
        text = text.removeprefix(FACE)
        here, there = sister.rpartition("-")[2], chroot.rpartition("-")[2]
        return End(state, as_of_arch(text, here, there), replayed(chroot, sister))

    def _again(self, build_row: Row, chroot: str) -> End | Waiting | None:
        """As a recorded build ended; None where no recording fits."""
        if not self._replays:
            return None
        key = (build_row["id"], chroot)
        task = self._recorded.get(key)
        if task is None:
            header = json.loads(build_row["header"])
            task = asyncio.create_task(
                asyncio.to_thread(
                    recorded, self._source(build_row), header["name"], header["version"], chroot,
                    self.sandbox.dist(chroot),
                ),
                name=f"replay {key}",
            )  # fmt: skip
            self._recorded[key] = task
            task.add_done_callback(lambda _: self.sandbox.wake())
        if not task.done():
            return Waiting()
        del self._recorded[key]
        found = task.result()
        return found and End("succeeded" if found.succeeded else "failed", found.log, found.face)

    def _source(self, build_row: Row) -> Path:
        return self.sandbox.results / str(build_row["source_url"]).removeprefix("/results/")

    def _scripted(self, build_row: Row, chroot: str) -> bool:
        return outcome_of(self.sandbox.store, build_row, chroot) != NOT_SCRIPTED

    def _sister(self, build_row: Row, chroot: str) -> str | None:
        """The chroot of this build and distribution that this machine can compile: itself, another, or None."""
        if self.tools is None or not chroot.startswith("fedora-"):
            return None
        native = f"{chroot.rpartition('-')[0]}-{self.tools.arch}"
        names = {
            row["name"]
            for row in chroots_of(self.sandbox.store, build_row["id"])
            if row["state"] != "skipped"
        }
        return native if native in names else None

    def _built(self, build_row: Row, project: Row, chroot: str) -> End | Waiting | None:
        key = (build_row["id"], chroot)
        task = self._tasks.get(key)
        if task is None:
            self._asked_at[key] = time.monotonic()
            compiling = self._compile(key, self._source(build_row))
            self._tasks[key] = asyncio.create_task(compiling, name=f"compile {key}")
            return Waiting()
        if not task.done():
            assert self.tools is not None, "only with a toolchain is anything compiled"
            if time.monotonic() - self._asked_at[key] < self.tools.patience:
                return Waiting()
            del self._tasks[key]
            task.cancel()
            self._kill(key)
            return None
        del self._tasks[key]
        built = task.result()
        folder = self.sandbox.results / results_path(project, build_row, chroot)
        for path in built.packages:
            shutil.copyfile(path, folder / path.name)
        shutil.rmtree(self._folder(key), ignore_errors=True)
        return End("succeeded" if built.succeeded else "failed", built.log, FACE)

    async def _compile(self, key: tuple[int, str], source: Path) -> Built:
        assert self.tools is not None, "only with a toolchain is anything compiled"
        async with self._one_at_a_time:
            try:
                return await asyncio.to_thread(
                    build, self.tools, source, self._folder(key),
                    dist=self.sandbox.dist(key[1]), started=lambda process: self._started(key, process),
                )  # fmt: skip
            except OSError as error:
                log.exception("build %s cannot be compiled", key)
                return Built(False, f"the sandbox cannot compile on this machine: {error}\n", ())
            finally:
                self.sandbox.wake()

    def _folder(self, key: tuple[int, str]) -> Path:
        return self.sandbox.state_dir / "compile" / f"{key[0]}-{key[1]}"

    def _started(self, key: tuple[int, str], process: subprocess.Popen[bytes]) -> None:
        self._processes[key] = process
        if self._closed or key not in self._tasks:
            self._kill(key)

    def _kill(self, key: tuple[int, str]) -> None:
        process = self._processes.get(key)
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End what still compiles: the next start compiles it again."""
        self._closed = True
        for key in list(self._processes):
            self._kill(key)


def replayed(chroot: str, sister: str) -> str:
    """The first line of a log that is shown again for another architecture."""
    return (
        f"REPLAYED by cryopack's sandbox build farm: nothing was compiled for {chroot}; this is the log of {sister}, "
        "which was really built, with the architecture's name changed.\n"
    )
