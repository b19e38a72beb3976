"""Reads webhook deliveries: the list, and one with its payload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import LargeBinary, func, select
from sqlalchemy.orm import Session

from service.board.pagination import LIMIT, Page, newest_first
from service.catalog import Catalog
from service.store.schema import UpstreamRelease, WebhookDelivery


@dataclass(frozen=True)
class DeliveryRow:
    """One webhook delivery and its state. ``repeats`` counts further arrivals of the same guid."""

    id: int
    guid: str
    event: str
    action: str
    repository: str
    tag: str
    state: str
    reason: str
    received_at: datetime
    ended_at: datetime | None
    due_at: datetime | None
    tries: int
    repeats: int


@dataclass(frozen=True)
class DeliveryDetail:
    """A delivery with its raw payload, its size in bytes, and the release that it announced, if any."""

    delivery: DeliveryRow
    size: int
    payload: bytes
    release_family: str | None
    release_version: str | None


_D = WebhookDelivery
_COLUMNS = (
    _D.id, _D.guid, _D.event, _D.action, _D.repository, _D.tag, _D.state, _D.reason, _D.received_at,
    _D.ended_at, _D.due_at, _D.tries, _D.repeats,
)  # fmt: skip


def list_deliveries(
    session: Session,
    *,
    state: str | None = None,
    event: str | None = None,
    cursor: str | None = None,
    limit: int = LIMIT,
) -> Page[DeliveryRow]:
    """Return a page of deliveries, newest first. Raises BadCursor."""
    statement = select(*_COLUMNS)
    if state is not None:
        statement = statement.where(_D.state == state)
    if event is not None:
        statement = statement.where(_D.event == event)
    page = newest_first(session, statement, _D.id, cursor, limit)
    return Page(tuple(_row(row) for row in page.items), page.next)


def delivery_row(session: Session, delivery_id: int) -> DeliveryRow | None:
    """Return one delivery without its payload, by the id of its row, or None."""
    row = session.execute(select(*_COLUMNS).where(_D.id == delivery_id)).one_or_none()
    return _row(row) if row is not None else None


def delivery_detail(
    session: Session, catalog: Catalog, guid: str, *, payload_limit: int
) -> DeliveryDetail | None:
    """Return one delivery with at most ``payload_limit`` bytes of its payload, or None for an unknown guid."""
    payload = func.substr(_D.payload, 1, payload_limit, type_=LargeBinary)
    row = session.execute(
        select(*_COLUMNS, func.length(_D.payload), payload).where(_D.guid == guid)
    ).one_or_none()
    if row is None:
        return None
    *values, size, shown = row
    delivery = _row(values)
    family = catalog.family_of(delivery.repository)
    version = None
    if family is not None and delivery.tag:
        version = session.scalar(
            select(UpstreamRelease.version).where(
                UpstreamRelease.family == family.name,
                UpstreamRelease.version == delivery.tag.removeprefix("v"),
            )
        )
    return DeliveryDetail(
        delivery, size, bytes(shown), family.name if family is not None and version else None, version
    )


def _row(values: Sequence[Any]) -> DeliveryRow:
    return DeliveryRow(*values)
