"""Answers ``/healthz`` (alive), ``/readyz`` (the database can store) and ``/metrics`` (Prometheus)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import structlog
from anyio import to_thread
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import delete, insert
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.board.health import Health, due_work, health
from service.store.schema import Contact
from service.store.session import Database, database_now
from service.web.base.context import WebContext, context_of

# Whoever asks for readiness gives up after a few seconds; a database that is stuck must not stick the answer.
READY_SECONDS = 4.0
PROBE = "cryopack:write-probe"

T = TypeVar("T")

log = structlog.get_logger()


class _Undo(Exception):
    """Raised to end the probe's transaction without keeping what it wrote."""


@dataclass(frozen=True)
class Readiness:
    """Whether the database takes a write, and how late the work is. ``problem`` is empty if it does."""

    problem: str
    overdue: int = 0
    overdue_seconds: float = 0.0


def probe_database(db: Database) -> Readiness:
    """Try a real write to the database, undo it, and read what is overdue."""
    try:
        try:
            with db.transaction() as session:
                session.execute(delete(Contact).where(Contact.name == PROBE))
                session.execute(insert(Contact).values(name=PROBE, problem="", etag=""))
                due = due_work(session, database_now(session))
                raise _Undo
        except _Undo:
            pass
    except SQLAlchemyError as error:
        log.warning("database cannot store", error=type(error).__name__)
        return Readiness(f"the database cannot store ({type(error).__name__})")
    return Readiness(
        "", sum(work.overdue for work in due), max((work.oldest_seconds for work in due), default=0.0)
    )


async def healthz(request: Request) -> Response:
    """Answer that the process is alive. Says nothing of the database or the broker."""
    return JSONResponse({"status": "alive"}, headers={"Cache-Control": "no-store"})


async def readyz(request: Request) -> Response:
    """Answer whether the database can store: 503 only if not. The broker and overdue work are told, not judged."""
    context = context_of(request)
    ready = await _within(lambda: probe_database(context.db), context)
    if ready is None:
        ready = Readiness(f"the database did not answer within {READY_SECONDS:g} seconds")
    body: dict[str, Any] = {
        "status": "unavailable" if ready.problem else "ready",
        "database": ready.problem or "stores",
        "broker": context.wake.problem or "no trouble seen",
        "hints_dropped": context.wake.dropped,
        "overdue": ready.overdue,
        "overdue_seconds": round(ready.overdue_seconds, 1),
    }
    headers = {"Cache-Control": "no-store", **({"Retry-After": "5"} if ready.problem else {})}
    return JSONResponse(body, 503 if ready.problem else 200, headers=headers)


async def metrics(request: Request) -> Response:
    """Answer Prometheus. Without a database the metrics of the process are still there."""
    context = context_of(request)
    text = context.metrics.text(
        await _within(lambda: _read_health(context.db), context),
        dropped=context.wake.dropped,
        groups=context.inbox.groups,
        stored=context.inbox.stored,
    )
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def _read_health(db: Database) -> Health | None:
    try:
        with db.reader() as session:
            return health(session)
    except SQLAlchemyError as error:
        log.warning("figures without database", error=type(error).__name__)
        return None


async def _within(read: Callable[[], T], context: WebContext) -> T | None:
    with anyio.move_on_after(READY_SECONDS):
        return await to_thread.run_sync(read, abandon_on_cancel=True, limiter=context.probes)
    return None
