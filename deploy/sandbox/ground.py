"""What all parts of one running sandbox share: its folders and database, pace and pause, addresses and chroots."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path

from sandbox.store import Store

ARCHES = ("x86_64", "aarch64", "ppc64le", "s390x")
ACTIVE = tuple(f"fedora-{release}-{arch}" for release in ("43", "44", "45", "rawhide") for arch in ARCHES)
ENDED = tuple(f"fedora-{release}-{arch}" for release in ("41", "42") for arch in ARCHES)
EPEL = tuple(f"epel-{release}-{arch}" for release in ("9", "10") for arch in ARCHES)
# The tables whose rows a driver moves when their column ``due_at`` says so.
DRIVEN = ("build", "koji_task")


class Ground:
    """The state of one sandbox. ``pace`` is in seconds per step of a build's life."""

    def __init__(self, state_dir: Path, *, pace: float) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self.state_dir = state_dir
        self.store = Store(state_dir / "sandbox.sqlite")
        self.results, self.uploads, self.spool = (state_dir / name for name in ("results", "tmp", "spool"))
        self.koji_files = state_dir / "koji"
        for folder in (self.results, self.uploads, self.spool, self.koji_files):
            folder.mkdir(exist_ok=True)
        self.copr_url = self.koji_url = self.mirror_url = ""
        self.pace = pace
        self.paused = bool(self.store.setting("paused", False))
        self.wake_events: list[asyncio.Event] = []

    def add_chroots(self) -> None:
        """Fill the table of chroots at the first start; the caller owns the transaction."""
        if self.store.one("SELECT 1 FROM chroot") is None:
            active = {*ACTIVE, *EPEL}
            for position, name in enumerate((*ENDED, *ACTIVE, *EPEL)):
                self.store.execute("INSERT INTO chroot VALUES (?, ?, ?)", name, name in active, position)

    def next_step(self) -> float:
        """Return when a build that moves now is due again, in epoch seconds."""
        return time.time() + self.pace

    def wake(self) -> None:
        """Let every driver look at once for what is due."""
        for event in self.wake_events:
            event.set()

    def set_pace(self, seconds: float) -> None:
        """Change the pace, also for builds under way; the caller owns the transaction."""
        self.pace = seconds
        self.hurry()

    def hurry(self) -> None:
        """Bring forward what is due later than the pace allows; the caller owns the transaction."""
        soon = self.next_step()
        for table in DRIVEN:
            self.store.execute(f"UPDATE {table} SET due_at = ? WHERE due_at > ?", soon, soon)

    def dist(self, chroot: str) -> str:
        """Return a chroot's dist tag: ``.fc44``, ``.el9``; rawhide's is one above the newest numbered Fedora's."""
        family, release, _ = chroot.split("-", 2)
        if family == "epel":
            return f".el{release}"
        if release.isdigit():
            return f".fc{release}"
        names = [row["name"] for row in self.store.all("SELECT name FROM chroot")]
        numbers = [int(match[1]) for name in names if (match := re.match(r"fedora-(\d+)-", name))]
        return f".fc{max(numbers, default=0) + 1}"

    def write_private(self, name: str, text: str) -> Path:
        """Replace a file of the state folder at once, with mode 0600; its path."""
        path = self.state_dir / name
        temporary = path.with_name(name + ".part")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        temporary.replace(path)
        return path
