"""Tests the fence: a search closes the submission's session, and then what it finds or does not find is certain."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from sandbox.testing import Farm
from service.domain.reports import Fence, Srpm, SubmissionKey
from tests.contract.koji.bench import adapter, koji_target
from workers.buildsystems import BuildSystem, BuildSystemUnavailable, NeedsPerson, SubmissionUnknown

pytestmark = pytest.mark.timeout(60)
KEY, OTHER = SubmissionKey("b7x0123456789ab"), SubmissionKey("b77x0123456789ab")
TARGET = koji_target()


def tasks_of(farm: Farm, key: SubmissionKey) -> list[int]:
    return [
        task["id"]
        for task in farm.koji.tasks()
        if task["request"][2].get("custom_user_metadata", {}).get("cryopack_submission") == str(key)
    ]


def test_a_call_that_arrives_after_the_fence_makes_no_task(
    farm: Farm, system: BuildSystem, work: Srpm, tmp_path: Path
) -> None:
    """The request hangs somewhere between us and the hub, the client gives up, and only then it arrives."""
    key = SubmissionKey("b1x000000000late")
    fence = system.open(TARGET)
    farm.koji.fault("late_commit", "build", seconds=3.0)
    with pytest.raises(SubmissionUnknown):
        system.submit(work, TARGET, key, fence)
    found = adapter(farm, tmp_path).find(TARGET, key, fence)
    assert (found.refs, found.certain) == ((), True)
    again = system.submit(work, TARGET, key, system.reopen(TARGET, fence))
    time.sleep(3.5)
    assert tasks_of(farm, key) == [int(again.external_id)]


def test_without_the_fence_the_same_call_would_have_made_one(
    farm: Farm, system: BuildSystem, work: Srpm
) -> None:
    """The proof that the test above can fail: nobody closes the session, and the late call runs."""
    key = SubmissionKey("b2x000000000late")
    fence = system.open(TARGET)
    farm.koji.fault("late_commit", "build", seconds=2.5)
    with pytest.raises(SubmissionUnknown):
        system.submit(work, TARGET, key, fence)
    deadline = time.monotonic() + 20
    while not tasks_of(farm, key) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(tasks_of(farm, key)) == 1


def test_a_fenced_worker_that_wakes_up_submits_nothing(
    farm: Farm, system: BuildSystem, work: Srpm, tmp_path: Path
) -> None:
    fence = system.open(TARGET)
    assert adapter(farm, tmp_path).find(TARGET, OTHER, fence).certain
    with pytest.raises(BuildSystemUnavailable, match="nothing was submitted"):
        system.submit(work, TARGET, OTHER, fence)
    assert tasks_of(farm, OTHER) == []


@pytest.mark.parametrize("action", ["close", "expire", "delete"])
def test_a_session_that_is_gone_already_is_as_good_as_fenced(
    farm: Farm, system: BuildSystem, action: str
) -> None:
    fence = system.open(TARGET)
    farm.koji.sessions(action, int(str(fence["session_id"])))
    assert system.find(TARGET, OTHER, fence).certain


@pytest.mark.parametrize("method", ["login", "getLoggedInUser", "logout", "listTasks"])
@pytest.mark.parametrize("kind", ["dropped", "truncated", "unavailable"])
def test_a_search_that_breaks_anywhere_is_no_proof(
    farm: Farm, system: BuildSystem, work: Srpm, method: str, kind: str
) -> None:
    fence = system.open(TARGET)
    farm.koji.fault(kind, method, times=None)
    with pytest.raises(BuildSystemUnavailable):
        system.find(TARGET, OTHER, fence)


def test_a_fence_whose_answer_is_lost_has_not_surely_happened(farm: Farm, system: BuildSystem) -> None:
    fence = system.open(TARGET)
    farm.koji.fault("answer_lost", "logout")
    with pytest.raises(BuildSystemUnavailable):
        system.find(TARGET, OTHER, fence)
    assert system.find(TARGET, OTHER, fence).certain


def test_another_account_proves_nothing(farm: Farm, system: BuildSystem, tmp_path: Path) -> None:
    fence = system.open(TARGET)
    farm.koji.user("second", password="second-secret")
    secret = tmp_path / "second"
    secret.write_text("second-secret")
    other = adapter(farm, tmp_path, user="second", password_file=str(secret))
    with pytest.raises(NeedsPerson, match="give the old account back"):
        other.find(TARGET, KEY, fence)
    with pytest.raises(NeedsPerson, match="give the old account back"):
        other.reopen(TARGET, fence)


def test_a_worthless_log_in_proves_nothing(farm: Farm, system: BuildSystem) -> None:
    fence = system.open(TARGET)
    password = farm.koji_config.with_name("koji-password").read_text().strip()
    farm.koji.user("packbot")
    try:
        with pytest.raises(BuildSystemUnavailable, match="invalid username or password"):
            system.find(TARGET, KEY, fence)
    finally:
        farm.koji.user("packbot", password=password)


def test_the_search_pages_down_to_the_watermark_and_not_below(
    farm: Farm, system: BuildSystem, work: Srpm, tmp_path: Path
) -> None:
    key = SubmissionKey("b3x000000000page")
    fence = system.open(TARGET)
    first = system.submit(work, TARGET, key, fence)
    for _ in range(130):
        resubmit(farm, int(first.external_id))
    before = len(farm.koji.calls("listTasks"))
    assert system.find(TARGET, OTHER, fence).refs == ()
    assert len(farm.koji.calls("listTasks")) == before + 2
    found = system.find(TARGET, key, fence)
    assert int(first.external_id) in {int(ref.external_id) for ref in found.refs} and len(found.refs) > 100
    late: Fence = {**fence, "newest_task": farm.koji.tasks()[-1]["id"]}
    assert system.find(TARGET, key, late).refs == ()


def resubmit(farm: Farm, task: int) -> None:
    """Foreign hands: the same request once more, as an administrator's resubmission makes it."""
    farm.call("POST", "/koji/resubmit", task=task)


def test_of_several_tasks_the_best_comes_first(farm: Farm, system: BuildSystem, work: Srpm) -> None:
    key = SubmissionKey("b4x000000000many")
    fence = system.open(TARGET)
    failed = system.submit(work, TARGET, key, fence)
    farm.koji.set_outcome("srpm")
    farm.koji.step(int(failed.external_id), 30)
    farm.koji.clear_outcomes()
    resubmit(farm, int(failed.external_id))
    live = tasks_of(farm, key)[-1]
    assert [int(ref.external_id) for ref in system.find(TARGET, key, fence).refs] == [
        live,
        int(failed.external_id),
    ]
    resubmit(farm, live)
    done = tasks_of(farm, key)[-1]
    farm.koji.step(done, 30)
    assert [int(ref.external_id) for ref in system.find(TARGET, key, fence).refs] == [
        done,
        live,
        int(failed.external_id),
    ]


def test_a_hub_before_135_makes_no_second_task_of_a_lost_answer(
    farm: Farm, system: BuildSystem, work: Srpm
) -> None:
    """Those hubs run a repeated call twice, and the library repeats by itself; ours does not."""
    farm.koji.play("1.34.3")
    key = SubmissionKey("b5x00000000old1")
    fence = system.open(TARGET)
    farm.koji.fault("answer_lost", "build")
    with pytest.raises(SubmissionUnknown):
        system.submit(work, TARGET, key, fence)
    found = system.find(TARGET, key, fence)
    assert [int(ref.external_id) for ref in found.refs] == tasks_of(farm, key) and len(found.refs) == 1


def test_two_workers_in_doubt_about_one_submission_find_the_same(
    farm: Farm, system: BuildSystem, work: Srpm, tmp_path: Path
) -> None:
    key = SubmissionKey("b6x000000000both")
    fence = system.open(TARGET)
    ref = system.submit(work, TARGET, key, fence)
    seen = []
    threads = [
        threading.Thread(target=lambda: seen.append(adapter(farm, tmp_path).find(TARGET, key, fence)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [found.refs for found in seen] == [(ref,)] * 4
