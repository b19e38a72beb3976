"""The files of deploy/ against the tools that will read them and the settings that they name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.settings import SECRET_FIELDS, Settings

ROOT = Path(__file__).parent.parent.parent
TOOLS = Path(sys.executable).parent
EXAMPLE = ROOT / "deploy" / "env.example"
OURS = {"migrate", "service", "worker", "beat"}
ENTRY = re.compile(r"^(#?)([A-Z][A-Z_]*)=(.*)$", re.MULTILINE)
# These belong to docker-compose.yml, not to cryopack.
COMPOSE_ONLY = {"POSTGRES_PASSWORD", "LISTEN", "COPR_CONFIG_FILE"}


def compose(*arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in COMPOSE_ONLY}
    environment |= {"ENV_FILE": str(EXAMPLE), "POSTGRES_PASSWORD": "letters"} | given
    return subprocess.run(
        [TOOLS / "docker-compose", "--file", ROOT / "docker-compose.yml", "config", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    said = compose("--format", "json")
    assert said.returncode == 0, said.stderr
    parsed: dict[str, Any] = json.loads(said.stdout)["services"]
    return parsed


def test_docker_compose_accepts_the_file_without_a_complaint() -> None:
    said = compose("--quiet")
    assert (said.returncode, said.stderr) == (0, "")


def test_docker_compose_asks_for_the_password() -> None:
    said = compose("--quiet", POSTGRES_PASSWORD="")
    assert said.returncode != 0
    assert "POSTGRES_PASSWORD" in said.stderr


def test_every_service_is_there_and_watched(services: dict[str, Any]) -> None:
    assert services.keys() == OURS | {"postgres", "redis"}
    for name, service in services.items():
        assert name == "migrate" or "healthcheck" in service, name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_our_own_services_run_with_little(services: dict[str, Any]) -> None:
    for name in OURS:
        service = services[name]
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["environment"]["CRYOPACK_DATABASE_URL"].startswith(
            "postgresql+psycopg://cryopack:letters@"
        )
    assert services["service"]["ports"][0]["host_ip"] == "127.0.0.1"
    assert all("ports" not in services[name] for name in services.keys() - {"service"})


def test_nothing_touches_the_database_before_the_migration(services: dict[str, Any]) -> None:
    for name in OURS - {"migrate"}:
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert services["migrate"]["restart"] == "no"


def test_the_services_use_commands_that_exist(services: dict[str, Any]) -> None:
    for name in OURS:
        command, *_ = services[name]["command"]
        said = subprocess.run(
            [TOOLS / "cryopack", command, "--help"], capture_output=True, timeout=60, check=False
        )
        assert said.returncode == 0, name


def test_hadolint_accepts_the_containerfile() -> None:
    said = subprocess.run(
        [TOOLS / "hadolint", ROOT / "deploy" / "Containerfile"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (0, "")


def test_the_containerfile_copies_what_the_project_is_made_of() -> None:
    text = (ROOT / "deploy" / "Containerfile").read_text()
    packages = re.search(r"^packages = (\[.*\])$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages is not None
    for package in json.loads(packages[1]):
        assert f"COPY {package}/ {package}/\n" in text
    assert "--require-hashes" in text
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)


def test_the_example_lists_every_setting_and_no_other() -> None:
    named = [name for _, name, _ in ENTRY.findall(EXAMPLE.read_text())]
    assert len(named) == len(set(named))
    wanted = {f"CRYOPACK_{field.upper()}" for field in Settings.model_fields}
    assert set(named) - COMPOSE_ONLY == wanted


def test_every_setting_of_the_example_is_explained() -> None:
    lines = EXAMPLE.read_text().splitlines()
    blocks = [block for block in re.split(r"\n\n|\n(?=## )", EXAMPLE.read_text()) if ENTRY.search(block)]
    explained = sum(bool(re.search(r"^# \S", block, re.MULTILINE)) for block in blocks)
    assert explained == len(blocks)
    assert all(len(line) <= 120 for line in lines)


def test_the_example_shows_the_true_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for _, name, value in ENTRY.findall(EXAMPLE.read_text()):
        if name.startswith("CRYOPACK_") and value:
            monkeypatch.setenv(name, value)
    assert Settings(_env_file=None) == Settings.model_construct()


def test_the_example_names_the_secrets_that_files_may_hold() -> None:
    head = EXAMPLE.read_text().partition("\n\n")[0]
    for field in SECRET_FIELDS:
        assert f"_{field.upper()}" in head
