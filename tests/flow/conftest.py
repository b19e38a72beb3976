"""A whole service in one process, or in several: real database, sandbox farm, rpmbuild, Celery."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import workers.packaging.preparation
from sandbox.testing import Farm
from service.domain.fedora import Branch
from service.domain.specs import SpecFile
from service.settings import Settings
from tests.flow.house import House
from workers.packaging.spec_check import lint_spec

LINTED: dict[tuple[str, Branch], str] = {}


@pytest.fixture(autouse=True)
def lint_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """rpmlint takes a quarter of a second a spec: what it said of one is remembered for the next test that makes it."""

    def remembered(spec: SpecFile, *, branch: Branch) -> str:
        key = (spec.text, branch)
        if key not in LINTED:
            LINTED[key] = lint_spec(spec, branch=branch)
        return LINTED[key]

    monkeypatch.setattr(workers.packaging.preparation, "lint_spec", remembered)


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """The sandbox build farm and mirror, fast."""
    with Farm(tmp_path / "farm", pace=0.02, publish="none") as running:
        yield running


@pytest.fixture
def make_settings(tmp_path: Path, farm: Farm) -> Callable[..., Settings]:
    """Settings with short times that point to the farm; keyword arguments override."""

    def make(database_url: str, **changes: Any) -> Settings:
        values: dict[str, Any] = {
            "database_url": database_url,
            "broker_url": "redis://127.0.0.1:1/0",
            "github_webhook_secrets": "a test secret",
            "github_api_url": farm.mirror_url,
            "source_url_template": farm.mirror_url + "/{repository}/archive/{tag}/{name}-{version}.tar.gz",
            "state_dir": tmp_path / "state",
            "sandbox": True,
            "copr_config": farm.copr_config,
            "copr_owner": "packbot",
            "copr_read_seconds": 2.0,
            "sweep_seconds": 0.3,
            "poll_seconds": 0.2,
            "poll_lease_seconds": 3.0,
            "step_limit_seconds": 20.0,
            "step_lease_seconds": 21.0,
            "submit_doubt_seconds": 0.5,
            "retry_seconds": 0.3,
            "retry_max_seconds": 1.0,
            "reconcile_seconds": 3600.0,
        }
        return Settings(**(values | changes))

    return make


@pytest.fixture
def koji_settings(farm: Farm) -> dict[str, Any]:
    """What makes the farm's hub a build system of the service; short silences."""
    return {
        "koji_profile": "sandbox",
        "koji_config": farm.koji_config,
        "koji_auth": "password",
        "koji_user": "packbot",
        "koji_password_file": farm.koji_config.with_name("koji-password"),
        "koji_call_seconds": 2.0,
        "koji_build_seconds": 1.0,
    }


@pytest.fixture
def house(farm: Farm, make_settings: Callable[..., Settings], database_url: str) -> Iterator[House]:
    """A service without Celery, driven by hand, on both databases."""
    house = House(farm, make_settings(database_url))
    yield house
    house.close()


@pytest.fixture
def sqlite_house(farm: Farm, make_settings: Callable[..., Settings], sqlite_url: str) -> Iterator[House]:
    """The same on SQLite only, for tests in which the database does not matter."""
    house = House(farm, make_settings(sqlite_url))
    yield house
    house.close()
