"""A worker killed at each boundary of a pull request: one commit, one pull request and one Koji task come out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

import workers.distgit.commit
import workers.distgit.pull_requests
from sandbox.testing import Farm
from service.settings import Settings
from tests.flow.distgit.pull_requests import PullPipeline
from tests.flow.distgit.service import BRANCH, PACKAGE
from tests.flow.killing import Killed, die_once, forget_claims
from workers.distgit.git import Repository
from workers.forges.through_ogr import ThroughOgr

pytestmark = pytest.mark.timeout(120)


BEFORE_THE_MERGE: dict[str, tuple[Any, str]] = {
    "fork": (ThroughOgr, "fork"),
    "record_commit": (workers.distgit.commit, "record_commit"),
    "replace": (Repository, "replace"),
    "note_fork_head": (workers.distgit.pull_requests, "note_fork_head"),
    "ask_for_pull": (workers.distgit.pull_requests, "ask_for_pull"),
    "open": (ThroughOgr, "open"),
    "record_pull": (workers.distgit.pull_requests, "record_pull"),
    "hold_for_merge": (workers.distgit.pull_requests, "hold_for_merge"),
}
# What follows any other is the boundary after it, and nothing lies between them.
ELSEWHERE = frozenset({"fork", "replace", "open"})
AFTER_THE_MERGE: dict[str, tuple[Any, str]] = {
    "record_pull": (workers.distgit.pull_requests, "record_pull"),
    "go_on_after_merge": (workers.distgit.pull_requests, "go_on_after_merge"),
    "record_landed": (workers.distgit.commit, "record_landed"),
}


def test_one_pull_request_whenever_it_is_killed(
    farm: Farm, make_settings: Callable[..., Settings], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = PullPipeline(farm, make_settings, sqlite_url, forge_seconds=0.2)
    pipeline.grants.grant(PACKAGE, BRANCH)
    pipeline.announce("v1.35.1")
    pipeline.process_inbox()
    for name in BEFORE_THE_MERGE:
        _kill_at(pipeline, monkeypatch, BEFORE_THE_MERGE, name)
        assert pipeline.builds()[-1].state != "held", f"{name} was met by the watch, not by the proposal"
    pipeline.run(until=lambda builds: builds[-1].state == "held")
    (pull,) = pipeline.pulls()
    assert (pull["state"], pull["head"]) == ("open", pipeline.changes()[0].commit_id)
    farm.forge.merge(PACKAGE, pull["number"], "fast-forward")
    for name in AFTER_THE_MERGE:
        _kill_at(pipeline, monkeypatch, AFTER_THE_MERGE, name)
        # The watch finds the build held; only what has landed is recorded by the build that goes on.
        assert (pipeline.builds()[-1].state == "held") == (name != "record_landed"), name
    pipeline.run()
    pipeline.close()
    assert pipeline.builds()[-1].state == "succeeded", pipeline.builds()[-1].reason
    assert pipeline.grants.log(PACKAGE, BRANCH) == ["Update to 1.35.1", "Added the README"]
    assert len(pipeline.pulls()) == len(pipeline.scm_builds()) == 1


def _kill_at(
    pipeline: PullPipeline, monkeypatch: pytest.MonkeyPatch, boundaries: dict[str, tuple[Any, str]], name: str
) -> None:
    """Kill once before a boundary, and once after it where something was done elsewhere."""
    for when in ("before", "after") if name in ELSEWHERE else ("before",):
        died = die_once(monkeypatch, when, *boundaries[name])
        give_up = time.monotonic() + 20.0
        while not died and time.monotonic() < give_up:
            with contextlib.suppress(Killed):
                # A request that was asked for is waited for before it is asked for again.
                time.sleep(0.0 if pipeline.turn() else 0.02)
        monkeypatch.undo()
        assert died, f"nothing came to {when} {name}"
        forget_claims(pipeline.context.db)
