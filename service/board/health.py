"""Reads the health of the service: due and overdue work, the last contact with others, and counts by state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from service.domain.states import LIVE_BUILD, BuildState, DeliveryState, SideTagState
from service.store.schema import Contact, FollowUp, PackageBuild, SideTag, WebhookDelivery
from service.store.session import database_now

# A row that is due waits for the next sweep or a free worker; after this long nobody seems to be there.
OVERDUE = timedelta(minutes=1)


@dataclass(frozen=True)
class DueWork:
    """Counts of one kind of work: rows that wait, that are due, and that have been due for more than OVERDUE.

    ``oldest_seconds`` is how long the oldest has been due. ``retrying`` rows were tried at least once since
    they last made progress. ``next_at`` is what is due next.
    """

    kind: str
    waiting: int
    due: int
    overdue: int
    oldest_seconds: float
    retrying: int
    next_at: datetime | None


@dataclass(frozen=True)
class ContactRow:
    """The last contact with another service. ``problem`` is empty while the last try worked."""

    name: str
    ok_at: datetime | None
    failed_at: datetime | None
    problem: str


@dataclass(frozen=True)
class Health:
    """The state of the service at ``now`` (the database's clock)."""

    now: datetime
    deliveries: Mapping[str, int]
    builds: Mapping[str, int]
    due: tuple[DueWork, ...]
    contacts: tuple[ContactRow, ...]

    @property
    def overdue_seconds(self) -> float:
        """How long the oldest row that is due has waited, 0 where nothing is due."""
        return max((work.oldest_seconds for work in self.due), default=0.0)

    @property
    def overdue(self) -> int:
        return sum(work.overdue for work in self.due)


def health(session: Session) -> Health:
    """Return counts, due work and contacts, as of the database's clock."""
    now = database_now(session)
    return Health(
        now=now,
        deliveries=_by_state(session, WebhookDelivery.state, DeliveryState),
        builds=_by_state(session, PackageBuild.state, BuildState),
        due=due_work(session, now),
        contacts=tuple(
            ContactRow(name, ok_at, failed_at, problem)
            for name, ok_at, failed_at, problem in session.execute(
                select(Contact.name, Contact.ok_at, Contact.failed_at, Contact.problem).order_by(Contact.name)
            )
        ),
    )


def due_work(session: Session, now: datetime) -> tuple[DueWork, ...]:
    """Return the work that waits, by kind; reads over the partial indexes of due_at."""
    waiting_build = PackageBuild.state.in_(sorted(LIVE_BUILD - {BuildState.HELD, BuildState.RUNNING}))
    return (
        _due(
            session, "deliveries", WebhookDelivery, WebhookDelivery.state == DeliveryState.RECEIVED.value, now
        ),
        _due(session, "builds", PackageBuild, waiting_build, now),
        _due(session, "polls", PackageBuild, PackageBuild.state == BuildState.RUNNING.value, now),
        _due(session, "follow-ups", FollowUp, FollowUp.ended_at.is_(None), now),
        _due(session, "side-tags", SideTag, SideTag.state != SideTagState.REMOVED.value, now),
    )


def _due(session: Session, kind: str, table: Any, condition: ColumnElement[bool], now: datetime) -> DueWork:
    # A held row has its due time at the end of its lease, so that a dead holder's row becomes overdue too.
    due, overdue = table.due_at <= now, table.due_at <= now - OVERDUE
    waiting, ready, late, oldest, retrying, next_at = session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(case((due, 1), else_=0)), 0),
            func.coalesce(func.sum(case((overdue, 1), else_=0)), 0),
            func.min(table.due_at),
            func.coalesce(func.sum(case((table.tries > 0, 1), else_=0)), 0),
            func.min(case((due, None), else_=table.due_at)),
        ).where(condition)
    ).one()
    age = (now - oldest).total_seconds() if oldest is not None else 0.0
    return DueWork(kind, waiting, int(ready), int(late), max(age, 0.0), int(retrying), next_at)


def _by_state(
    session: Session, column: Any, states: type[DeliveryState] | type[BuildState]
) -> dict[str, int]:
    counts = {state.value: 0 for state in states}
    for state, count in session.execute(select(column, func.count()).group_by(column)):
        counts[state] = count
    return counts
