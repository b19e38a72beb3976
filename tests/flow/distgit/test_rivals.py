"""Two submitters for one name-version-release: one build, and both know of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.testing import Farm
from service.builds.commands import request_cancel
from service.settings import Settings
from tests.flow.distgit.service import BRANCH, PACKAGE, DistGitHouse, koji_settings

pytestmark = pytest.mark.timeout(120)
CLOSED, FAILED = 2, 5


@pytest.fixture
def houses(
    farm: Farm, make_settings: Callable[..., Settings], sqlite_url: str, postgres_url: str, tmp_path: Path
) -> Iterator[tuple[DistGitHouse, DistGitHouse]]:
    """Two services with databases of their own on one dist-git and one hub; the second has another account."""
    password = tmp_path / "maintainers-password"
    password.write_text(str(farm.koji.user("maintainer")["password"]))
    first = koji_settings(make_settings, farm, sqlite_url)
    second = koji_settings(make_settings, farm, postgres_url, state_dir=tmp_path / "second")
    other = {"koji_user": "maintainer", "koji_password_file": password}
    pair = DistGitHouse(farm, first), DistGitHouse(farm, second.model_copy(update=other))
    pair[0].grants.grant(PACKAGE, BRANCH)
    yield pair
    for house in pair:
        house.close()


def both_run(houses: tuple[DistGitHouse, DistGitHouse], state: str, *, of: int = 2) -> None:
    """Turn both services until ``of`` of them have a build in that state."""
    deadline = time.monotonic() + 60
    while sum(bool(house.builds()) and house.builds()[-1].state == state for house in houses) < of:
        assert time.monotonic() < deadline, [(one.state, one.reason) for h in houses for one in h.builds()]
        for house in houses:
            house.turn()
        time.sleep(0.02)


def test_two_services_on_one_commit_make_one_build(houses: tuple[DistGitHouse, DistGitHouse]) -> None:
    ours = houses[0]
    farm = ours.farm
    farm.pause()
    for house in houses:
        house.announce("v1.35.1", publish=house is ours)
        house.process_inbox()
    both_run(houses, "running")
    assert len(ours.scm_builds()) == 2 and len(set(ours.scm_builds())) == 1
    farm.resume()
    both_run(houses, "succeeded")
    tasks = farm.koji.tasks()
    assert sorted(task["state"] for task in tasks) == [CLOSED, FAILED]
    (made,) = [str(task["id"]) for task in tasks if task["state"] == CLOSED]
    for house in houses:
        (build,) = house.builds()
        assert build.external_id == made and build.web_url.endswith(f"taskID={made}")
        assert build.built_nvr == f"{PACKAGE}-1.35.1-1.fc44"
        assert {row.state for row in house.chroots(build.id).values()} == {"succeeded"}
    told = [text for house in houses for text in house.told(house.builds()[0].id)]
    assert len([text for text in told if "was there first" in text]) == 1


def test_giving_up_on_somebody_elses_build_leaves_it_alone(
    houses: tuple[DistGitHouse, DistGitHouse],
) -> None:
    ours, theirs = houses
    farm = ours.farm
    farm.pause()
    theirs.announce("v1.35.1")
    theirs.process_inbox()
    theirs.run_to("running")
    ours.announce("v1.35.1", publish=False)
    ours.process_inbox()
    ours.run_to("running")
    first, second = (int(task["id"]) for task in farm.koji.tasks())
    farm.koji.step(first, 8)
    farm.koji.step(second, 12)
    ours.run(lambda builds: builds[0].external_id == str(first))
    request_cancel(ours.context.db, ours.builds()[0].id, by="me")
    ours.run()
    (build,) = ours.builds()
    assert build.state == "canceled" and "me" in build.reason
    assert any("another account's" in text for text in ours.told(build.id))
    ours.settle()
    farm.resume()
    theirs.run()
    assert theirs.builds()[0].state == "succeeded"
