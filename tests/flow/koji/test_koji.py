"""A service that builds at Koji beside COPR: the way through, lost answers, an outage, two workers, killed workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.testing import Farm
from service.settings import Settings
from tests.flow.house import SUCCESS, House
from tests.flow.killing import Victim, one_target
from tests.servers import Valkey
from workers.builds import steps
from workers.context import Context

# Around the session, the upload and the submission; the other boundaries are no different from COPR's (test_kill.py).
PLANS = [
    "child:after:koji_open",
    "child:after:koji_upload",
    "worker:before:koji_build",
    "worker:after:koji_build",
    "child:after:koji_submit",
]
# Leases of the dead end at once; for these their time really passes.
PATIENT = {"worker:after:koji_build"}


@pytest.fixture
def wide_house(
    farm: Farm, make_settings: Callable[..., Settings], koji_settings: dict[str, Any], sqlite_url: str
) -> Iterator[House]:
    """A service with COPR and the hub, driven by hand."""
    house = House(farm, make_settings(sqlite_url, **koji_settings))
    yield house
    house.close()


@pytest.fixture
def house(wide_house: House) -> House:
    """The same with one target at the hub."""
    wide_house.only("f44-koji")
    return wide_house


def test_one_release_is_built_at_copr_and_at_koji(wide_house: House) -> None:
    house = wide_house
    house.only("f44-copr", "f44-koji")
    house.announce("v1.35.6")
    house.run()
    copr, koji = house.builds()
    assert (copr.state, koji.state) == ("succeeded", "succeeded")
    # The same content is the same source package, whoever builds it.
    assert (copr.srpm_sha256, copr.release_number) == (koji.srpm_sha256, koji.release_number)
    (task,) = house.farm.koji.tasks()
    assert koji.external_id == str(task["id"]) and koji.web_url.endswith(
        f"/koji/taskinfo?taskID={task['id']}"
    )
    assert task["request"][2]["custom_user_metadata"]["cryopack_submission"] == koji.submission_key
    chroots = house.chroots(koji.id)
    assert {name: row.state for name, row in chroots.items()} == {
        "fedora-44-aarch64": "succeeded",
        "fedora-44-x86_64": "succeeded",
    }
    assert all(row.log_url.endswith("/build.log") and row.started_at for row in chroots.values())
    assert house.story(koji.id) == SUCCESS
    # Neither of them is on its way to users, so nobody follows it there.
    assert (copr.shipped, koji.shipped) == ("", "") and "shipped" not in house.kinds()


def test_an_architecture_that_fails_fails_the_build_with_kojis_words(house: House) -> None:
    house.farm.koji.set_outcome("x86_64")
    build = house.build_one("v1.35.6")
    assert build.state == "failed" and build.reason.startswith("error building package (arch x86_64)")
    assert {name: row.state for name, row in house.chroots(build.id).items()} == {
        "fedora-44-aarch64": "canceled",
        "fedora-44-x86_64": "failed",
    }


def test_a_builder_that_breaks_off_is_not_the_packages_fault(house: House) -> None:
    house.farm.koji.set_outcome(
        "begin", code=1, text="Traceback (most recent call last):\nOSError: no space left"
    )
    build = house.build_one("v1.35.6")
    assert build.state == "errored" and "OSError: no space left" in build.reason


@pytest.mark.parametrize(
    "kind", ["answer_lost", "dropped", "truncated", "slow_answer", "late_commit", "unavailable"]
)
def test_a_submission_in_doubt_ends_as_one_task(house: House, kind: str) -> None:
    house.farm.koji.fault(kind, "build", seconds=1.6)
    house.announce("v1.35.6")
    house.run()
    house.settle()
    (build,) = house.builds()
    assert build.state == "succeeded", build.reason
    time.sleep(1.0 if kind == "late_commit" else 0.0)
    assert [str(task["id"]) for task in house.farm.koji.tasks()] == [build.external_id]


def test_a_task_that_the_hub_forgot_is_errored(house: House) -> None:
    house.farm.pause()
    house.announce("v1.35.6")
    house.run_to("running")
    house.farm.koji.forget(int(house.builds()[0].external_id or 0))
    house.run()
    assert house.builds()[0].state == "errored" and "has no task" in house.builds()[0].reason


def test_a_hub_that_is_away_costs_nothing_but_time_and_everything_is_built_in_order(house: House) -> None:
    house.farm.koji.offline()
    for tag in ("v1.34.8", "v1.35.6", "v1.36.0"):
        house.announce(tag)
        house.process_inbox()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        house.turn()
        time.sleep(0.05)
    waiting = house.builds()
    assert {b.state for b in waiting} == {"preparing"} and all(b.tries <= 1 for b in waiting)
    assert all(b.reason.startswith("koji: ") for b in waiting)
    house.farm.clear_faults()
    # By now all three are due.
    time.sleep(house.settings.retry_max_seconds)
    house.run()
    built = house.builds()
    assert [b.state for b in built] == ["succeeded"] * 3
    tasks = [task["id"] for task in house.farm.koji.tasks()]
    assert [int(b.external_id or 0) for b in built] == sorted(tasks) and len(tasks) == 3


def test_an_outage_while_builds_run_is_waited_out(house: House) -> None:
    house.farm.pause()
    house.announce("v1.35.6")
    house.run_to("running")
    house.farm.koji.outage("Server disabled for maintenance")
    until = time.monotonic() + 2
    while time.monotonic() < until:
        house.turn()
        time.sleep(0.05)
    assert house.builds()[0].state == "running" and "offline" in house.builds()[0].reason
    house.farm.koji.outage("")
    house.farm.resume()
    house.run()
    assert house.builds()[0].state == "succeeded"


def test_two_workers_on_one_build_make_one_task(house: House) -> None:
    house.announce("v1.35.6")
    house.process_inbox()
    (build,) = house.builds()
    workers = [Context.create(house.settings) for _ in range(4)]
    threads = [threading.Thread(target=steps.advance, args=(worker, build.id)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for worker in workers:
        worker.close()
    house.run()
    assert house.builds()[0].state == "succeeded" and len(house.farm.koji.tasks()) == 1


def test_a_killed_worker_loses_no_task_and_doubles_none(
    farm: Farm,
    make_settings: Callable[..., Settings],
    koji_settings: dict[str, Any],
    postgres_url: str,
    valkey: Valkey,
    tmp_path: Path,
) -> None:
    one_target(tmp_path / "catalog", "f44-koji")
    settings = make_settings(
        postgres_url, broker_url=valkey.url, step_limit_seconds=4.0, step_lease_seconds=5.0,
        poll_lease_seconds=2.0, catalog_dir=tmp_path / "catalog", **koji_settings,
    )  # fmt: skip
    house = House(farm, settings)
    victim = Victim(house, settings, tmp_path)
    try:
        for patch, plan in enumerate(PLANS, 1):
            victim.build(f"v1.35.{patch}", plan, patient=plan in PATIENT)
            ours = [build.external_id for build in house.builds()]
            assert [str(task["id"]) for task in farm.koji.tasks()] == ours, plan
    finally:
        victim.close()
        house.close()
