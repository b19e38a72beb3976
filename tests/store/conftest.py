"""Fixtures of the database's tests."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.catalog import Catalog
from service.store.session import Database
from tests.store.claims import change
from tests.store.deliveries import builds, deliver, payload


@pytest.fixture
def build_id(db: Database, catalog: Catalog) -> int:
    """One pending build; the other three of its release are put off."""
    deliver(db, catalog, payload("v1.32.1"))
    first, *others = builds(db, "1.32.1")
    for other in others:
        change(db, other.id, due_at=other.created_at + timedelta(days=1))
    return first.id
