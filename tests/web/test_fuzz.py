"""schemathesis against the running service: no 5xx, and no answer outside the OpenAPI document.

It makes requests from the document, wrong ones too, and follows the links from answers to requests. A short run is
among the tests; ``make fuzz`` asks more than ten thousand times.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.catalog import Catalog
from service.store.session import Database
from service.tokens import create_token
from tests.web.live import LiveApp, serving
from tests.web.scene import play

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance",
)  # fmt: skip
REQUESTS = re.compile(r"cryopack_http_requests_total\{[^}]*\} ([0-9.e+]+)")
UNBOUNDED = {"write_limit_per_minute": 10_000_000, "address_limit_per_minute": 10_000_000}


@pytest.fixture
def world(sqlite_template: Path, catalog: Catalog, tmp_path: Path) -> Iterator[LiveApp]:
    """The scene, to be changed at will, without limits of rate."""
    path = tmp_path / "world.sqlite"
    shutil.copyfile(sqlite_template, path)
    db = Database(f"sqlite:///{path}")
    play(db, catalog)
    db.dispose()
    with serving(f"sqlite:///{path}", **UNBOUNDED) as app:
        yield app


def fuzz(live: LiveApp, folder: Path, *, token: str, seconds: int, examples: int, seed: int) -> int:
    """Run schemathesis; fails with its report. Returns how many requests the service answered."""
    header = ["--header", f"Authorization: Bearer {token}"] if token else []
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{live.url}/api/v1/openapi.json",
        "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing,stateful",
        "--max-time", str(seconds), "--max-examples", str(examples), "--seed", str(seed), "--no-color",
        "--warnings", "off", "--request-timeout", "30", "--continue-on-failure", *header,
    ]  # fmt: skip
    before = answered(live)
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=seconds * 3 + 120,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "140"},
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-12_000:]
    return answered(live) - before


def answered(live: LiveApp) -> int:
    """All requests that the service has counted."""
    return int(sum(float(count) for count in REQUESTS.findall(live.get("/metrics").text)))


@pytest.mark.parametrize("known", [True, False], ids=["token", "stranger"])
def test_a_short_run(world: LiveApp, tmp_path: Path, known: bool) -> None:
    token = create_token(world.context.db, "fuzz", ["admin"], by="root").text if known else ""
    assert fuzz(world, tmp_path, token=token, seconds=12, examples=4, seed=20261125) > 30


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif("FUZZ_REQUESTS" not in os.environ, reason="half an hour's work: make fuzz")
def test_ten_thousand_requests(world: LiveApp, tmp_path: Path) -> None:
    token = create_token(world.context.db, "fuzz", ["admin"], by="root").text
    asked, seed = 0, 1
    while asked < int(os.environ["FUZZ_REQUESTS"]):
        for each in (token, ""):
            asked += fuzz(world, tmp_path, token=each, seconds=240, examples=60, seed=seed)
            seed += 1
        print(f"{asked} requests, every answer as the document says")
