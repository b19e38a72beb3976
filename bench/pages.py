"""Measure pages and API with 100,000 builds × 5 chroots, through HTTP and beside the bare SQL of a page."""

from __future__ import annotations

import http.client
import tempfile
import time
from pathlib import Path

from sqlalchemy import select

import migrations
from bench.population import BUILDS, CHROOTS, populate
from bench.table import Figure, print_figures, spread, timed
from bench.webhook import Server
from service.catalog import load
from service.overrides import LiveCatalog
from service.store.schema import PackageBuild
from service.store.session import Database
from tests.servers import Postgres

PATHS = {
    "matrix page": "/",
    "matrix API": "/api/v1/matrix",
    "list of 50 builds, API": "/api/v1/builds?limit=50",
    "list of 50 failed builds of a branch, API": "/api/v1/builds?limit=50&state=failed&branch=f44",
    "branch page": "/branches/f44",
    "build page": "/builds/50000",
    "release page": "/releases/cri-o/1.35.6",
}
PEER = "packit-service: 962–2,644 ms, 401–701 SELECTs (measured elsewhere)"
ROUNDS = 40


def _get(port: int, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}")


def _measure(kind: str, url: str, state: Path) -> list[Figure]:
    migrations.upgrade(url)
    db = Database(url)
    started = time.perf_counter()
    populate(db, load(None, copr_owner="bench"))
    print(f"{kind}: {BUILDS} builds × {len(CHROOTS)} chroots in {time.perf_counter() - started:.0f} s")
    if not db.is_sqlite:
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")

    def floor() -> None:
        with db.reader() as session:
            session.execute(
                select(PackageBuild.id, PackageBuild.state).order_by(PackageBuild.id.desc()).limit(50)
            ).all()

    bare = f"SQL of a keyset page: {spread(timed(floor, rounds=ROUNDS))}"
    looks = LiveCatalog(db, load(None, copr_owner="bench"))
    figures = [Figure(f"a look at the catalogue, {kind}", spread(timed(looks.look, rounds=ROUNDS)), bare)]
    environment = {"CRYOPACK_DATABASE_URL": url, "CRYOPACK_STATE_DIR": str(state)}
    with Server("service.web.app:create_app", "--factory", **environment) as port:
        for what, path in PATHS.items():
            samples = timed(lambda path=path: _get(port, path), rounds=ROUNDS, warm=3)  # type: ignore[misc]
            figures.append(Figure(f"{what}, {kind}", spread(samples), bare))
    db.dispose()
    return figures


def run() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="cryopack-bench-") as folder:
        state = Path(folder)
        postgres = Postgres()
        postgres.start()
        try:
            figures = _measure("PostgreSQL", postgres.url(postgres.new_database()), state)
        finally:
            postgres.stop()
        figures += _measure("SQLite", f"sqlite:///{state}/bench.sqlite", state)
    print_figures("Pages with 100,000 builds", [*figures, Figure("the nearest peer's list page", PEER)])
