"""Fixtures of COPR's contract tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.testing import Farm
from tests.contract.copr.bench import CoprBench


@pytest.fixture
def bench(module_farm: Farm, srpm: Path, tmp_path: Path, request: pytest.FixtureRequest) -> CoprBench:
    """A project of this test's own, opened, with its fence."""
    made = CoprBench.fresh(module_farm, srpm, tmp_path, request.node.nodeid)
    made.fence = dict(made.system.open(made.target))
    return made
