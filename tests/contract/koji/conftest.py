"""Fixtures of Koji's contract tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.testing import Farm
from service.domain.reports import Srpm
from tests.contract.copr.bench import srpm_at
from tests.contract.koji.bench import adapter, reset
from workers.buildsystems.koji.adapter import Koji


@pytest.fixture
def farm(module_farm: Farm) -> Farm:
    """The module's sandbox without the faults of earlier tests."""
    return reset(module_farm)


@pytest.fixture
def system(farm: Farm, tmp_path: Path) -> Koji:
    """The adapter for the sandbox's hub."""
    return adapter(farm, tmp_path)


@pytest.fixture
def work(srpm: Path) -> Srpm:
    """A source RPM for scratch builds."""
    return srpm_at(srpm)
