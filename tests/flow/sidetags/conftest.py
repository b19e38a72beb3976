"""The fixture of the tests of side tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sandbox.testing import Farm
from service.settings import Settings
from tests.flow.sidetags.service import SideTagPipeline, upstream


@pytest.fixture
def pipeline(
    farm: Farm, make_settings: Callable[..., Settings], sqlite_url: str
) -> Iterator[SideTagPipeline]:
    """A service that builds a set of three families in side tags, driven by hand."""
    with upstream() as sources:
        pipeline = SideTagPipeline(farm, make_settings, sqlite_url, sources.origin)
        yield pipeline
        pipeline.close()
