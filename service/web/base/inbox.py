"""Stores webhook deliveries, those that wait at the same time in one transaction; bounds the memory of their bodies."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.releases.intake import Accepted, Incoming, accept_deliveries
from service.store.session import Database

GROUP_LIMIT = 64
WAITING_LIMIT = 1024
# GitHub gives up after ten seconds; whoever waits longer than this is told to come again.
ANSWER_SECONDS = 9.0
CLOSE_SECONDS = 10.0
# Release payloads are 10 to 30 kB. A body beyond this size may not use the last part of the budget, so that a
# few slow uploads of the largest size cannot shut ordinary deliveries out.
SMALL_BODY = 64 * 1024
KEPT_FOR_SMALL = 8

log = structlog.get_logger()


class Budget:
    """The limit of bytes of webhook bodies in memory, over all requests. Used from the event loop only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit

    @property
    def held(self) -> int:
        """Bytes in memory now."""
        return self._limit - self._free

    def reservation(self) -> Reservation:
        """Make the share of one request, empty at first."""
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
    """The share of the budget that one request holds."""

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


class InboxUnavailable(Exception):
    """The delivery could not be stored; ``str(error)`` is one line without details of the database."""


@dataclass(eq=False)
class _Waiting:
    incoming: Incoming
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Accepted] = field(init=False)
    abandoned: bool = False

    def __post_init__(self) -> None:
        self.answer = self.loop.create_future()


class Inbox:
    """The one writer of webhook deliveries, a thread. ``store()`` returns after the commit."""

    def __init__(self, db: Database, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._db = db
        self._answer_seconds = answer_seconds
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(WAITING_LIMIT)
        self._thread = threading.Thread(target=self._write_all, name="inbox", daemon=True)
        self._closed = False
        self.groups = 0
        self.stored = 0

    def start(self) -> None:
        """Start the writer. Call it in the process that serves, never before a fork."""
        self._thread.start()

    def close(self) -> None:
        """Store what is waiting, then end the thread; waits for it at most ``CLOSE_SECONDS``."""
        self._closed = True
        if self._thread.is_alive():
            # A full queue needs no word: the writer ends by itself where nothing waits any more.
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(None)
            self._thread.join(CLOSE_SECONDS)

    async def store(self, incoming: Incoming) -> Accepted:
        """Store a delivery and return after the commit. Raises InboxUnavailable, also after ``answer_seconds``."""
        waiting = _Waiting(incoming, asyncio.get_running_loop())
        if self._closed:
            raise InboxUnavailable("the service is stopping")
        try:
            self._queue.put_nowait(waiting)
        except queue.Full:
            raise InboxUnavailable("too many deliveries are waiting for the database") from None
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await waiting.answer
        except TimeoutError:
            raise InboxUnavailable("the database did not answer in time") from None
        finally:
            # A writer that has not begun with it must not store what was refused or what nobody waits for.
            waiting.abandoned = True

    def _write_all(self) -> None:
        stopping = False
        while not stopping and not (self._closed and self._queue.empty()):
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            while len(group) < GROUP_LIMIT:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    stopping = True
                    break
                group.append(item)
            self._write([waiting for waiting in group if not waiting.abandoned])

    def _write(self, group: Sequence[_Waiting]) -> None:
        if not group:
            return
        try:
            answers = self._accept(group)
        except Exception as error:  # Nothing may end the only writer.
            if len(group) == 1:
                _answer_all([_refusal(group[0], error)])
            else:
                log.warning(
                    "inbox group failed, storing row by row", rows=len(group), error=type(error).__name__
                )
                self._write_singly(group)
            return
        _answer_all([_acceptance(waiting, answer) for waiting, answer in zip(group, answers, strict=True)])

    def _write_singly(self, group: Sequence[_Waiting]) -> None:
        """Store row by row: a bad row must not refuse its neighbours, a database that is away refuses all at once."""
        away: Exception | None = None
        for waiting in group:
            if away is not None or waiting.abandoned:
                _answer_all([_refusal(waiting, away or InboxUnavailable("nobody waits any more"))])
                continue
            try:
                answer = self._accept([waiting])[0]
            except Exception as error:  # Nothing may end the only writer.
                if _database_is_away(error):
                    away = error
                _answer_all([_refusal(waiting, error)])
                continue
            _answer_all([_acceptance(waiting, answer)])

    def _accept(self, group: Sequence[_Waiting]) -> list[Accepted]:
        answers = accept_deliveries(self._db, [waiting.incoming for waiting in group])
        self.groups += 1
        self.stored += len(group)
        return answers


def _database_is_away(error: Exception) -> bool:
    return isinstance(error, (OperationalError, InterfaceError, PoolTimeout)) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def _acceptance(waiting: _Waiting, answer: Accepted) -> tuple[_Waiting, Callable[[], None]]:
    def settle() -> None:
        if not waiting.answer.done():
            waiting.answer.set_result(answer)

    return waiting, settle


def _refusal(waiting: _Waiting, error: Exception) -> tuple[_Waiting, Callable[[], None]]:
    kind = type(error).__name__
    log.error("delivery not stored", delivery=waiting.incoming.guid, error=kind)
    what = "the database cannot store it" if isinstance(error, SQLAlchemyError) else "it could not be stored"

    def settle() -> None:
        if not waiting.answer.done():
            waiting.answer.set_exception(InboxUnavailable(f"{what} ({kind})"))

    return waiting, settle


def _answer_all(settlements: Sequence[tuple[_Waiting, Callable[[], None]]]) -> None:
    """Wake the waiting requests: one call into the event loop for the whole group."""
    if not settlements:
        return

    def settle_all() -> None:
        for _, settle in settlements:
            settle()

    try:
        settlements[0][0].loop.call_soon_threadsafe(settle_all)
    except RuntimeError:
        # The event loop is gone: nobody waits any more, and what was committed stays committed.
        log.warning("inbox answered nobody", rows=len(settlements))
