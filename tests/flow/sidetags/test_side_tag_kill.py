"""Killed at each boundary around a side tag: one is ever made, one build is made in it, and it is removed once."""

from __future__ import annotations

from typing import Any

import pytest

import workers.builds.side_tags
from tests.flow.killing import Killed, die_once
from tests.flow.sidetags.service import SideTagHouse
from workers.buildsystems.koji.adapter import Koji

pytestmark = pytest.mark.timeout(120)


MAKING: dict[str, tuple[Any, str]] = {
    "join": (workers.builds.side_tags, "join"),
    "turn_of": (workers.builds.side_tags, "turn_of"),
    "open_side_tag": (Koji, "open_side_tag"),
    "begin_making": (workers.builds.side_tags, "begin_making"),
    "make_side_tag": (Koji, "make_side_tag"),
    "record_made": (workers.builds.side_tags, "record_made"),
    "missing_in_side_tag": (Koji, "missing_in_side_tag"),
    "record_turn": (workers.builds.side_tags, "record_turn"),
}
REMOVING: dict[str, tuple[Any, str]] = {
    "record_look": (workers.builds.side_tags, "record_look"),
    "remove_side_tag": (Koji, "remove_side_tag"),
    "record_removed": (workers.builds.side_tags, "record_removed"),
}


def test_one_side_tag_whenever_it_is_killed(house: SideTagHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house.release_all("kubernetes")
    died = [_kill(house, monkeypatch, when, name, MAKING) for name in MAKING for when in ("before", "after")]
    # Whoever had asked and not heard is followed by one who finds the tag: only its own boundary is passed by then.
    assert died.count(True) >= len(died) - 2
    house.run()
    assert house.build_of("kubernetes").state == "succeeded", house.build_of("kubernetes").reason
    assert len(house.farm.koji.side_tags()) == 1 == len(house.farm.koji.tasks())
    assert "creating" in house.tag_story() and house.side_tags()[0].state == "open"

    house.give_up("the test is over")
    for name in REMOVING:
        for when in ("before", "after"):
            _kill(house, monkeypatch, when, name, REMOVING)
    house.wait(lambda: house.side_tags()[0].state == "removed")
    assert house.live_tags() == [] and house.tag_story()[-1] == "removed"
    assert house.tag_story().count("removing") == 1


def _kill(
    house: SideTagHouse,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    name: str,
    boundaries: dict[str, tuple[Any, str]],
) -> bool:
    """Work until the boundary is passed, die there, and let the leases pass. Whether it was passed at all."""
    died = die_once(monkeypatch, when, *boundaries[name])
    for _ in range(12):
        try:
            house.hurry()
            house.turn()
        except Killed:
            break
    monkeypatch.undo()
    house.hurry()
    return bool(died)
