"""How far a build is shipped, from its tags: every stage, steps back, the end, and when to look again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.errors import BadName
from service.domain.reports import BuildRef, Tagging, TagReport
from service.domain.shipping import Stage, StageTags, fedora_tags, judge_tags, next_look

NVR = "cri-o1.35-1.35.1-1.fc44"
REF = BuildRef("koji", "fedora", "7")
NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def judged(
    *taggings: tuple[str, float, float | None], number: int = 44, over: str = ""
) -> tuple[str, bool, str]:
    """Return the stage, whether it is the end, and the text, of tags given as (tag, since, until) in hours of age."""
    rows = tuple(
        Tagging(tag, NOW - since * HOUR, None if until is None else NOW - until * HOUR)
        for tag, since, until in taggings
    )
    seen = judge_tags(TagReport(REF, NVR, rows, over), fedora_tags(number), now=NOW, grace=DAY)
    assert (seen.since is None) == (seen.stage is None)
    return seen.stage.value if seen.stage else "", seen.ended, seen.text


@pytest.mark.parametrize(
    ("tag", "stage", "ended"),
    [
        ("f44-updates-candidate", "candidate", False),
        ("f44-signing-pending", "candidate", False),
        ("f44-updates-testing-pending", "testing", False),
        ("f44-updates-testing", "testing", False),
        ("f44-updates-pending", "testing", False),
        ("f44-updates", "stable", True),
        ("f44", "stable", True),
        ("f44-build-side-12345", "", False),
        ("f43-updates", "", False),
        ("f44-updates-candidate-old", "", False),
    ],
)
def test_fedoras_tags_mean_stages(tag: str, stage: str, ended: bool) -> None:
    found = judged(("f44-build-side-1", 9, 5), (tag, 5, None))
    assert found[:2] == (stage, ended) and tag in found[2] and NVR in found[2]


def test_the_next_fedora_is_stable_under_its_own_tag() -> None:
    assert judged(("f46-updates-candidate", 3, 2), ("f46", 2, None), number=46)[:2] == ("stable", True)


def test_the_furthest_stage_counts_with_its_first_time() -> None:
    rows = [
        ("f44-updates-candidate", 9, None),
        ("f44-updates-testing-pending", 4, None),
        ("f44-updates-testing", 2, None),
    ]
    stage, _, text = judged(*rows)
    assert stage == "testing"
    assert "f44-updates-testing-pending and f44-updates-testing since 2026-11-26 08:00 UTC" in text


def test_an_update_that_was_unpushed_is_a_candidate_again() -> None:
    back = judged(
        ("f44-updates-candidate", 9, 5), ("f44-updates-testing", 5, 1), ("f44-updates-candidate", 1, None)
    )
    assert back[0] == "candidate" and "since 2026-11-26 11:00 UTC" in back[2]


def test_a_build_without_tags_is_looked_at_again_before_it_is_given_up() -> None:
    just = judged(("f44-updates-testing", 30, 23))
    long_ago = judged(("f44-updates-testing", 99, 30), ("f44-updates-testing-pending", 60, 25))
    assert just[:2] == ("", False) and long_ago[:2] == ("", True)
    assert "obsoleted, or somebody took the tag away" in long_ago[2] and "2026-11-25 11:00" in long_ago[2]
    assert judged()[:2] == ("", False)


def test_what_the_build_system_says_is_over_is_over() -> None:
    assert judged(over="Koji has deleted it") == ("", True, "Koji has deleted it")


def test_tags_of_another_hub() -> None:
    own = StageTags({Stage.CANDIDATE: ("new",), Stage.TESTING: ("try",), Stage.STABLE: ("good", "old-good")})
    assert [own.stage_of(tag) for tag in ("new", "try", "old-good", "f44")] == [*Stage, None]
    assert StageTags.from_json(own.as_json()) == own and StageTags.from_json(None) is None
    with pytest.raises(BadName, match="the tag new means two stages"):
        StageTags({Stage.CANDIDATE: ("new",), Stage.STABLE: ("new",)})


@pytest.mark.parametrize(
    ("quiet", "pause"),
    [(timedelta(0), HOUR), (HOUR, HOUR), (2 * DAY, 2 * HOUR), (24 * DAY, DAY), (99 * DAY, DAY)],
)
def test_the_pace_slows_down_while_nothing_moves(quiet: timedelta, pause: timedelta) -> None:
    assert next_look(NOW, NOW - quiet, shortest=HOUR, longest=DAY) == pause
