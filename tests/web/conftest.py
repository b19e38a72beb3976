"""Live applications for the tests: empty ones on both databases, and one that shows the scene."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.catalog import Catalog
from service.store.session import Database
from tests.web.live import LiveApp, serving
from tests.web.scene import play


@pytest.fixture
def live(database_url: str, valkey_url: str) -> Iterator[LiveApp]:
    """An application on an empty database, once on SQLite and once on PostgreSQL, with a broker."""
    with serving(database_url, broker_url=valkey_url) as app:
        yield app


@pytest.fixture
def brokerless(database_url: str) -> Iterator[LiveApp]:
    """The same without a broker."""
    with serving(database_url) as app:
        yield app


@pytest.fixture(scope="session")
def scene_url(sqlite_template: Path, catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SQLite database with a build in every state. Tests only read it."""
    path = tmp_path_factory.mktemp("scene") / "scene.sqlite"
    shutil.copyfile(sqlite_template, path)
    url = f"sqlite:///{path}"
    db = Database(url)
    play(db, catalog)
    db.dispose()
    return url


@pytest.fixture(scope="session")
def scene(scene_url: str) -> Iterator[LiveApp]:
    """An application in the sandbox that shows the scene."""
    with serving(scene_url, sandbox=True) as app:
        yield app
