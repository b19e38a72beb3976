"""A set of three families in one side tag: built in order, shipped, removed; a failure, a person, a lost answer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from sandbox.testing import Farm
from service.settings import Settings
from tests.flow.side_tags import FAMILIES, SideTagHouse, upstream

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def house(farm: Farm, make_settings: Callable[..., Settings], sqlite_url: str) -> Iterator[SideTagHouse]:
    with upstream() as sources:
        house = SideTagHouse(farm, make_settings, sqlite_url, sources.origin)
        yield house
        house.close()


def test_a_set_is_built_in_order_in_one_side_tag(house: SideTagHouse) -> None:
    # The last of the order comes first, so that nothing but the order makes it wait.
    house.release_all(*reversed(FAMILIES))
    house.wait(lambda: len(house.builds()) == 3 and "turn comes after" in house.build_of("cri-o").reason)
    house.run()
    assert [house.build_of(family).state for family in FAMILIES] == ["succeeded"] * 3
    (row,) = house.side_tags()
    assert house.live_tags() == [row.name] and row.state == "open"
    assert "not in stable yet" in row.reason
    tasks = house.farm.koji.tasks()
    assert [task["request"][1] for task in tasks] == [row.name] * 3
    assert [task["id"] for task in tasks] == [
        int(house.build_of(family).external_id or 0) for family in FAMILIES
    ]
    # Each was asked for only after the one before it had ended.
    assert all(before["completion_ts"] < after["create_ts"] for before, after in itertools.pairwise(tasks))
