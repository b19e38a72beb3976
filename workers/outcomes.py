"""What a follow-up's runner may come to: done, done for now, or not yet."""

from __future__ import annotations

from dataclasses import dataclass

from service.builds.follow_ups import Record


@dataclass(frozen=True)
class Done:
    """A runner's end: one line for the history, and what writes its findings in the closing transaction."""

    outcome: str
    record: Record | None = None


@dataclass(frozen=True)
class Again:
    """It went well and is to be done again after a pause: what was found is recorded now, and no try is spent."""

    text: str
    delay_seconds: float
    record: Record | None = None


class NotYet(Exception):
    """Try again later; ``str(error)`` is one line that is shown meanwhile.

    ``retry_after`` is seconds, 0 for the usual pause, which doubles with each try. ``spend_try=False`` where the
    other side is away or not ready: that costs nothing but time, until what we look for is surely deleted.
    """

    def __init__(self, reason: str, *, retry_after: float = 0.0, spend_try: bool = True) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.spend_try = spend_try
