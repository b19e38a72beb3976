"""Every table in one import, for those who need them all: migrations, and the test that compares them."""

from service.store import (
    access,
    checks,
    diagnoses,
    distgit,
    logs,
    overrides,
    rules,
    schema,
    side_tags,
    surroundings,
)
from service.store.base import Base

__all__ = [
    "Base",
    "access",
    "checks",
    "diagnoses",
    "distgit",
    "logs",
    "overrides",
    "rules",
    "schema",
    "side_tags",
    "surroundings",
]
