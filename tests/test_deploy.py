"""What is deployed: the compose file, the image's recipe, the list of settings, the wheel and the two locks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from service.settings import SECRET_FIELDS, Settings, load_settings
from tests.cli.typed import type_here

ROOT = Path(__file__).parents[1]
TOOLS = Path(sys.executable).parent
EXAMPLE = ROOT / "deploy" / "env.example"
OURS = ("migrate", "service", "worker", "fetcher", "beat")
LINE = re.compile(r"(#?)((?:CRYOPACK|POSTGRES|COPR)_[A-Z_]+)=(.*)")


def compose(*arguments: str, file: Path = ROOT / "docker-compose.yml") -> subprocess.CompletedProcess[str]:
    """Docker Compose itself, which needs no engine to read a file; nothing of ours is in its environment."""
    environment = {"PATH": os.defpath, "HOME": "/nonexistent"}
    command = [TOOLS / "docker-compose", "--project-directory", ROOT, "--file", file, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The compose file as Compose understands it."""
    done = compose("config", "--format", "json")
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def test_compose_accepts_the_file_without_any_preparation() -> None:
    done = compose("config", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_compose_refuses_a_misspelt_key(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    text = (ROOT / "docker-compose.yml").read_text()
    broken.write_text(text.replace("restart:", "restarts:", 1))
    assert compose("config", "--quiet", file=broken).returncode != 0


def test_our_containers_have_no_more_rights_than_they_need(project: dict[str, Any]) -> None:
    assert set(project["services"]) == {"postgres", "redis", *OURS}
    for name in OURS:
        service = project["services"][name]
        assert service["user"] == "10001", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    published = [port for service in project["services"].values() for port in service.get("ports", [])]
    assert [(port["host_ip"], port["target"]) for port in published] == [("127.0.0.1", 8000)]


def test_who_waits_for_whom(project: dict[str, Any]) -> None:
    waits = {
        name: {on: how["condition"] for on, how in service.get("depends_on", {}).items()}
        for name, service in project["services"].items()
    }
    assert waits["migrate"] == {"postgres": "service_healthy"}
    for name in ("service", "worker", "fetcher", "beat"):
        assert waits[name]["migrate"] == "service_completed_successfully"
        assert "healthcheck" in project["services"][name]
    # Webhooks are taken without a broker.
    assert waits["service"]["redis"] == "service_started"


def test_every_command_of_the_image_exists(project: dict[str, Any]) -> None:
    recipe = (ROOT / "deploy" / "Containerfile").read_text()
    assert 'ENTRYPOINT ["cryopack"]' in recipe
    commands = {project["services"][name]["command"][0] for name in OURS}
    for command in commands:
        assert type_here([command, "--help"], {}, ROOT).returncode == 0, command
    # The script itself, once: each start costs seconds.
    script = [TOOLS / "cryopack", sorted(commands)[0], "--help"]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_containerfile_is_sound() -> None:
    recipe = ROOT / "deploy" / "Containerfile"
    done = subprocess.run(
        [TOOLS / "hadolint", recipe], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_complain(tmp_path: Path) -> None:
    bad = tmp_path / "Containerfile"
    bad.write_text("FROM fedora:latest\nRUN cd /tmp\n")
    assert subprocess.run([TOOLS / "hadolint", bad], capture_output=True, check=False).returncode != 0


def example() -> dict[str, str]:
    """The CRYOPACK_ variables of env.example and the values shown, commented out or not."""
    found = [LINE.fullmatch(line) for line in EXAMPLE.read_text().splitlines()]
    return {match[2]: match[3] for match in found if match and match[2].startswith("CRYOPACK_")}


def test_the_example_lists_every_setting_and_no_other() -> None:
    expected = {f"CRYOPACK_{name.upper()}" for name in Settings.model_fields}
    expected |= {f"CRYOPACK_{name.upper()}_FILE" for name in SECRET_FIELDS}
    assert set(example()) == expected


def test_the_example_shows_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    defaults = Settings()
    named = {name: f"CRYOPACK_{name.upper()}" for name in Settings.model_fields}
    shown = example()
    for name, variable in named.items():
        if getattr(defaults, name) is not None:
            monkeypatch.setenv(variable, shown[variable])
    assert load_settings().model_dump() == defaults.model_dump()


def test_every_setting_of_the_example_is_explained() -> None:
    """Each run of variables stands directly below a comment."""
    before = ""
    for line in EXAMPLE.read_text().splitlines():
        if LINE.fullmatch(line):
            assert before.startswith("# ") or LINE.fullmatch(before), f"no comment above {line}"
        before = line


def test_the_wheel_holds_every_file_that_the_code_reads(tmp_path: Path) -> None:
    """An image has no checkout: templates, catalogue, macros and migrations must be in the wheel."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "service", "workers", "migrations"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    wanted = {name for name in tracked if name and (ROOT / name).exists()}
    assert len(wanted) > 50
    assert wanted - held == set()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-test.lock"])
def test_a_lock_pins_and_hashes_everything_and_names_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==[\w.]+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
    assert "://" not in text
    assert not re.search(r"^--?\w", text, re.MULTILINE)


def test_the_test_lock_only_adds_to_the_run_lock() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9.-]+==[\w.]+", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements.lock") < pins("requirements-test.lock")


def test_continuous_integration_runs_the_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    calls = [line for line in script if line and not line.startswith(("#", "set ", "cd "))]
    assert calls == ["exec make test"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert os.access(ROOT / "deploy" / "install.sh", os.X_OK)
