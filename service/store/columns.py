"""Column types for times and texts that work the same on PostgreSQL and on SQLite.

Released migrations import ``UtcTime`` from here, so its name and meaning stay.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

SQLITE_NOW = "strftime('%Y-%m-%dT%H:%M:%fZ','now')"
"""The time now as SQLite's SQL, in the form in which UtcTime stores it."""


class UtcTime(TypeDecorator[datetime]):
    """A time with its zone. On SQLite it is text of fixed width (milliseconds, Z), which sorts by time.

    Raises ValueError for a time without a zone.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(24))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        value = value.astimezone(UTC)
        if dialect.name == "sqlite":
            return f"{value.year:04d}-{value:%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z"
        return value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        stored: datetime = value
        return stored.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text of any origin. What PostgreSQL cannot hold (NUL, lone surrogates) becomes a replacement character.

    Reasons quote other servers, and a quotation that cannot be stored would make its build be tried for ever.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


SortText = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that PostgreSQL compares byte by byte, as SQLite and Python do."""
