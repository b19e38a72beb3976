"""``cryopack rules`` as a maintainer types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.typed import Run, type_here
from tests.go_toolchain import CACHE, needs_go

pytestmark = pytest.mark.xdist_group("go")


@pytest.fixture
def cryopack(tmp_path: Path, sqlite_url: str) -> Run:
    """Run ``cryopack rules`` with a database of its own and the build cache of all tests."""
    state = tmp_path / "state"
    state.mkdir()
    CACHE.mkdir(parents=True, exist_ok=True)
    (state / "go-cache").symlink_to(CACHE)
    environment = {
        "CRYOPACK_DATABASE_URL": sqlite_url,
        "CRYOPACK_STATE_DIR": str(state),
        "CRYOPACK_BROKER_URL": "redis://127.0.0.1:1/0",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    return lambda *words: type_here(["rules", *words], environment, tmp_path)


@needs_go
def test_prove_says_what_it_does_and_keeps_what_it_found(cryopack: Run) -> None:
    assert "not proved yet" in cryopack("list").stdout
    done = cryopack("prove", "--row", "ld-notext")
    assert done.returncode == 0, done.stderr
    assert "linking: GO111MODULE=off go build" in done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ld-notext")]
    assert line.split("  ")[-1] == "CURES" and "simulated textrel-error" in line
    assert "textrel-error is simulated by -Wl,-z,text: this machine's linker does not" in done.stdout
    listed = cryopack("list", "--json")
    rows = {row["row"]: row for row in json.loads(listed.stdout)}
    assert [proof["verdict"] for proof in rows["ld-notext"]["proofs"]] == ["cures"]
    assert rows["ld-undefs"]["proofs"] == []


@needs_go
def test_prove_for_programs_and_without_a_trace(cryopack: Run) -> None:
    done = cryopack("prove", "--row", "ld-notext", "--json", "--no-keep")
    (proof,) = json.loads(done.stdout)
    assert proof["verdict"] == "cures" and proof["without"]["linked"] is False
    assert "not proved yet" in cryopack("list").stdout


def test_prove_without_go_or_with_a_wrong_row(cryopack: Run, tmp_path: Path) -> None:
    done = cryopack("prove", "--go", str(tmp_path / "nothing"))
    assert done.returncode == 0
    assert done.stdout.startswith("skipped: no Go toolchain: ")
    done = cryopack("prove", "--row", "ld-undef")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "cryopack: there is no row ld-undef; there are go-module-mode, ld-undefs, ld-notext, nri-no-wasm"
    )
