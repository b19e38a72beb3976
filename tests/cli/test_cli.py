"""The command line as a user types it: output, one-line errors, exit statuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from service.catalog import Catalog
from service.store.session import Database
from tests.cli.typed import Done, Run, type_apart, type_here
from tests.store.deliveries import deliver, payload


@pytest.fixture
def environment(tmp_path: Path, sqlite_url: str) -> dict[str, str]:
    """A database and a state directory of its own."""
    return {
        "CRYOPACK_DATABASE_URL": sqlite_url,
        "CRYOPACK_STATE_DIR": str(tmp_path / "state"),
        "CRYOPACK_BROKER_URL": "redis://127.0.0.1:1/0",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }


@pytest.fixture
def cryopack(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run ``cryopack`` there, in this process."""
    return bound(type_here, environment, tmp_path)


@pytest.fixture
def process(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run ``cryopack`` there, in a process of its own: for what the shell sees."""
    return bound(type_apart, environment, tmp_path)


def bound(way: Callable[..., Done], environment: dict[str, str], folder: Path) -> Run:
    def run(*words: str, **changes: str) -> Done:
        return way(words, environment | changes, folder)

    return run


def test_what_the_shell_sees(process: Run) -> None:
    """The rest of the tests run the same commands in this process; here are the statuses and streams of a real one."""
    done = process("build", "show", "7")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "cryopack: there is no build 7\n"
    assert process("explode").returncode == 2
    listed = process("build", "list", "--json")
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "[]\n", "")
    wrong = process("matrix", CRYOPACK_SWEEP_SECONDS="-1")
    assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1 and "Traceback" not in wrong.stderr


def test_help_on_every_level(cryopack: Run) -> None:
    for words in (
        (),
        ("build",),
        ("release",),
        ("delivery",),
        ("catalog",),
        ("token",),
        ("render",),
        ("up",),
    ):
        done = cryopack(*words, "--help")
        assert done.returncode == 0 and "Usage" in done.stdout, words


def test_render_prints_a_spec_and_says_where_its_facts_come_from(cryopack: Run) -> None:
    done = cryopack("render", "v1.32.1", "--branch", "f44")
    assert done.returncode == 0, done.stderr
    assert "Name:" in done.stdout and "cri-o1.32" in done.stdout
    assert "%global gomodulesmode GO111MODULE=on" in done.stdout
    assert "%global __golang_extldflags -Wl,-z,undefs" in done.stdout
    assert "catalogue" in done.stdout
    older = cryopack("render", "v1.31.5")
    assert "undefs" not in older.stdout and older.returncode == 0


def test_render_diff(cryopack: Run) -> None:
    done = cryopack("render", "v1.32.2", "--diff")
    assert done.returncode == 0, done.stderr
    assert "--- v1.32.1.spec\n+++ v1.32.2.spec" in done.stdout
    assert "-Version:        1.32.1\n+Version:        1.32.2" in done.stdout
    first = cryopack("render", "v1.33.0", "--diff")
    assert "--- v1.32.0.spec" in first.stdout
    other = cryopack("render", "v1.36.3", "--diff", "--against", "v1.34.11")
    assert "--- v1.34.11.spec" in other.stdout and "+Suggests:       kubernetes-cni" in other.stdout
    beside = cryopack("render", "v1.36.3", "--diff", "--against", "neighbour")
    assert "--- v1.35.3.spec" in beside.stdout
    lost = cryopack("render", "v1.36.3", "--against", "v1.34.11")
    assert lost.returncode == 1 and lost.stderr.strip().endswith("give both")


def test_render_writes_what_dist_git_holds(cryopack: Run, tmp_path: Path) -> None:
    folder = tmp_path / "cri-o1.36"
    done = cryopack("render", "v1.36.3", "--style", "dist-git", "--output", str(folder))
    assert done.returncode == 0, done.stderr
    assert [Path(line).name for line in done.stdout.split()] == [
        "cri-o1.36.spec", "go-vendor-tools.toml", "cri-o1.36.rpmlintrc", "gating.yaml"
    ]  # fmt: skip
    spec = (folder / "cri-o1.36.spec").read_text()
    assert "%autorelease" in spec and "%autochangelog" in spec
    assert cryopack("render", "v1.32.0", "--family", "kubernetes").returncode == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("render", "v1.32.0", "--family", "kubernetes", "--strategy", "strict"), "only none"),
        (("render", "v1.32.1", "--strategy", "none"), "not for a source that vendors wazero"),
        (("render", "v1.34.1", "--strategy", "no-wasm"), "works from stream 1.35 on"),
        (("render", "v1.32.1", "--style", "koji"), "neither srpm nor dist-git"),
        (("render", "nightly"), "'nightly' is not a version tag"),
        (("render", "v1.20.0"), "no stream 1.20"),
        (("render", "v1.32.1", "--strategy", "magic"), "magic"),
        (("render", "v1.32.1", "--branch", "f12"), "f12"),
        (("render", "v1.32.1", "--source", "missing.tar.gz"), "there is no file missing.tar.gz"),
        (("srpm", "v1.32.1", "--source", "missing.tar.gz"), "there is no file"),
        (("build", "show", "7"), "there is no build 7"),
        (("build", "retry", "7"), "there is no build 7"),
        (("build", "cancel", "7"), "there is no build 7"),
        (("delivery", "replay", "x"), "there is no delivery x"),
        (("release", "add", "v1.32.1", "--family", "nope"), "no family nope"),
        (("send-release", "v1.32.1"), "CRYOPACK_GITHUB_WEBHOOK_SECRETS"),
    ],
)
def test_a_failure_is_one_line_and_status_1(cryopack: Run, words: tuple[str, ...], why: str) -> None:
    done = cryopack(*words)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert why in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_wrong_usage_is_status_2(cryopack: Run) -> None:
    assert cryopack("render").returncode == 2
    assert cryopack("explode").returncode == 2


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CRYOPACK_SWEEP_SECONDS", "-1"),
        ("CRYOPACK_BASE_URL", "ftp://x"),
        ("CRYOPACK_SOURCE_URL_TEMPLATE", "{secret}"),
        ("CRYOPACK_DATABASE_URL_FILE", "/nowhere/at/all"),
    ],
)
def test_a_wrong_setting_stops_with_its_name(cryopack: Run, variable: str, value: str) -> None:
    done = cryopack("matrix", **{variable: value})
    assert done.returncode == 1 and variable in done.stderr and value not in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_database_that_is_away_is_one_line_without_its_password(cryopack: Run) -> None:
    url = "postgresql+psycopg://me:a-secret-word@127.0.0.1:1/x"
    done = cryopack("matrix", CRYOPACK_DATABASE_URL=url)
    assert done.returncode == 1 and "database" in done.stderr and "a-secret-word" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_release_by_hand_its_matrix_and_its_builds(cryopack: Run) -> None:
    assert cryopack("migrate").returncode == 0
    added = cryopack("release", "add", "v1.32.1")
    assert added.returncode == 0 and "cri-o1.32 1.32.1 is planned for f43-copr" in added.stdout
    again = cryopack("release", "add", "v1.32.1", "--bug", "2404830")
    assert "has all its builds already" in again.stdout
    matrix = cryopack("matrix")
    assert "cri-o1.32" in matrix.stdout and matrix.stdout.count("pending 1.32.1") == 4
    listed = json.loads(cryopack("build", "list", "--json").stdout)
    assert [row["state"] for row in listed] == ["pending"] * 4
    shown = cryopack("build", "show", "1")
    assert "cri-o1.32" in shown.stdout and "planned for" in shown.stdout
    refused = cryopack("build", "retry", "1")
    assert refused.returncode == 1 and "pending" in refused.stderr
    assert cryopack("build", "cancel", "1").returncode == 0
    assert "no log yet" in cryopack("build", "log", "1").stdout


def test_deliveries_are_listed_with_their_reasons_and_replayed(
    cryopack: Run, sqlite_url: str, catalog: Catalog
) -> None:
    db = Database(sqlite_url)
    deliver(db, catalog, payload("v1.32.1", draft=True), guid="guid-1")
    db.dispose()
    listed = cryopack("delivery", "list")
    assert "guid-1" in listed.stdout and "draft" in listed.stdout
    assert cryopack("delivery", "replay", "guid-1").returncode == 0


def test_tokens_are_made_listed_and_revoked(cryopack: Run) -> None:
    cryopack("migrate")
    made = cryopack("token", "create", "ci", "--scope", "builds:write", "--expires", "4w")
    assert made.returncode == 0 and made.stdout.startswith("cryopack_") and "Shown this once" in made.stderr
    listed = cryopack("token", "list")
    assert "builds:write" in listed.stdout and made.stdout.strip() not in listed.stdout
    assert cryopack("token", "revoke", "ci").returncode == 0
    assert json.loads(cryopack("token", "list", "--json").stdout)[0]["state"] == "revoked"
    assert cryopack("token", "create", "x", "--expires", "soon").returncode == 1
    assert cryopack("token", "create", "x", "--scope", "all").stderr.count("\n") == 1
    trail = cryopack("audit", "--action", "token.revoke")
    assert "token ci" in trail.stdout and "token.create" not in trail.stdout


def test_catalog_check_renders_everything(cryopack: Run) -> None:
    done = cryopack("catalog", "check")
    assert done.returncode == 0 and "the catalogue is sound" in done.stdout


def test_a_wrong_catalogue_names_file_and_key(cryopack: Run, tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    (folder / "families").mkdir(parents=True)
    (folder / "targets.toml").write_text("nonsense = 1\n")
    done = cryopack("catalog", "check", CRYOPACK_CATALOG_DIR=str(folder))
    assert done.returncode == 1 and done.stderr.count("\n") == 1
