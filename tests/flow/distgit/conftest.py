"""The fixture of the tests of dist-git."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sandbox.testing import Farm
from service.settings import Settings
from tests.flow.distgit.service import DistGitPipeline, koji_settings


@pytest.fixture
def pipeline(
    farm: Farm, make_settings: Callable[..., Settings], sqlite_url: str
) -> Iterator[DistGitPipeline]:
    """A service whose one target builds from dist-git, on SQLite."""
    pipeline = DistGitPipeline(farm, koji_settings(make_settings, farm, sqlite_url))
    yield pipeline
    pipeline.close()
