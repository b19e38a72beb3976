"""A worker killed at each boundary of a dist-git change: one commit and one Koji task come out."""

from __future__ import annotations

from typing import Any

import pytest

import workers.builds.steps
import workers.distgit.commit
from tests.flow.distgit.service import BRANCH, PACKAGE, DistGitPipeline
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


def test_one_commit_and_one_task_whenever_it_is_killed(
    pipeline: DistGitPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.grants.grant(PACKAGE, BRANCH)
    plans = [(when, name) for name in BOUNDARIES for when in ("before", "after")]
    pipeline.announce("v1.35.1")
    pipeline.process_inbox()
    for when, name in plans:
        died = die_once(monkeypatch, when, *BOUNDARIES[name])
        for _ in range(20):
            try:
                pipeline.turn()
            except Killed:
                break
        # A boundary that an earlier try has passed is passed no more: what it did is found and taken.
        monkeypatch.undo()
        forget_claims(pipeline.context.db)
        if died:
            assert len(pipeline.grants.log(PACKAGE, BRANCH)) <= 2
    pipeline.run()
    (build,) = pipeline.builds()
    assert build.state == "succeeded", build.reason
    assert pipeline.grants.log(PACKAGE, BRANCH) == ["Update to 1.35.1", "Added the README"]
    assert len(pipeline.scm_builds()) == 1


@pytest.mark.parametrize("name", ["push", "record_landed"])
def test_the_commit_of_a_killed_worker_is_found(
    pipeline: DistGitPipeline, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pipeline.grants.grant(PACKAGE, BRANCH)
    pipeline.announce("v1.35.1")
    pipeline.process_inbox()
    when = "after" if name == "push" else "before"
    died = die_once(monkeypatch, when, *BOUNDARIES[name])
    with pytest.raises(Killed):
        pipeline.run()
    monkeypatch.undo()
    assert died and pipeline.changes()[0].landed_commit == ""
    # Somebody else commits meanwhile: ours is below the head then, and the head is what is built.
    head = pipeline.grants.edit(PACKAGE, BRANCH, "Meanwhile", {"README": "more\n"})
    forget_claims(pipeline.context.db)
    pipeline.run()
    assert pipeline.grants.log(PACKAGE, BRANCH) == ["Meanwhile", "Update to 1.35.1", "Added the README"]
    assert pipeline.scm_builds() == [f"git+file://{pipeline.grants.path(PACKAGE)}#{head}"]
