"""Fixtures for all tests: real databases, a real broker, a real browser."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from playwright.sync_api import Browser, sync_playwright

import migrations
from service.catalog import Catalog, load
from service.store.session import Database
from tests.scratch import use_memory
from tests.servers import Postgres, Valkey

# Before pytest chooses the folder below which each test gets its own.
use_memory()

# Settings of whoever runs the tests must not leak into them.
for name in [name for name in os.environ if name.startswith("CRYOPACK_")]:
    if name != "CRYOPACK_REAL_SOURCES" and not name.startswith("CRYOPACK_TEST_"):
        del os.environ[name]

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session", autouse=True)
def log_lines() -> io.StringIO:
    """What is logged in the tests' own process, one JSON object a line, instead of on the terminal.

    Set up before anything else: the service keeps the first set-up that it finds.
    """
    lines = io.StringIO()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(lines),
    )
    return lines


@pytest.fixture(scope="session")
def postgres() -> Iterator[tuple[Postgres, str]]:
    """The server, and the name of a migrated template database."""
    server = Postgres()
    server.start()
    template = server.new_database()
    migrations.upgrade(server.url(template))
    yield server, template
    server.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    migrations.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def postgres_url(postgres: tuple[Postgres, str]) -> Iterator[str]:
    """The address of a fresh, migrated PostgreSQL database."""
    server, template = postgres
    name = server.new_database(template)
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The address of a fresh, migrated SQLite file."""
    path = tmp_path / "cryopack.sqlite"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database, once on SQLite and once on PostgreSQL."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A database object, on both kinds."""
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The built-in catalogue, with the sandbox's owner."""
    return load(None, copr_owner="packbot")


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One Valkey for all tests of this process."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey(valkey_server: Valkey) -> Valkey:
    """The running broker without messages; a test that stops or pauses it brings it back."""
    valkey_server.flush()
    return valkey_server


@pytest.fixture
def valkey_url(valkey: Valkey) -> str:
    """The address of the empty broker."""
    return valkey.url


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless Chromium from the system. Missing it is a failure, not a skip."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("no Chromium on this machine: 'make test' installs Debian's package chromium")
    with sync_playwright() as playwright:
        browser: Any = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
