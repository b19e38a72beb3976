"""Reading foreign JSON without trusting it: every function gives something usable for anything at all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

# GitHub is younger than 1970, and nobody publishes after 9000.
FIRST_YEAR, LAST_YEAR = 1970, 9000


def read_time(value: object) -> datetime | None:
    """GitHub's RFC 3339 time to a datetime in UTC; None for anything else, and for years that cannot be meant.

    A time at the edge of the calendar has no UTC form, and a delivery must not fail for a decoration.
    """
    if not isinstance(value, str):
        return None
    try:
        told = datetime.fromisoformat(value)
        utc = told.astimezone(UTC) if told.tzinfo else None
    except (ValueError, OverflowError):
        return None
    return utc if utc and FIRST_YEAR <= utc.year <= LAST_YEAR else None


def read_object(value: object) -> dict[str, Any]:
    """A JSON object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def clean_text(value: object) -> str:
    """Foreign text that every database can store; empty for what is no text."""
    # PostgreSQL cannot store NUL, and a lone surrogate cannot be encoded; hostile payloads hold both.
    if not isinstance(value, str):
        return ""
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def read_address(value: object) -> str:
    """A web address; empty for what must not become a link."""
    text = clean_text(value)
    return text[:500] if text.startswith(("https://", "http://")) else ""
