"""The sandbox as one object: where its state lies, how fast it goes, which chroots it knows."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from pathlib import Path

from sandbox.building.compiling import Compiling, Replaying
from sandbox.building.real_build import Toolchain
from sandbox.copr.accounts import renew_token
from sandbox.copr.life import BuildLife
from sandbox.copr.real import RealFarm
from sandbox.copr.results import LIVE_LOG
from sandbox.forge import core as forge
from sandbox.koji import tables as koji_tables
from sandbox.koji.life import KojiLife
from sandbox.koji.real import KojiReal
from sandbox.mirror.releases import Releases
from sandbox.store import Row, Store

ACCOUNT = "packbot"
FACE = "# Written by cryopack's sandbox; it opens nothing but the sandbox itself.\n"
ARCHES = ("x86_64", "aarch64", "ppc64le", "s390x")
ACTIVE = tuple(f"fedora-{release}-{arch}" for release in ("43", "44", "45", "rawhide") for arch in ARCHES)
ENDED = tuple(f"fedora-{release}-{arch}" for release in ("41", "42") for arch in ARCHES)
EPEL = tuple(f"epel-{release}-{arch}" for release in ("9", "10") for arch in ARCHES)


class Sandbox:
    """Everything that the endpoints share. ``pace`` is in seconds per step of a build's life."""

    def __init__(
        self,
        state_dir: Path,
        *,
        pace: float,
        publish: str = "latest",
        hold_back: tuple[str, ...] = (),
        tools: Toolchain | None = None,
        replays: bool = False,
    ) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self.state_dir = state_dir
        self.store = Store(state_dir / "sandbox.sqlite")
        koji_tables.create(self.store)
        forge.create(self.store, state_dir / "forge-token")
        self.results, self.uploads, self.spool = (state_dir / name for name in ("results", "tmp", "spool"))
        for folder in (self.results, self.uploads, self.spool):
            folder.mkdir(exist_ok=True)
        self.koji_files = state_dir / "koji"
        self.koji_files.mkdir(exist_ok=True)
        self.copr_url = self.koji_url = self.mirror_url = ""
        self.pace = pace
        self.paused = bool(self.store.setting("paused", False))
        self.releases = Releases(self.store)
        with self.store.transaction():
            self._first_rows(publish, hold_back)
        self._sweep()
        self._compiling = Compiling(self, tools) if tools is not None else None
        replaying = Replaying(self) if replays else None
        self.real = RealFarm(self, self._compiling, replaying)
        self.koji_real = KojiReal(self, self._compiling, replaying)
        self.life = BuildLife(self)
        self.koji_life = KojiLife(self)

    def _first_rows(self, publish: str, hold_back: tuple[str, ...]) -> None:
        store = self.store
        if store.one("SELECT 1 FROM chroot") is None:
            active = {*ACTIVE, *EPEL}
            for position, name in enumerate((*ENDED, *ACTIVE, *EPEL)):
                store.execute("INSERT INTO chroot VALUES (?, ?, ?)", name, name in active, position)
        if store.one("SELECT 1 FROM account WHERE name = ?", ACCOUNT) is None:
            renew_token(store, ACCOUNT)
        koji_tables.first_rows(store)
        self.releases.load(publish, hold_back)
        # A new pace also holds for what was due by the old one.
        self._hurry(self.next_step())

    def _sweep(self) -> None:
        """Remove what a killed sandbox left half done; nothing that it had promised is among it."""
        kept = {row["url"].split("/")[2] for row in self._uploaded()}
        for folder in self.uploads.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder)
        for entry in self.spool.iterdir():
            if entry.is_file():
                entry.unlink()

    def _uploaded(self) -> list[Row]:
        return self.store.all(
            "SELECT json_extract(source_dict, '$.url') AS url FROM build WHERE source_type = 'upload'"
        )

    def compress_leftovers(self) -> None:
        """Logs of ended steps that the last run had no time to compress."""
        builds = {int(path.parent.name[:8]) for path in self.results.rglob(LIVE_LOG)}
        for build_id in builds:
            self.life.compress(build_id)

    def next_step(self) -> float:
        """When a build that moves now is due again, in epoch seconds."""
        return time.time() + self.pace

    def wake(self) -> None:
        """Let the driver look at once for what is due."""
        self.life.woken.set()
        self.koji_life.woken.set()

    def set_pace(self, seconds: float) -> None:
        """Change the pace, also for builds under way; the caller owns the transaction."""
        self.pace = seconds
        self._hurry(self.next_step())

    def _hurry(self, soon: float) -> None:
        for table in ("build", "koji_task"):
            self.store.execute(f"UPDATE {table} SET due_at = ? WHERE due_at > ?", soon, soon)

    def dist(self, chroot: str) -> str:
        """The dist tag of a chroot: ``.fc44``, ``.el9``; rawhide is one above the newest numbered Fedora."""
        family, release, _ = chroot.split("-", 2)
        if family == "epel":
            return f".el{release}"
        if release.isdigit():
            return f".fc{release}"
        names = [row["name"] for row in self.store.all("SELECT name FROM chroot")]
        numbers = [int(match[1]) for name in names if (match := re.match(r"fedora-(\d+)-", name))]
        return f".fc{max(numbers, default=0) + 1}"

    def write_client_config(self) -> Path:
        """The file that ``copr`` and its library read as ``~/.config/copr``; mode 0600."""
        row = self.store.one("SELECT * FROM account WHERE name = ?", ACCOUNT)
        assert row is not None, "the account is made at the first start"
        text = (
            f"[copr-cli]\nlogin = {row['login']}\nusername = {row['name']}\ntoken = {row['token']}\n"
            f"copr_url = {self.copr_url}\nencrypted = False\n# expiration date: {row['expiration']}\n"
        )
        return self._write_private("copr.conf", f"{FACE}{text}")

    def write_koji_config(self) -> Path:
        """The profile ``sandbox`` for Koji's clients, and its password beside it; both mode 0600."""
        row = self.store.one("SELECT * FROM koji_user WHERE name = ?", koji_tables.SERVICE_USER)
        assert row is not None, "the account is made at the first start"
        self._write_private("koji-password", row["password"] + "\n")
        url = self.koji_url
        return self._write_private(
            "koji.conf",
            f"{FACE}[sandbox]\nserver = {url}/kojihub\nweburl = {url}/koji\ntopurl = {url}/kojifiles\n"
            f"authtype = password\n",
        )

    def write_forge_token(self) -> Path:
        """The file with the token of the forge's bot; mode 0600."""
        return self._write_private("forge-token", forge.token_of(self.store, forge.BOT) + "\n")

    def _write_private(self, name: str, text: str) -> Path:
        path = self.state_dir / name
        temporary = path.with_name(name + ".part")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        temporary.replace(path)
        return path

    async def run(self) -> None:
        """Drive builds until cancelled."""
        self.compress_leftovers()
        await asyncio.gather(self.life.run(), self.koji_life.run())

    def stop_compiling(self) -> None:
        """End what still compiles: the next start compiles it again."""
        if self._compiling is not None:
            self._compiling.close()

    def close(self) -> None:
        """End what still compiles, and close the database."""
        self.stop_compiling()
        self.store.close()
