"""Which architectures of a Koji build are really built or replayed, and which are simulated.

As at COPR, but each architecture for itself: one of this machine is compiled where there is a toolchain, any other is
replayed where a recording fits. Builds of commits have no source package here, and are simulated.
"""

from __future__ import annotations

import json
from pathlib import Path

from sandbox.building.compiling import Compiling, End, Replaying, Waiting
from sandbox.building.real_build import FACE
from sandbox.ground import Ground
from sandbox.koji import files as koji_files
from sandbox.koji.sources import Source, dist_of
from sandbox.koji.uploads import work_path
from sandbox.store import Row


class KojiReal:
    """The hub's real builds and its replayed ones. With neither every architecture is simulated."""

    def __init__(self, ground: Ground, compiling: Compiling | None, replaying: Replaying | None) -> None:
        self._ground = ground
        self._compiling = compiling
        self._replaying = replaying

    def face(self, task: Row, row: Row) -> str:
        """The first line of an architecture's log while it grows."""
        return FACE if self._compiles(row) and self._source(task) else koji_files.FACE

    def end(self, task: Row, row: Row, source: Source) -> End | Waiting | None:
        """The end of one architecture (``row``); None where it is simulated. Never waits."""
        srpm = self._source(task)
        if srpm is None:
            return None
        key, dist = f"koji-{row['id']}", dist_of(json.loads(task["request"])[1])
        looking = self._replaying is not None and self._replaying.begun(key)
        if self._compiling is not None and self._compiles(row) and not looking:
            keep = koji_files.output_folder(self._ground, row["id"])
            built = self._compiling.built(key, srpm, dist, keep)
            if isinstance(built, Waiting):
                return built
            if built is not None:
                return End("succeeded" if built.succeeded else "failed", built.log, FACE)
        if self._replaying is None:
            return None
        chroot = f"fedora-{dist.removeprefix('.fc')}-{row['arch']}"
        return self._replaying.end(key, srpm, source.name, source.version, chroot, dist)

    def _compiles(self, row: Row) -> bool:
        return self._compiling is not None and row["arch"] == self._compiling.tools.arch

    def _source(self, task: Row) -> Path | None:
        src = json.loads(task["request"])[0]
        return None if "://" in src else work_path(self._ground, src)
