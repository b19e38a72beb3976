"""Killed at each boundary of a change of dist-git: one commit and one Koji task come out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import workers.builds.steps
import workers.distgit.commit
from sandbox.testing import Farm
from service.settings import Settings
from tests.flow.distgit.service import BRANCH, PACKAGE, DistGitHouse, koji_settings
from tests.flow.killing import Killed, die_once, forget_claims
from workers.distgit.git import Repository

pytestmark = pytest.mark.timeout(120)


BOUNDARIES: dict[str, tuple[Any, str]] = {
    "begin_change": (workers.distgit.commit, "begin_change"),
    "upload": (workers.distgit.commit, "upload"),
    "record_commit": (workers.distgit.commit, "record_commit"),
    "push": (Repository, "push"),
    "record_landed": (workers.distgit.commit, "record_landed"),
    "begin_submit": (workers.builds.steps, "begin_submit"),
    "record_submission": (workers.builds.steps, "record_submission"),
}


@pytest.fixture
def house(farm: Farm, make_settings: Callable[..., Settings], sqlite_url: str) -> Iterator[DistGitHouse]:
    house = DistGitHouse(farm, koji_settings(make_settings, farm, sqlite_url))
    yield house
    house.close()


def test_one_commit_and_one_task_whenever_it_is_killed(
    house: DistGitHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.grants.grant(PACKAGE, BRANCH)
    plans = [(when, name) for name in BOUNDARIES for when in ("before", "after")]
    house.announce("v1.35.1")
    house.process_inbox()
    for when, name in plans:
        died = die_once(monkeypatch, when, *BOUNDARIES[name])
        for _ in range(20):
            try:
                house.turn()
            except Killed:
                break
        # A boundary that an earlier try has passed is passed no more: what it did is found and taken.
        monkeypatch.undo()
        forget_claims(house.context.db)
        if died:
            assert len(house.grants.log(PACKAGE, BRANCH)) <= 2
    house.run()
    (build,) = house.builds()
    assert build.state == "succeeded", build.reason
    assert house.grants.log(PACKAGE, BRANCH) == ["Update to 1.35.1", "Added the README"]
    assert len(house.scm_builds()) == 1


@pytest.mark.parametrize("name", ["push", "record_landed"])
def test_the_commit_of_a_killed_worker_is_found(
    house: DistGitHouse, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    house.grants.grant(PACKAGE, BRANCH)
    house.announce("v1.35.1")
    house.process_inbox()
    when = "after" if name == "push" else "before"
    died = die_once(monkeypatch, when, *BOUNDARIES[name])
    with pytest.raises(Killed):
        house.run()
    monkeypatch.undo()
    assert died and house.changes()[0].landed_commit == ""
    # Somebody else commits meanwhile: ours is below the head then, and the head is what is built.
    head = house.grants.edit(PACKAGE, BRANCH, "Meanwhile", {"README": "more\n"})
    forget_claims(house.context.db)
    house.run()
    assert house.grants.log(PACKAGE, BRANCH) == ["Meanwhile", "Update to 1.35.1", "Added the README"]
    assert house.scm_builds() == [f"git+file://{house.grants.path(PACKAGE)}#{head}"]
