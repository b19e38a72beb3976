"""The fixture of the tests of side tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sandbox.testing import Farm
from service.settings import Settings
from tests.flow.sidetags.service import SideTagHouse, upstream


@pytest.fixture
def house(farm: Farm, make_settings: Callable[..., Settings], sqlite_url: str) -> Iterator[SideTagHouse]:
    """A service that builds a set of three families in side tags, driven by hand."""
    with upstream() as sources:
        house = SideTagHouse(farm, make_settings, sqlite_url, sources.origin)
        yield house
        house.close()
