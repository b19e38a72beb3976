"""A set of three families in one side tag: built in order, shipped, removed; a failure, a person, a lost answer."""

from __future__ import annotations

import itertools

import pytest

from service.builds.commands import request_build
from service.domain.errors import CommandRefused
from service.sidetags.lifecycle import go_on_side_tag
from tests.flow.sidetags.service import FAMILIES, SideTagHouse

pytestmark = pytest.mark.timeout(120)


def test_a_set_is_built_in_order_in_one_side_tag(house: SideTagHouse) -> None:
    # The last of the order comes first, so that nothing but the order makes it wait.
    house.release_all(*reversed(FAMILIES))
    house.wait(lambda: len(house.builds()) == 3 and "turn comes after" in house.build_of("cri-o").reason)
    house.run()
    assert [house.build_of(family).state for family in FAMILIES] == ["succeeded"] * 3
    house.hurry()
    house.wait(lambda: "not in stable yet" in house.side_tags()[0].reason)
    (row,) = house.side_tags()
    assert house.live_tags() == [row.name] and row.state == "open"
    tasks = house.farm.koji.tasks()
    assert [task["request"][1] for task in tasks] == [row.name] * 3
    assert [task["id"] for task in tasks] == [
        int(house.build_of(family).external_id or 0) for family in FAMILIES
    ]
    # Each was asked for only after the one before it had ended.
    assert all(before["completion_ts"] < after["create_ts"] for before, after in itertools.pairwise(tasks))

    # In testing the update may still be edited; the tag goes only when all of it is stable.
    house.ship("f44-updates-testing")
    house.wait(lambda: {build.shipped for build in house.builds()} == {"testing"})
    house.hurry()
    house.wait(lambda: "not in stable yet" in house.side_tags()[0].reason)
    assert house.live_tags() == [row.name]
    house.ship("f44-updates")
    house.wait(lambda: house.side_tags()[0].state == "removed")
    assert house.live_tags() == []
    assert house.tag_story() == ["creating", "open", "removing", "removed"]

    # The next release gets a side tag of its own. This time Bodhi takes the builds out first, and the hub removes it.
    house.release_all("cri-o", patch=1)
    house.run()
    house.ship("f44-updates", leave=True)
    assert house.live_tags() == []
    house.wait(lambda: house.side_tags()[1].state == "removed")
    assert house.side_tags()[1].reason.endswith("is gone from the build system after its update was pushed")


def test_what_comes_after_a_failure_waits_until_a_person_says_go_on(house: SideTagHouse) -> None:
    house.farm.koji.set_outcome("x86_64", package="kubernetes*")
    house.release_all("cri-o", "kubernetes")
    house.wait(lambda: "which failed" in house.build_of("cri-o").reason)
    assert house.build_of("kubernetes").state == "failed"
    # cri-tools has no release of this minor, so nobody waits for it.
    assert "cri-tools" not in house.build_of("cri-o").reason
    assert len(house.farm.koji.tasks()) == 1
    done = go_on_side_tag(house.context.db, 1, by="ana", why="the kubelet is not needed for the test")
    assert "goes on without kubernetes1.35 1.35.0 (build 2)" in done.sentence
    with pytest.raises(CommandRefused, match="nothing in it waits for a person"):
        go_on_side_tag(house.context.db, 1, by="ana", why="again")
    house.run()
    assert house.build_of("cri-o").state == "succeeded"
    # A retry of the failed build comes into the same side tag, and whoever comes later waits for it again.
    house.farm.koji.clear_outcomes()
    request_build(house.context.db, house.context.catalog, house.build_of("kubernetes").id, by="ana")
    house.release_all("cri-tools")
    house.run()
    assert [task["request"][1] for task in house.farm.koji.tasks()] == [house.live_tags()[0]] * 4
    assert int(house.build_of("cri-tools").external_id or 0) > int(
        house.build_of("kubernetes").external_id or 0
    )


def test_a_denied_side_tag_waits_for_a_person_and_a_vanished_one_is_made_again(house: SideTagHouse) -> None:
    house.farm.koji.deny_side_tags("too many side tags")
    house.release_all("kubernetes")
    house.wait(lambda: "waits for a person" in house.build_of("kubernetes").reason)
    assert "too many side tags" in house.side_tags()[0].reason
    house.farm.koji.deny_side_tags("")
    go_on_side_tag(house.context.db, 1, by="ana", why="asked the administrators")
    # Somebody removes it before anything is built in it.
    house.farm.koji.set_outcome("builder")
    house.wait(lambda: bool(house.live_tags()))
    house.farm.koji.remove_side_tag(house.live_tags()[0])
    house.farm.koji.clear_outcomes()
    house.run()
    if house.build_of("kubernetes").state != "succeeded":
        # It was handed over before that: Koji fails it, and a retry is let into the new one.
        assert "unknown build target" in house.build_of("kubernetes").reason
        request_build(house.context.db, house.context.catalog, house.build_of("kubernetes").id, by="ana")
        house.run()
    assert house.build_of("kubernetes").state == "succeeded"
    (row,) = house.side_tags()
    assert house.live_tags() == [row.name] and "wanted" in house.tag_story()
