"""Log-in sessions that are opened before an act and used for it once, and the fence that closes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.buildsystems.koji.client import KojiClient
from workers.buildsystems.koji.trouble import Kind, KojiTrouble

# Sessions that were opened and never used; the hub forgets them by itself after a day.
MOST_HELD = 50


@dataclass(frozen=True)
class _Held:
    """An open session's number and key. Plain data: a fork that drops it logs nobody out."""

    pid: int
    sinfo: Mapping[str, Any]


class HeldSessions:
    """Keeps the keys of open sessions, in this process only."""

    def __init__(self, caches: Path) -> None:
        self._caches = caches
        self._held: dict[int, _Held] = {}

    def _hold(self, sinfo: Mapping[str, Any]) -> int:
        """Keep an open session; its number."""
        number = int(sinfo["session-id"])
        while len(self._held) >= MOST_HELD:
            self._held.pop(next(iter(self._held)), None)
        self._held[number] = _Held(os.getpid(), sinfo)
        return number

    def _take(self, number: int) -> Mapping[str, Any] | None:
        """The session to use, once; None where another process opened it, or it was used or closed."""
        held = self._held.pop(number, None)
        return held.sinfo if held is not None and held.pid == os.getpid() else None

    def _close(self, client: KojiClient, number: int) -> None:
        """The fence. Raises KojiTrouble where it has not surely happened."""
        self._held.pop(number, None)
        try:
            client.close_session(number)
        except KojiTrouble as error:
            # No such session of this user; the same answer for another user's has been ruled out before.
            if not (error.kind is Kind.REFUSED and "returned no rows" in str(error)):
                raise

    @staticmethod
    def _end_session(client: KojiClient) -> None:
        try:
            client.log_out()
        except KojiTrouble:
            # What was asked for is done; a session that stays open for a day harms nobody.
            return

    def _ccache(self) -> Path:
        return self._caches / f"krb5cc-{os.getpid()}"
