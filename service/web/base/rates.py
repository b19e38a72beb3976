"""Limits how often a token or an address may write, by the limits library in this process's memory.

Neither the broker nor the database stands in the way of a request, and a broker that is away neither opens nor closes
anything. With several web processes each counts by itself.
"""

from __future__ import annotations

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from service.settings import Settings
from service.web.base.problems import Problem


class Rates:
    """Counts of the last minute: writes of each token and address, and wrongly signed webhooks of each address."""

    def __init__(self, settings: Settings) -> None:
        self._window = MovingWindowRateLimiter(MemoryStorage())
        self._limits = {
            "token": settings.write_limit_per_minute,
            "address": settings.address_limit_per_minute,
            "signature": settings.bad_signature_limit_per_minute,
        }

    def take(self, kind: str, who: str, what: str) -> None:
        """Count one more of a kind (``token``, ``address``, ``signature``). Raises Problem 429 over the limit."""
        item = RateLimitItemPerMinute(self._limits[kind])
        if self._window.hit(item, kind, who):
            return
        seconds = max(1, math.ceil(self._window.get_window_stats(item, kind, who).reset_time - time.time()))
        raise Problem(
            429,
            f"More than {self._limits[kind]} {what} in a minute. Come back in {seconds} seconds.",
            headers={"Retry-After": str(seconds)},
        )
