"""The command line against a service elsewhere, and the README's curl examples, both as a user types them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.access.tokens import create_token
from service.builds.claims import claim_build, end_build
from service.domain.states import BuildState
from tests.cli.typed import ROOT, Done, Run, type_apart, type_here
from tests.store.deliveries import builds, deliver, payload
from tests.web.live import LiveApp, serving
from tests.web.scene import Scene


@pytest.fixture
def live(sqlite_url: str) -> Iterator[LiveApp]:
    """A service with release v1.35.0, planned for four targets, of which the first has failed."""
    with serving(sqlite_url) as app:
        deliver(app.context.db, app.context.catalog, payload("v1.35.0"), guid="guid-1")
        end(app, 1, BuildState.FAILED)
        yield app


def end(live: LiveApp, build_id: int, state: BuildState) -> None:
    work = claim_build(live.context.db, build_id, lease_seconds=60, max_tries=6)
    assert work is not None
    end_build(live.context.db, work, state, "because the test says so")


@pytest.fixture
def environment(live: LiveApp, tmp_path: Path) -> dict[str, str]:
    """The environment of a user elsewhere: an address and a token in a file, no database."""
    token = tmp_path / "token"
    token.write_text(create_token(live.context.db, "ana", ["admin"], by="root").text + "\n")
    return {
        "CRYOPACK_TOKEN_FILE": str(token), "NO_COLOR": "1", "COLUMNS": "200",
        "CRYOPACK_STATE_DIR": str(tmp_path / "nothing"),
    }  # fmt: skip


@pytest.fixture
def cryopack(live: LiveApp, environment: dict[str, str], tmp_path: Path) -> Run:
    """Run ``cryopack --server …`` there, in this process."""

    def run(*words: str, server: str = live.url, **changes: str) -> Done:
        return type_here(["--server", server, *words], environment | changes, tmp_path)

    return run


def test_looking_around(cryopack: Run) -> None:
    listed = cryopack("build", "list", "--state", "failed", "--json")
    assert [(b["id"], b["state"]) for b in json.loads(listed.stdout)] == [(1, "failed")]
    assert "pending 1.35.0" in cryopack("matrix").stdout
    shown = cryopack("build", "show", "1")
    assert "attempt 1: failed" in shown.stdout and "→ failed" in shown.stdout
    assert "guid-1" in cryopack("delivery", "list").stdout
    missing = cryopack("build", "show", "99")
    assert missing.returncode == 1 and missing.stderr == "cryopack: There is no build 99.\n"


def test_doing_things_and_finding_them_in_the_audit_trail(cryopack: Run, live: LiveApp) -> None:
    assert "attempt 2" in cryopack("build", "retry", "1", "--strategy", "compat").stdout
    refused = cryopack("build", "retry", "1")
    assert refused.returncode == 1 and "is pending" in refused.stderr and refused.stderr.count("\n") == 1
    assert cryopack("build", "cancel", "2").returncode == 0
    dry = cryopack("build", "rebuild", "--branch", "f44", "--dry-run")
    assert "cancel it or wait" in dry.stdout
    assert "1.34.3 is planned" in cryopack("release", "add", "v1.34.3", "--bug", "7").stdout
    assert "enabled = false" in cryopack("target", "pause", "f44-copr", "--why", "moved").stdout
    assert "enabled=false" in cryopack("catalog", "overrides").stdout
    assert cryopack("target", "edit", "f44-copr", "--strategy", "compat", "--why", "x").returncode == 0
    assert cryopack("catalog", "drop", "1", "--why", "done").returncode == 0
    assert cryopack("stream", "confirm", "cri-o/1.99", "--why", "read it").returncode == 0
    assert cryopack("branch", "end", "f43", "--why", "Fedora says so", "--eol", "2026-11-01").returncode == 0
    made = cryopack("token", "create", "ci", "--scope", "read")
    assert made.stdout.startswith("cryopack_")
    assert cryopack("token", "revoke", "ci").returncode == 0 and "revoked" in cryopack("token", "list").stdout
    trail = cryopack("audit", "--actor", "ana")
    for action in (
        "build.retry",
        "build.cancel",
        "release.add",
        "target.pause",
        "branch.end",
        "token.revoke",
    ):
        assert action in trail.stdout


def test_watching_a_build_to_its_end(live: LiveApp, environment: dict[str, str], tmp_path: Path) -> None:
    """In a process of its own, as it must see what happens meanwhile."""
    words = ["--server", live.url, "build", "watch", "3", "--every", "0.2"]
    done: list[Done] = []
    thread = threading.Thread(target=lambda: done.append(type_apart(words, environment, tmp_path)))
    thread.start()
    end(live, 3, BuildState.ERRORED)
    thread.join(90)
    assert done[0].returncode == 1
    assert "pending → preparing" in done[0].stdout and "preparing → errored" in done[0].stdout
    assert done[0].stderr == "cryopack: build 3 is errored: because the test says so\n"


def test_watching_a_build_that_succeeds(cryopack: Run, live: LiveApp) -> None:
    Scene(live.context.db, live.context.catalog).succeed("1.35.0", "rawhide-copr")
    done = cryopack("build", "watch", "4")
    assert done.returncode == 0 and done.stdout.endswith("build 4 succeeded\n")


def test_what_goes_wrong_is_one_line(cryopack: Run) -> None:
    for done, why in (
        (cryopack("matrix", server="http://127.0.0.1:1"), "does not answer"),
        (cryopack("matrix", server="ftp://x"), "CRYOPACK_SERVER"),
        (cryopack("build", "cancel", "2", CRYOPACK_TOKEN_FILE="/nowhere"), "CRYOPACK_TOKEN_FILE"),
        (cryopack("build", "cancel", "2", CRYOPACK_TOKEN_FILE="", CRYOPACK_TOKEN=""), "Set CRYOPACK_TOKEN"),
        (cryopack("build", "cancel", "2", CRYOPACK_TOKEN_FILE="", CRYOPACK_TOKEN="wrong"), "not valid"),
    ):
        assert done.returncode == 1 and why in done.stderr and done.stderr.count("\n") == 1, done


def test_the_readmes_curl_examples(
    live: LiveApp, environment: dict[str, str], sqlite_url: str, tmp_path: Path
) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE)
    (example,) = [block for block in blocks if "curl" in block]
    lines = [line.removeprefix("    ") for line in example.splitlines()]
    assert sum("curl" in line for line in lines) >= 5
    wrappers = f"""set -euo pipefail
curl() {{ command curl --silent --show-error --fail-with-body --max-time 30 "$@"; echo; }}
cryopack() {{ '{sys.executable}' -c 'from workers.cli.main import main; main()' "$@"; }}
"""
    script = wrappers + "\n".join(lines).replace("http://127.0.0.1:8000", live.url)
    kept = {k: v for k, v in {**os.environ, **environment}.items() if k != "CRYOPACK_TOKEN_FILE"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(ROOT), "CRYOPACK_DATABASE_URL": sqlite_url},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(build.requested_by == "me" for build in builds(live.context.db, "1.35.0")), done.stdout
    assert len(builds(live.context.db, "1.35.6")) == 4
