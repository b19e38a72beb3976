"""Measure from a release's webhook to the last of its four submissions: real worker, broker, rpmbuild, sandbox COPR."""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import time
import uuid
from pathlib import Path

from sqlalchemy import func, select

import migrations
from bench.table import Figure, print_figures
from service.releases.intake import Incoming, accept_deliveries
from service.settings import Settings
from service.store.schema import PackageBuild
from service.store.session import Database
from service.wake import Wake
from tests.flow.processes import Worker
from tests.servers import Postgres, Valkey

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))
from sandbox.testing import Farm

TAGS = ("v1.33.9", "v1.34.8", "v1.35.6")
SECONDS = 60.0


def _payload(tag: str) -> bytes:
    release = {"tag_name": tag, "draft": False, "prerelease": False}
    return json.dumps(
        {"action": "published", "release": release, "repository": {"full_name": "cri-o/cri-o"}}
    ).encode()


def _submitted(db: Database, tag: str) -> int:
    with db.reader() as session:
        return session.scalar(
            select(func.count())
            .select_from(PackageBuild)
            .where(PackageBuild.version == tag.removeprefix("v"), PackageBuild.external_id.is_not(None))
        ) or 0  # fmt: skip


def _walk(db: Database, wake: Wake, tag: str) -> float:
    started = time.perf_counter()
    (accepted,) = accept_deliveries(db, [Incoming(str(uuid.uuid4()), "release", _payload(tag))])
    wake.delivery(accepted.id)
    while _submitted(db, tag) < 4:
        if time.perf_counter() - started > SECONDS:
            raise RuntimeError(f"{tag} was not submitted four times within {SECONDS:.0f} s")
        time.sleep(0.01)
    return time.perf_counter() - started


def _copr_floor(farm: Farm) -> float:
    """Return the seconds of one bare request to the sandbox COPR: what every answer of it costs at least."""
    host = farm.copr_url.removeprefix("http://")
    started = time.perf_counter()
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request("GET", "/api_3/")
    connection.getresponse().read()
    connection.close()
    return time.perf_counter() - started


def run() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="cryopack-bench-") as folder:
        home = Path(folder)
        postgres, valkey = Postgres(durable=True), Valkey(home / "valkey")
        postgres.start()
        valkey.start()
        try:
            with Farm(home / "farm", pace=0.5, publish="none") as farm:
                url = postgres.url(postgres.new_database())
                migrations.upgrade(url)
                settings = Settings(
                    database_url=url, broker_url=valkey.url, state_dir=home / "state", sandbox=True,
                    github_api_url=farm.mirror_url, copr_config=farm.copr_config, copr_owner="packbot",
                    source_url_template=farm.mirror_url + "/{repository}/archive/{tag}/{name}-{version}.tar.gz",
                    reconcile_seconds=3600,
                )  # type: ignore[arg-type]  # fmt: skip
                floor = _copr_floor(farm)
                worker = Worker(settings, home / "worker.log", app="workers.app")
                worker.start()
                db, wake = Database(url), Wake(settings)
                try:
                    seconds = []
                    for tag in TAGS:
                        farm.publish(tag)
                        seconds.append(_walk(db, wake, tag))
                finally:
                    worker.kill()
                    wake.close()
                    db.dispose()
        finally:
            valkey.stop()
            postgres.stop()
    shown = ", ".join(f"{s:.2f} s" for s in seconds)
    beside = f"one request to the sandbox COPR: {floor * 1000:.0f} ms; small sources, two worker processes"
    print_figures("Release to last of four submissions", [Figure("three releases in turn", shown, beside)])
