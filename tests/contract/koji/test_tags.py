"""Tests the tags of real Koji builds: present and past ones with the hub's times, many with two requests."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from sandbox.testing import Farm
from service.domain.reports import BuildRef, PollProblem, SubmissionKey, TagReport
from tests.contract.koji.bench import CANDIDATE, TESTING, fresh_commit, koji_target
from workers.buildsystems import BuildSystem, BuildSystemUnavailable

pytestmark = pytest.mark.timeout(60)
TARGET = koji_target(scratch=False)
DELETED = 2


def built(farm: Farm, system: BuildSystem) -> tuple[BuildRef, str]:
    """A build that has succeeded, and its name-version-release."""
    work = fresh_commit(farm)
    ref = system.submit(work, TARGET, SubmissionKey.fresh(int(work.commit, 16)), system.open(TARGET))
    farm.koji.step(int(ref.external_id), 30)
    return ref, work.nvr


def told(system: BuildSystem, ref: BuildRef) -> TagReport:
    answer = system.tags([ref])[ref]
    assert isinstance(answer, TagReport), answer
    return answer


def test_a_success_is_tagged_and_its_tags_come_with_the_hubs_times(farm: Farm, system: BuildSystem) -> None:
    before = datetime.now(UTC)
    ref, nvr = built(farm, system)
    polled = system.poll([ref])[ref]
    assert not isinstance(polled, PollProblem) and polled.tagged
    farm.koji.move(nvr, TESTING, CANDIDATE)
    answer = told(system, ref)
    assert (answer.nvr, answer.over) == (nvr, "")
    old, new = answer.taggings
    assert (old.tag, new.tag, new.until) == (CANDIDATE, TESTING, None)
    assert old.until is not None and before.timestamp() - 1 < old.since.timestamp() <= old.until.timestamp()
    assert abs(new.since.timestamp() - time.time()) < 30


def test_a_build_whose_tags_are_all_gone_keeps_its_past(farm: Farm, system: BuildSystem) -> None:
    ref, nvr = built(farm, system)
    farm.koji.move(nvr, remove=CANDIDATE)
    (only,) = told(system, ref).taggings
    assert only.until is not None


def test_many_builds_are_read_with_two_requests_and_one_bad_one_spoils_none(
    farm: Farm, system: BuildSystem
) -> None:
    good = [built(farm, system) for _ in range(3)]
    gone, odd = BuildRef("koji", "sandbox", "987654"), BuildRef("koji", "sandbox", "not/an id")
    farm.koji.build("cri-o1.34-9.9-1.fc44", DELETED, task=765432)
    deleted = BuildRef("koji", "sandbox", "765432")
    before = len(farm.koji.calls())
    answers = system.tags([gone, *(ref for ref, _ in good), odd, deleted])
    assert farm.koji.calls()[before:] == ["multiCall", "multiCall"]
    for ref, nvr in good:
        answer = answers[ref]
        assert isinstance(answer, TagReport) and answer.nvr == nvr and len(answer.taggings) == 1
    missing, wrong, over = answers[gone], answers[odd], answers[deleted]
    assert isinstance(missing, PollProblem) and missing.vanished
    assert isinstance(wrong, PollProblem) and "not the id" in wrong.reason
    assert isinstance(over, TagReport) and over.over == "Koji has deleted cri-o1.34-9.9-1.fc44"


def test_a_hub_that_is_away_is_no_answer(farm: Farm, system: BuildSystem) -> None:
    ref, _ = built(farm, system)
    farm.koji.offline()
    with pytest.raises(BuildSystemUnavailable):
        system.tags([ref])
