"""A Koji build on its way to users: its tags move at the hub, and the service follows, forth and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from sandbox.testing import Farm
from service.settings import Settings
from service.store.schema import BuildEvent, FollowUp, PackageBuild
from tests.flow.distgit.service import BRANCH, PACKAGE, DistGitPipeline, koji_settings

pytestmark = pytest.mark.timeout(120)
CANDIDATE, TESTING, STABLE = "f44-updates-candidate", "f44-updates-testing", "f44-updates"


@pytest.fixture
def pipeline(
    farm: Farm, make_settings: Callable[..., Settings], database_url: str
) -> Iterator[DistGitPipeline]:
    """Looks follow each other at once, on both databases."""
    looks = {"shipped_look_seconds": 0.05, "shipped_look_max_seconds": 0.3}
    pipeline = DistGitPipeline(farm, koji_settings(make_settings, farm, database_url, **looks))
    pipeline.grants.grant(PACKAGE, BRANCH)
    yield pipeline
    pipeline.close()


def wait(pipeline: DistGitPipeline, build: PackageBuild, stage: str) -> PackageBuild:
    """Turn until the build has come to a stage."""

    def found() -> PackageBuild:
        return next(one for one in pipeline.builds() if one.id == build.id)

    turn_until(pipeline, lambda: found().shipped == stage)
    return found()


def turn_until(pipeline: DistGitPipeline, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline, [(one.id, one.shipped) for one in pipeline.builds()]
        pipeline.turn()
        time.sleep(0.02)


def follow_up(pipeline: DistGitPipeline, build: PackageBuild) -> FollowUp:
    with pipeline.context.db.reader() as session:
        statement = select(FollowUp).where(FollowUp.build_id == build.id, FollowUp.kind == "shipped")
        found = session.scalars(statement).one()
        session.expunge_all()
        return found


def history(pipeline: DistGitPipeline, build: PackageBuild) -> list[str]:
    with pipeline.context.db.reader() as session:
        statement = select(BuildEvent.text).where(
            BuildEvent.build_id == build.id, BuildEvent.kind == "shipped"
        )
        return list(session.scalars(statement.order_by(BuildEvent.id)))


def nvr(pipeline: DistGitPipeline, build: PackageBuild) -> str:
    """What the hub calls it; we learn it with the first look."""
    return follow_up(pipeline, build).outcome.split(" is ")[0]


def test_a_build_is_followed_to_stable_and_back_and_out_of_the_way(pipeline: DistGitPipeline) -> None:
    first, second = pipeline.release("v1.35.1"), pipeline.release("v1.35.2")
    assert (first.state, second.state) == ("succeeded", "succeeded")
    hub = pipeline.farm.koji
    for build in (first, second):
        seen = wait(pipeline, build, "candidate")
        assert (
            seen.shipped_at and seen.ended_at and abs((seen.shipped_at - seen.ended_at).total_seconds()) < 30
        )
    names = [nvr(pipeline, build) for build in (first, second)]
    hub.move(names[0], f"{TESTING}-pending", CANDIDATE)
    entered = wait(pipeline, first, "testing").shipped_at
    hub.move(names[0], TESTING, f"{TESTING}-pending")

    # A hub that is away costs nothing but time.
    hub.outage("Server disabled for maintenance")
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        pipeline.turn()
        time.sleep(0.02)
    waiting = follow_up(pipeline, first)
    assert (
        waiting.ended_at is None and waiting.tries == 0 and "could not be asked for tags" in waiting.outcome
    )
    hub.outage("")

    # The stage is the same one still, and so is its time.
    turn_until(pipeline, lambda: f"tagged {TESTING} since" in follow_up(pipeline, first).outcome)
    assert wait(pipeline, first, "testing").shipped_at == entered
    hub.move(names[0], CANDIDATE, TESTING)
    wait(pipeline, first, "candidate")
    hub.move(names[0], STABLE, CANDIDATE)
    stable = wait(pipeline, first, "stable")
    ended = follow_up(pipeline, first)
    assert ended.ended_at is not None and ended.outcome.startswith(f"{names[0]} is stable: tagged {STABLE}")
    told = [line.partition(": tagged")[0] for line in history(pipeline, first)]
    stages = [line.removeprefix(f"{names[0]} is ") for line in told if line.startswith(names[0])]
    assert stages == ["candidate", "testing", "candidate", "stable"]
    assert stable.state == "succeeded" and stable.soundness == first.soundness

    hub.move(names[1], remove=CANDIDATE)
    out = wait(pipeline, second, "")
    assert out.shipped_at is None
    turn_until(pipeline, lambda: follow_up(pipeline, second).ended_at is not None)
    assert "obsoleted, or somebody took the tag away" in follow_up(pipeline, second).outcome
    assert "no tag any more" in history(pipeline, second)[-1]
    # Nobody asks after either of them any more.
    pipeline.settle()
    asked = len(hub.calls("multiCall"))
    time.sleep(0.4)
    pipeline.turn()
    assert len(hub.calls("multiCall")) == asked
