"""How many bytes of webhook bodies may be in memory at once, over all requests."""

from __future__ import annotations

# Release payloads are 10 to 30 kB. A body beyond this size may not use the last part of the budget, so that a
# few slow uploads of the largest size cannot shut ordinary deliveries out.
SMALL_BODY = 64 * 1024
KEPT_FOR_SMALL = 8


class Budget:
    """The common limit, in bytes. Used from the event loop only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit

    @property
    def held(self) -> int:
        """Bytes in memory now."""
        return self._limit - self._free

    def reservation(self) -> Reservation:
        """A share of the budget for one request, empty at first."""
        return Reservation(self)

    def take(self, size: int, *, keep_free: int) -> bool:
        """Take ``size`` bytes if at least ``keep_free`` stay free after that."""
        if self._free - size < keep_free:
            return False
        self._free -= size
        return True

    def give_back(self, size: int) -> None:
        """Return ``size`` bytes that were taken."""
        self._free += size

    @property
    def kept_for_small(self) -> int:
        return self._limit // KEPT_FOR_SMALL


class Reservation:
    """What one request holds of the budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0

    def take(self, size: int) -> bool:
        """Hold ``size`` more bytes; False if the budget has not that many."""
        keep_free = self._budget.kept_for_small if self._held + size > SMALL_BODY else 0
        if not self._budget.take(size, keep_free=keep_free):
            return False
        self._held += size
        return True

    def release(self) -> None:
        """Give everything back."""
        self._budget.give_back(self._held)
        self._held = 0
