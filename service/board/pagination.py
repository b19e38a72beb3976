"""Cuts lists into pages by keyset: a cursor is the last row's id, so inserts neither repeat nor skip a row."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Row, Select
from sqlalchemy.orm import InstrumentedAttribute, Session

T = TypeVar("T")

LIMIT = 50
LIMIT_MAX = 200

_POSITION = re.compile(r"k([1-9]\d{0,17})", re.ASCII)


class BadCursor(ValueError):
    """A cursor that write_cursor cannot have made."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows of a list, and the cursor of what follows; None at the end."""

    items: tuple[T, ...]
    next: str | None


def read_cursor(cursor: str | None) -> int | None:
    """Return the row id that a cursor stands for, or None for the start of the list. Raises BadCursor."""
    if not cursor:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor[:64].encode("ascii") + b"==").decode("ascii")
    except (ValueError, binascii.Error):
        raise BadCursor("the cursor is not one of ours") from None
    match = _POSITION.fullmatch(text)
    if match is None:
        raise BadCursor("the cursor is not one of ours")
    return int(match[1])


def write_cursor(row_id: int) -> str:
    """Return the opaque cursor of the page that begins after ``row_id``."""
    return base64.urlsafe_b64encode(f"k{row_id}".encode()).decode().rstrip("=")


def cut(items: Sequence[T], ids: Sequence[int], limit: int) -> Page[T]:
    """Return a page of ``limit`` items from a list of up to ``limit + 1``; ``ids`` are the items' row ids."""
    more = len(items) > limit
    return Page(tuple(items[:limit]), write_cursor(ids[limit - 1]) if more else None)


def newest_first(
    session: Session,
    statement: Select[*tuple[Any, ...]],
    row_id: InstrumentedAttribute[int],
    cursor: str | None,
    limit: int,
) -> Page[Row[*tuple[Any, ...]]]:
    """Run a statement that selects ``row_id`` as ``id``, and return one page, highest id first. Raises BadCursor."""
    after = read_cursor(cursor)
    if after is not None:
        statement = statement.where(row_id < after)
    rows = session.execute(statement.order_by(row_id.desc()).limit(limit + 1)).all()
    return cut(rows, [row.id for row in rows], limit)
