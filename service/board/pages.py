"""Keyset pages: the place in a list is the last row's id, so that inserts neither repeat nor skip a row."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

LIMIT = 50
LIMIT_MAX = 200

_POSITION = re.compile(r"k([1-9]\d{0,17})", re.ASCII)


class BadCursor(ValueError):
    """A cursor that no list of ours has given out."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows of a list, and the cursor of what follows; None at the end."""

    items: tuple[T, ...]
    next: str | None


def read_cursor(cursor: str | None) -> int | None:
    """The id after which to go on, or None for the start. Raises BadCursor."""
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
    """An opaque cursor that goes on after ``row_id``."""
    return base64.urlsafe_b64encode(f"k{row_id}".encode()).decode().rstrip("=")


def cut(items: Sequence[T], ids: Sequence[int], limit: int) -> Page[T]:
    """A page of ``limit`` from rows that were asked for with one more than that."""
    more = len(items) > limit
    return Page(tuple(items[:limit]), write_cursor(ids[limit - 1]) if more else None)
