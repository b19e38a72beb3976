"""Which chroots are really built, which are replayed, and which are simulated as ever.

Where the sandbox has a toolchain, a chroot of the machine's own architecture is compiled, one at a time, beside the
farm's clock. Its sisters of other architectures wait for it and show its log again, and say so. A scripted outcome
goes before both. Where the toolchain's patience ends first, the chroot is simulated and its log says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
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
from sandbox.store import Row

if TYPE_CHECKING:
    from sandbox.farm import Sandbox

NOT_SCRIPTED = ("succeeded", "")
# What an architecture is called by Fedora and by Go.
GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}

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
    """Real builds of one sandbox. Without ``tools`` every chroot is simulated."""

    def __init__(self, sandbox: Sandbox, tools: Toolchain | None) -> None:
        self.sandbox = sandbox
        self.tools = tools
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
        sister = self._sister(build_row, chroot)
        if self.tools is None or sister is None or self._scripted(build_row, chroot):
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
        return End(state, _as_of(text, sister, chroot), replayed(chroot, sister))

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
            source = self.sandbox.results / str(build_row["source_url"]).removeprefix("/results/")
            self._tasks[key] = asyncio.create_task(self._compile(key, source), name=f"compile {key}")
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


def _as_of(text: str, sister: str, chroot: str) -> str:
    here, there = sister.rpartition("-")[2], chroot.rpartition("-")[2]
    text = text.replace(here, there)
    return text.replace(GO_NAMES.get(here, here), GO_NAMES.get(there, there))
