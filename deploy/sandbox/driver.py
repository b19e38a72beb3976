"""Moves the rows of a table that are due: COPR's builds and Koji's tasks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable
from typing import TypeVar

from sandbox.ground import Ground

LONGEST_WAIT = 60.0
Read = TypeVar("Read")
log = logging.getLogger("sandbox.life")


class Driver:
    """Steps the rows of ``table`` that are due, one after the other; a subclass says what a step is."""

    table = ""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.store = ground.store
        self.woken = asyncio.Event()
        ground.wake_events.append(self.woken)
        self._busy: set[int] = set()

    async def step(self, row_id: int) -> None:
        """Move one row by one step; unknown and ended rows stay as they are."""
        raise NotImplementedError

    async def read_alone(self, row_id: int, reading: Awaitable[Read]) -> Read:
        """Await what takes its time in a thread, and keep a second step of this row out meanwhile."""
        self._busy.add(row_id)
        try:
            return await reading
        finally:
            self._busy.discard(row_id)

    async def run(self) -> None:
        """Step everything that is due, for ever; ends by being cancelled."""
        while True:
            self.woken.clear()
            wait = LONGEST_WAIT
            if not self.ground.paused:
                now = time.time()
                for row in self.store.all(f"SELECT id FROM {self.table} WHERE due_at <= ? ORDER BY id", now):
                    try:
                        await self.step(row["id"])
                    except Exception:
                        # One broken row must not stop the others; it is tried again a second later.
                        log.exception("%s %s cannot be stepped", self.table, row["id"])
                        with self.store.transaction():
                            self.store.execute(
                                f"UPDATE {self.table} SET due_at = ? WHERE id = ?", now + 1, row["id"]
                            )
                soonest = self.store.one(f"SELECT min(due_at) AS at FROM {self.table}")
                if soonest and soonest["at"] is not None:
                    wait = max(0.0, soonest["at"] - time.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.woken.wait(), min(wait, LONGEST_WAIT))
