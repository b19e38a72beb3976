"""schemathesis against the running service: no 5xx, and no answer outside the OpenAPI document.

It makes requests from the document, wrong ones too, and then follows the document's links from answers to requests.
These are two runs: in one, the first part uses up the time of the second. A short run is among the tests;
``make fuzz`` asks more than ten thousand times.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from service.access.tokens import create_token, recognise
from service.catalog import Catalog
from service.overrides import change_catalog
from service.store.session import Database
from tests.web.live import LiveApp, serving
from tests.web.scene import play

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance",
)  # fmt: skip
REQUESTS = re.compile(r"cryopack_http_requests_total\{[^}]*\} ([0-9.e+]+)")
# Only the links that the document names: guessed ones would take their time. Lists are asked for what is there, as
# a link from an empty list leads nowhere.
FOLLOWING = """
[parameters]
"query.package" = "cri-o1.34"
"query.version" = "1.34.2"
"query.event" = "release"

[phases.stateful.inference]
algorithms = []
"""
UNBOUNDED = {"write_limit_per_minute": 10_000_000, "address_limit_per_minute": 10_000_000}


@pytest.fixture
def world(sqlite_template: Path, catalog: Catalog, tmp_path: Path) -> Iterator[LiveApp]:
    """The scene, to be changed at will, without limits of rate."""
    path = tmp_path / "world.sqlite"
    shutil.copyfile(sqlite_template, path)
    db = Database(f"sqlite:///{path}")
    play(db, catalog)
    change_catalog(
        db,
        catalog,
        "target",
        "f44-copr",
        {"deadline_hours": 6},
        why="slow farm",
        action="target.edit",
        by="ana",
    )
    db.dispose()
    with serving(f"sqlite:///{path}", **UNBOUNDED) as app:
        yield app


def fuzz(live: LiveApp, folder: Path, *, token: str, seconds: int, examples: int, seed: int) -> None:
    """Ask what the document allows and what it does not.

    Revoking is left to the links: here it would find the run's own token in a list, and all that follows is a 401.
    """
    run(live, "examples,coverage,fuzzing", folder, token=token, seconds=seconds, examples=examples, seed=seed,
        last=["--exclude-operation-id", "revoke_token"] if token else [])  # fmt: skip
    if token:
        assert recognise(live.context.db, token), "the run has revoked its own token"


def follow(live: LiveApp, folder: Path, *, token: str, seconds: int, examples: int, seed: int) -> set[str]:
    """Follow the document's links. Returns those that led from an answer to a request made with a value of it."""
    (folder / "following.toml").write_text(FOLLOWING)
    run(live, "stateful", folder, token=token, seconds=seconds, examples=examples, seed=seed,
        first=["--config-file", "following.toml"],
        last=["--report", "ndjson", "--report-ndjson-path", "events.ndjson"])  # fmt: skip
    followed = set()
    for line in (folder / "events.ndjson").read_text().splitlines():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        for case in recorder.get("cases", {}).values():
            if case["is_transition_applied"]:
                followed.add(case["transition"]["id"])
    return followed


def run(
    live: LiveApp,
    phases: str,
    folder: Path,
    *,
    token: str,
    seconds: int,
    examples: int,
    seed: int,
    first: Sequence[str] = (),
    last: Sequence[str] = (),
) -> None:
    """Run schemathesis; fails with its report."""
    header = ["--header", f"Authorization: Bearer {token}"] if token else []
    command = [
        sys.executable, "-m", "schemathesis.cli", *first, "run", f"{live.url}/api/v1/openapi.json",
        "--checks", ",".join(CHECKS), "--phases", phases, "--max-time", str(seconds),
        "--max-examples", str(examples), "--seed", str(seed), "--no-color",
        "--warnings", "off", "--request-timeout", "30", "--continue-on-failure", *header, *last,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=seconds * 3 + 120,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "140"},
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-12_000:]


def answered(live: LiveApp) -> int:
    """All requests that the service has counted."""
    return int(sum(float(count) for count in REQUESTS.findall(live.get("/metrics").text)))


@pytest.mark.parametrize("known", [True, False], ids=["token", "stranger"])
def test_a_short_run(world: LiveApp, tmp_path: Path, known: bool) -> None:
    token = create_token(world.context.db, "fuzz", ["admin"], by="root").text if known else ""
    began = answered(world)
    fuzz(world, tmp_path, token=token, seconds=6, examples=4, seed=20261125)
    followed = follow(world, tmp_path, token=token, seconds=9 if known else 5, examples=4, seed=20261125)
    asked = answered(world) - began
    print(f"{asked} requests and {len(followed)} links")
    assert asked > 30
    assert followed, "no link was followed: are there rows to begin at, and links from what lists them?"
    if known:
        assert any("-> POST" in link or "-> PATCH" in link for link in followed), followed


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif("FUZZ_REQUESTS" not in os.environ, reason="half an hour's work: make fuzz")
def test_ten_thousand_requests(world: LiveApp, tmp_path: Path) -> None:
    token = create_token(world.context.db, "fuzz", ["admin"], by="root").text
    seed, began = 1, answered(world)
    followed = set[str]()
    while (asked := answered(world) - began) < int(os.environ["FUZZ_REQUESTS"]):
        for each in (token, ""):
            fuzz(world, tmp_path, token=each, seconds=120, examples=60, seed=seed)
            followed |= follow(world, tmp_path, token=each, seconds=40, examples=30, seed=seed)
            seed += 1
        print(
            f"{asked} requests, {len(followed)} links followed, every answer as the document says", flush=True
        )
    assert len(followed) >= 20
    print(f"{asked} requests in all; {len(followed)} links: {sorted(followed)}")
