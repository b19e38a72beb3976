"""Puts one sandbox together: the drivers of COPR's builds and Koji's tasks, the forge, the mirror and the compiler."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from sandbox.building.builder import Builder
from sandbox.building.real_build import Toolchain
from sandbox.copr.accounts import renew_token
from sandbox.copr.builder import ChrootBuilder
from sandbox.copr.driver import BuildDriver
from sandbox.copr.results import LIVE_LOG
from sandbox.forge import core as forge
from sandbox.ground import Ground
from sandbox.koji import tables as koji_tables
from sandbox.koji.driver import TaskDriver
from sandbox.mirror.releases import Releases
from sandbox.store import Row

ACCOUNT = "packbot"
HEADING = "# Written by cryopack's sandbox; it opens nothing but the sandbox itself.\n"


class Sandbox:
    """One sandbox: its ground, and everything that stands on it. ``pace`` is in seconds per step of a build's life."""

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
        self.ground = Ground(state_dir, pace=pace)
        self.store = self.ground.store
        koji_tables.create(self.store)
        forge.create(self.store, state_dir / "forge-token")
        with self.store.transaction():
            self._first_rows(publish, hold_back)
        self._sweep()
        self._builder = Builder(self.ground, tools, replays=replays)
        self.build_driver = BuildDriver(self.ground, ChrootBuilder(self.ground, self._builder))
        self.task_driver = TaskDriver(self.ground, self._builder)

    def _first_rows(self, publish: str, hold_back: tuple[str, ...]) -> None:
        self.ground.add_chroots()
        if self.store.one("SELECT 1 FROM account WHERE name = ?", ACCOUNT) is None:
            renew_token(self.store, ACCOUNT)
        koji_tables.first_rows(self.store)
        Releases(self.store).load(publish, hold_back)
        # A new pace also holds for what was due by the old one.
        self.ground.hurry()

    def _sweep(self) -> None:
        """Remove what a killed sandbox left half done; nothing that it had confirmed is among it."""
        kept = {row["url"].split("/")[2] for row in self._uploaded()}
        for folder in self.ground.uploads.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder)
        for entry in self.ground.spool.iterdir():
            if entry.is_file():
                entry.unlink()

    def _uploaded(self) -> list[Row]:
        return self.store.all(
            "SELECT json_extract(source_dict, '$.url') AS url FROM build WHERE source_type = 'upload'"
        )

    def compress_leftovers(self) -> None:
        """Compress the logs of ended steps that the last run had no time to compress."""
        builds = {int(path.parent.name[:8]) for path in self.ground.results.rglob(LIVE_LOG)}
        for build_id in builds:
            self.build_driver.compress(build_id)

    def write_client_config(self) -> Path:
        """Write the file that ``copr`` and its library read as ``~/.config/copr``; mode 0600."""
        row = self.store.one("SELECT * FROM account WHERE name = ?", ACCOUNT)
        assert row is not None, "the account is made at the first start"
        text = (
            f"[copr-cli]\nlogin = {row['login']}\nusername = {row['name']}\ntoken = {row['token']}\n"
            f"copr_url = {self.ground.copr_url}\nencrypted = False\n# expiration date: {row['expiration']}\n"
        )
        return self.ground.write_private("copr.conf", f"{HEADING}{text}")

    def write_koji_config(self) -> Path:
        """Write the profile ``sandbox`` for Koji's clients, and its password beside it; both mode 0600."""
        row = self.store.one("SELECT * FROM koji_user WHERE name = ?", koji_tables.SERVICE_USER)
        assert row is not None, "the account is made at the first start"
        self.ground.write_private("koji-password", row["password"] + "\n")
        url = self.ground.koji_url
        return self.ground.write_private(
            "koji.conf",
            f"{HEADING}[sandbox]\nserver = {url}/kojihub\nweburl = {url}/koji\ntopurl = {url}/kojifiles\n"
            f"authtype = password\n",
        )

    def write_forge_token(self) -> Path:
        """Write the file with the token of the forge's bot; mode 0600."""
        return self.ground.write_private("forge-token", forge.token_of(self.store, forge.BOT) + "\n")

    async def run(self) -> None:
        """Drive builds until cancelled."""
        self.compress_leftovers()
        await asyncio.gather(self.build_driver.run(), self.task_driver.run())

    def stop_compiling(self) -> None:
        """End what still compiles: the next start compiles it again."""
        self._builder.close()

    def close(self) -> None:
        """End what still compiles, and close the database."""
        self.stop_compiling()
        self.store.close()
