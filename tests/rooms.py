"""The table of rooms: each room and each loose file, what it may import of ours, and of libraries.

A file lies in a room if its folder is named here, or stands loose on a floor if it is named itself. Imports within a
room need no arrow. Arrows point one way: the table has no circle, so rooms have none. ``tests/test_architecture.py``
enforces the table, and ``docs/architecture.md`` shows it as pictures.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arrow:
    """What a room may import: other rooms and loose files, and libraries by their top-level package."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...] = ()


def may(ours: str = "", libraries: str = "") -> Arrow:
    """Return the arrow to the rooms and libraries whose names stand in two texts, parted by spaces."""
    return Arrow(tuple(ours.split()), tuple(libraries.split()))


# What the database holds and how it is read.
STORED = "service.domain service.catalog service.store"
# What maintainers may ask for, room by room.
COMMANDS = "service.access service.builds service.overrides service.results service.distgit service.sidetags"
ROUTES = f"{STORED} {COMMANDS} service.board service.logs service.web.base service.web.access"
STEP = "service.domain service.builds workers.buildsystems workers.context workers.sources workers.packaging"
SANDBOX = "sandbox.store sandbox.ground"

ARROWS = {
    # service remembers and shows. First the pure core, then what is stored, then what is done with it.
    "service.domain": may(),
    "service.catalog": may("service.domain"),
    "service.specs": may("service.domain service.catalog"),
    "service.store": may("service.domain", "sqlalchemy"),
    "service.logs": may(),
    "service.settings": may("", "pydantic pydantic_settings"),
    "service.wake": may("service.settings", "celery structlog"),
    "service.contacts": may("service.store", "sqlalchemy"),
    "service.proofs": may("service.domain service.store"),
    "service.board": may(f"{STORED} service.logs", "sqlalchemy"),
    "service.releases": may(STORED, "sqlalchemy"),
    "service.access": may("service.domain service.store", "sqlalchemy"),
    "service.builds": may(f"{STORED} service.releases service.access", "sqlalchemy"),
    "service.overrides": may(f"{STORED} service.access", "sqlalchemy"),
    "service.results": may(
        f"{STORED} service.logs service.releases service.access service.builds", "sqlalchemy"
    ),
    "service.distgit": may(f"{STORED} service.access service.builds", "sqlalchemy"),
    "service.sidetags": may(f"{STORED} service.access service.builds", "sqlalchemy"),
    # The web: what all routes need, who calls, the API, the pages.
    "service.web.base": may(
        f"{STORED} service.logs service.settings service.wake service.overrides service.board service.releases "
        "service.access",
        "fastapi starlette anyio httpx2 jinja2 joserfc limits markupsafe prometheus_client pydantic sqlalchemy "
        "structlog",
    ),
    "service.web.access": may("service.access service.web.base", "fastapi starlette"),
    "service.web.api": may(ROUTES, "fastapi starlette pydantic markupsafe sqlalchemy"),
    "service.web.pages": may(f"{ROUTES} service.web.api", "fastapi starlette"),
    "service.web.webhooks": may("service.releases service.web.base", "starlette"),
    "service.web.health": may(
        "service.store service.board service.web.base",
        "starlette anyio prometheus_client sqlalchemy structlog",
    ),
    "service.web.app": may(
        "service.settings service.board service.web.base service.web.api service.web.pages service.web.webhooks "
        "service.web.health",
        "fastapi starlette anyio structlog uvicorn",
    ),
    "migrations": may("service.store", "alembic sqlalchemy"),
    "migrations.versions": may("service.store", "alembic sqlalchemy"),
    # workers act. First the ports and their adapters, then the steps of a build in their order.
    "workers.binaries": may("service.domain", "elftools"),
    "workers.buildsystems": may("service.domain", "requests urllib3"),
    "workers.buildsystems.copr": may(
        "service.domain workers.buildsystems", "copr requests requests_toolbelt urllib3"
    ),
    "workers.buildsystems.koji": may("service.domain workers.buildsystems", "koji requests"),
    "workers.forges": may("service.domain workers.buildsystems", "ogr pyforgejo httpx requests"),
    "workers.context": may(
        f"{STORED} service.logs service.settings service.wake service.overrides workers.buildsystems workers.forges"
    ),
    "workers.sources": may(
        "service.domain service.contacts service.releases workers.context", "httpx2 structlog"
    ),
    "workers.packaging": may(
        "service.domain service.catalog service.specs service.builds workers.context workers.sources",
        "license_expression structlog",
    ),
    "workers.distgit": may(f"{STEP} service.distgit workers.forges", "httpx2"),
    "workers.results": may(
        f"{STEP} service.store service.logs service.board service.results workers.binaries",
        "sqlalchemy structlog",
    ),
    "workers.builds": may(
        f"{STEP} service.contacts service.releases service.sidetags workers.distgit", "structlog"
    ),
    "workers.follow_ups": may(
        "service.builds workers.context workers.distgit workers.results workers.builds", "structlog"
    ),
    "workers.app": may("service.settings service.wake", "celery"),
    "workers.tasks": may(
        "service.wake workers.app workers.context workers.results workers.builds workers.follow_ups"
    ),
    # A proof needs the table of workarounds and a toolchain, and neither database nor network.
    "workers.proofs": may("service.domain service.catalog workers.binaries"),
    "workers.machine": may(
        "service.domain service.catalog service.settings service.wake migrations workers.context",
        "httpx2 redis",
    ),
    "workers.cli": may(
        f"{STORED} {COMMANDS} service.board service.proofs service.settings service.wake migrations workers.context "
        "workers.sources workers.packaging workers.builds workers.proofs workers.machine",
        "httpx2 sqlalchemy structlog typer",
    ),
    # The sandbox is another world: it must not know our code, or it could agree with our mistakes.
    "sandbox.store": may(),
    "sandbox.multipart": may(),
    "sandbox.pages": may("", "starlette"),
    "sandbox.ground": may("sandbox.store"),
    "sandbox.driver": may("sandbox.ground"),
    "sandbox.levers": may("sandbox.ground", "starlette"),
    "sandbox.mirror": may(SANDBOX, "starlette"),
    "sandbox.building": may("sandbox.ground sandbox.mirror"),
    "sandbox.copr": may(
        f"{SANDBOX} sandbox.building sandbox.driver sandbox.multipart sandbox.pages", "starlette httpx2"
    ),
    "sandbox.koji": may(
        f"{SANDBOX} sandbox.building sandbox.driver sandbox.levers sandbox.pages", "starlette"
    ),
    "sandbox.forge": may(f"{SANDBOX} sandbox.levers sandbox.multipart", "starlette"),
    "sandbox.faults": may(SANDBOX, "starlette"),
    "sandbox.control": may(
        "sandbox.ground sandbox.levers sandbox.mirror sandbox.copr sandbox.faults", "starlette"
    ),
    "sandbox.farm": may(f"{SANDBOX} sandbox.building sandbox.mirror sandbox.copr sandbox.koji sandbox.forge"),
    "sandbox.command": may(
        "sandbox.building sandbox.mirror sandbox.copr sandbox.koji sandbox.forge sandbox.levers sandbox.faults "
        "sandbox.control sandbox.farm",
        "starlette uvicorn",
    ),
    "sandbox.__main__": may(),
    # What tests start a sandbox with: it talks to the servers and knows nothing of what is in them.
    "sandbox.koji.testing": may(),
    "sandbox.forge.testing": may(),
    "sandbox.testing": may("sandbox.koji.testing sandbox.forge.testing"),
}
