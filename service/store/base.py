"""The declarative base of all tables, with its names for constraints, and the types of ids and JSON.

Released migrations import ``Json`` from here, so its name and meaning stay.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import JSON, BigInteger, Integer, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

Json = JSON().with_variant(JSONB(), "postgresql")
# SQLite numbers rows by itself only for the plain type INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")


def in_sql(column: str, values: Iterable[str]) -> str:
    """Return the SQL text ``column IN (...)`` for a CHECK constraint."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in sorted(values))})"


class Base(DeclarativeBase):
    """The base of every table; the names of constraints and indexes are made from their columns."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
