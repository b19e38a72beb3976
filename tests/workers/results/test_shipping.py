"""What one answer about tags comes to: again and when, done and why, or later because nobody answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from service.builds.follow_ups import FollowUpWork, ShippedWork
from service.domain.reports import BuildRef, PollProblem, Tagging, TagReport
from service.domain.shipping import fedora_tags
from service.settings import Settings
from workers.context import Context
from workers.outcomes import Again, Done, NotYet
from workers.results.shipping import judge_answer

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
REF = BuildRef("koji", "fedora", "7")
CONTEXT = cast(Context, SimpleNamespace(settings=Settings(shipped_look_days=30)))
WORK = FollowUpWork(1, "token", "shipped", "tags", 1, 1, past_deadline=False)


def asked(days: float) -> ShippedWork:
    """A build that last moved so many days ago."""
    return ShippedWork(WORK, REF, fedora_tags(44), NOW - timedelta(days=days), NOW)


def tagged(tag: str, days: float) -> TagReport:
    return TagReport(REF, "p-1-1.fc44", (Tagging(tag, NOW - timedelta(days=days)),))


@pytest.mark.parametrize(("days", "hours"), [(0, 1), (2, 2), (29, 24)])
def test_a_build_on_its_way_is_looked_at_again(days: float, hours: float) -> None:
    came_to = judge_answer(CONTEXT, asked(days), tagged("f44-updates-testing", days))
    assert isinstance(came_to, Again) and came_to.delay_seconds == hours * 3600
    assert came_to.text.startswith("p-1-1.fc44 is testing: tagged f44-updates-testing since")


def test_one_that_moves_late_is_looked_at_soon_again() -> None:
    came_to = judge_answer(CONTEXT, asked(40), tagged("f44-updates-testing", 1))
    assert isinstance(came_to, Again) and came_to.delay_seconds == 3600


def test_one_that_has_not_moved_for_long_is_left_with_its_reason() -> None:
    came_to = judge_answer(CONTEXT, asked(31), tagged("f44-updates-candidate", 31))
    assert isinstance(came_to, Done) and came_to.outcome.startswith("p-1-1.fc44 is candidate")
    assert came_to.outcome.endswith("nothing has moved for 30 days, and nobody looks any more")


def test_stable_is_the_end() -> None:
    assert isinstance(judge_answer(CONTEXT, asked(1), tagged("f44", 1)), Done)


@pytest.mark.parametrize("answer", [None, PollProblem("the hub says nothing of it")])
def test_no_answer_spends_no_try_until_it_is_too_long_ago(answer: PollProblem | None) -> None:
    with pytest.raises(NotYet) as caught:
        judge_answer(CONTEXT, asked(1), answer)
    assert not caught.value.spend_try and caught.value.retry_after == 3600
    assert isinstance(judge_answer(CONTEXT, asked(31), answer), Done)


def test_a_build_that_is_not_known_there_is_left() -> None:
    came_to = judge_answer(CONTEXT, asked(1), PollProblem("the hub has no build of task 7", vanished=True))
    assert isinstance(came_to, Done) and "no build of task 7" in came_to.outcome
