"""Decides how a chroot of a COPR build ends: really compiled, replayed from a log, or simulated.

Where the sandbox has a toolchain, a chroot of the machine's own architecture is compiled, one at a time, beside the
farm's clock. Its sisters of other architectures wait for it and show its log again, and say so. Where there is no
toolchain, where its patience ends first, and for other architectures alone, a recorded log that fits is shown again
(``recorded``), which its first line says. A scripted outcome goes before all that; what is left is simulated.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from sandbox.building.builder import Builder, End, Waiting
from sandbox.building.real_build import BANNER
from sandbox.building.recorded import rename_arch
from sandbox.copr import results
from sandbox.copr.shapes import CHROOT_ENDS, chroots_of, results_path
from sandbox.copr.sources import outcome_of
from sandbox.ground import Ground
from sandbox.store import Row

NOT_SCRIPTED = ("succeeded", "")


class ChrootBuilder:
    """Builds the chroots of COPR's builds for real or replays them, where the sandbox can."""

    def __init__(self, ground: Ground, builder: Builder) -> None:
        self.ground = ground
        self._builder = builder

    def banner(self, build_row: Row, chroot: str) -> str:
        """Return the first line of a chroot's live log."""
        sister = self._sister(build_row, chroot)
        if sister is None or self._scripted(build_row, chroot):
            return results.BANNER
        return BANNER if sister == chroot else replayed_banner(chroot, sister)

    def end(self, build_row: Row, project: Row, chroot: str) -> End | Waiting | None:
        """Return how a running chroot ends, ``Waiting``, or None where it is simulated. It never waits."""
        if self._scripted(build_row, chroot) or not chroot.startswith("fedora-"):
            return None
        return self._compiled(build_row, project, chroot) or self._replay(build_row, chroot)

    def _compiled(self, build_row: Row, project: Row, chroot: str) -> End | Waiting | None:
        """Compile a chroot, or show the log of its compiled sister; None where neither applies."""
        sister = self._sister(build_row, chroot)
        key = _key(build_row, chroot)
        if sister is None or self._builder.is_replaying(key):
            return None
        if sister == chroot:
            folder = self.ground.results / results_path(project, build_row, chroot)
            return self._builder.compiled(key, self._source(build_row), self.ground.dist(chroot), folder)
        state = next(
            row["state"] for row in chroots_of(self.ground.store, build_row["id"]) if row["name"] == sister
        )
        if state not in CHROOT_ENDS:
            return Waiting()
        path = self.ground.results / results_path(project, build_row, sister) / "build.log.gz"
        if state not in {"succeeded", "failed"} or not path.exists():
            return None
        text = gzip.decompress(path.read_bytes()).decode()
        if not text.startswith(BANNER):
            return None
        text = text.removeprefix(BANNER)
        here, there = sister.rpartition("-")[2], chroot.rpartition("-")[2]
        return End(state, rename_arch(text, here, there), replayed_banner(chroot, sister))

    def _replay(self, build_row: Row, chroot: str) -> End | Waiting | None:
        """Replay a recorded build; None where no recording fits."""
        header = json.loads(build_row["header"])
        return self._builder.replayed(
            _key(build_row, chroot), self._source(build_row), header["name"], header["version"], chroot,
            self.ground.dist(chroot),
        )  # fmt: skip

    def _source(self, build_row: Row) -> Path:
        return self.ground.results / str(build_row["source_url"]).removeprefix("/results/")

    def _scripted(self, build_row: Row, chroot: str) -> bool:
        return outcome_of(self.ground.store, build_row, chroot) != NOT_SCRIPTED

    def _sister(self, build_row: Row, chroot: str) -> str | None:
        """Return the chroot of this build and distribution that this machine can compile: itself, another, or None."""
        if not self._builder.arch or not chroot.startswith("fedora-"):
            return None
        native = f"{chroot.rpartition('-')[0]}-{self._builder.arch}"
        names = {
            row["name"] for row in chroots_of(self.ground.store, build_row["id"]) if row["state"] != "skipped"
        }
        return native if native in names else None


def _key(build_row: Row, chroot: str) -> str:
    return f"{build_row['id']}-{chroot}"


def replayed_banner(chroot: str, sister: str) -> str:
    """Return the first line of a log that is shown again for another architecture."""
    return (
        f"REPLAYED by cryopack's sandbox build farm: nothing was compiled for {chroot}; this is the log of {sister}, "
        "which was really built, with the architecture's name changed.\n"
    )
