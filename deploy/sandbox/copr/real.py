"""Which chroots of COPR's are really built, which are replayed, and which are simulated as ever.

Where the sandbox has a toolchain, a chroot of the machine's own architecture is compiled, one at a time, beside the
farm's clock. Its sisters of other architectures wait for it and show its log again, and say so. Where there is no
toolchain, where its patience ends first, and for other architectures alone, a recorded log that fits is shown again
(``recorded``), which its first line says. A scripted outcome goes before all that; what is left is simulated.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from sandbox.building.compiling import Compiling, End, Replaying, Waiting
from sandbox.building.real_build import FACE
from sandbox.building.recorded import as_of_arch
from sandbox.copr import results as copr_results
from sandbox.copr.shapes import CHROOT_ENDS, chroots_of, results_path
from sandbox.copr.sources import outcome_of
from sandbox.ground import Ground
from sandbox.store import Row

NOT_SCRIPTED = ("succeeded", "")


class RealFarm:
    """COPR's real builds and its replayed ones. With neither every chroot is simulated."""

    def __init__(self, ground: Ground, compiling: Compiling | None, replaying: Replaying | None) -> None:
        self.ground = ground
        self._compiling = compiling
        self._replaying = replaying

    def face(self, build_row: Row, chroot: str) -> str:
        """The first line of a chroot's live log."""
        sister = self._sister(build_row, chroot)
        if sister is None or self._scripted(build_row, chroot):
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
        if self._compiling is None or sister is None:
            return None
        if self._replaying is not None and self._replaying.begun(_key(build_row, chroot)):
            return None
        if sister == chroot:
            return self._built(self._compiling, build_row, project, chroot)
        state = next(
            row["state"] for row in chroots_of(self.ground.store, build_row["id"]) if row["name"] == sister
        )
        if state not in CHROOT_ENDS:
            return Waiting()
        path = self.ground.results / results_path(project, build_row, sister) / "build.log.gz"
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
        if self._replaying is None:
            return None
        header = json.loads(build_row["header"])
        return self._replaying.end(
            _key(build_row, chroot), self._source(build_row), header["name"], header["version"], chroot,
            self.ground.dist(chroot),
        )  # fmt: skip

    def _source(self, build_row: Row) -> Path:
        return self.ground.results / str(build_row["source_url"]).removeprefix("/results/")

    def _scripted(self, build_row: Row, chroot: str) -> bool:
        return outcome_of(self.ground.store, build_row, chroot) != NOT_SCRIPTED

    def _sister(self, build_row: Row, chroot: str) -> str | None:
        """The chroot of this build and distribution that this machine can compile: itself, another, or None."""
        if self._compiling is None or not chroot.startswith("fedora-"):
            return None
        native = f"{chroot.rpartition('-')[0]}-{self._compiling.tools.arch}"
        names = {
            row["name"] for row in chroots_of(self.ground.store, build_row["id"]) if row["state"] != "skipped"
        }
        return native if native in names else None

    def _built(self, compiling: Compiling, build_row: Row, project: Row, chroot: str) -> End | Waiting | None:
        folder = self.ground.results / results_path(project, build_row, chroot)
        built = compiling.built(
            _key(build_row, chroot), self._source(build_row), self.ground.dist(chroot), folder
        )
        if built is None or isinstance(built, Waiting):
            return built
        return End("succeeded" if built.succeeded else "failed", built.log, FACE)


def _key(build_row: Row, chroot: str) -> str:
    return f"{build_row['id']}-{chroot}"


def replayed(chroot: str, sister: str) -> str:
    """The first line of a log that is shown again for another architecture."""
    return (
        f"REPLAYED by cryopack's sandbox build farm: nothing was compiled for {chroot}; this is the log of {sister}, "
        "which was really built, with the architecture's name changed.\n"
    )
