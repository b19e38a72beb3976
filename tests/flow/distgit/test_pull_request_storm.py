"""Many proposals among random faults of the forge, random deaths of the worker and random acts of a maintainer.

Minutes of work, so it runs where CRYOPACK_TEST_PULL_STORM says how many proposals; CRYOPACK_TEST_SEED repeats one run.
"""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.testing import Farm
from service.domain.distgit import ForgeKind
from service.settings import Settings
from service.store.schema import PackageBuild
from tests.flow.distgit.pull_requests import PullPipeline
from tests.flow.distgit.service import BRANCH, PACKAGE
from tests.flow.distgit.test_pull_request_kill import AFTER_THE_MERGE, BEFORE_THE_MERGE
from tests.flow.killing import Killed, forget_claims

PROPOSALS = int(os.environ.get("CRYOPACK_TEST_PULL_STORM", "0"))
SEED = int(os.environ.get("CRYOPACK_TEST_SEED", "1"))
FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("dropped", {}),
    ("answer_lost", {}),
    ("hang", {"seconds": 0.6}),
    ("late_commit", {"seconds": 0.5}),
    ("truncated", {}),
    ("answer", {"status": 503, "json": {}}),
    ("answer", {"status": 500, "body": "sorry"}),
    ("answer", {"status": 502, "body": "<html>", "when": "after"}),
)

pytestmark = [
    pytest.mark.skipif(not PROPOSALS, reason="minutes of work: CRYOPACK_TEST_PULL_STORM=20"),
    pytest.mark.timeout(60 + 30 * PROPOSALS),
]


class Storm:
    """A pipeline whose worker dies at any boundary with some probability; ``deaths`` counts."""

    def __init__(self, pipeline: PullPipeline, kind: ForgeKind, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pipeline, self.kind = pipeline, kind
        self.random = random.Random(SEED)
        self.deadly = 0.0
        self.deaths = 0
        # A boundary that lies before the merge and after it is wrapped once.
        for owner, name in dict.fromkeys((*BEFORE_THE_MERGE.values(), *AFTER_THE_MERGE.values())):
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*args: Any, **kwargs: Any) -> Any:
            self._perhaps_die()
            result = real(*args, **kwargs)
            self._perhaps_die()
            return result

        return mortal

    def _perhaps_die(self) -> None:
        if self.random.random() < self.deadly:
            self.deaths += 1
            raise Killed

    def run(self, done: Callable[[PackageBuild], bool], *, deadly: float, faults: bool) -> PackageBuild:
        """Turn until the newest build is so. Raises TimeoutError."""
        self.deadly = deadly
        self.pipeline.farm.clear_faults()
        until = time.monotonic() + 60.0
        while time.monotonic() < until:
            try:
                worked = self.pipeline.turn()
            except Killed:
                forget_claims(self.pipeline.context.db)
                continue
            build = self.pipeline.builds()[-1]
            if done(build):
                self.deadly = 0.0
                self.pipeline.farm.clear_faults()
                return build
            if worked and faults and self.random.random() < 0.5:
                kind, options = self.random.choice(FAULTS)
                path = self.random.choice((f"/{self.kind}/*", f"/{self.kind}/*pull*"))
                self.pipeline.farm.clear_faults()
                self.pipeline.farm.fault(kind, path, method=self.random.choice(("*", "POST")), **options)
            time.sleep(0.0 if worked else 0.02)
        raise TimeoutError(f"build {build.id} is {build.state}: {build.reason}")


@pytest.fixture(params=list(ForgeKind))
def storm(
    request: pytest.FixtureRequest, farm: Farm, make_settings: Callable[..., Settings], sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Storm]:  # fmt: skip
    pipeline = PullPipeline(farm, make_settings, sqlite_url, request.param, forge_seconds=0.3)
    pipeline.grants.grant(PACKAGE, BRANCH)
    yield Storm(pipeline, request.param, monkeypatch)
    pipeline.close()


def test_no_proposal_is_lost_and_none_is_there_twice(storm: Storm) -> None:
    pipeline, dice, merged = storm.pipeline, storm.random, 0
    for number in range(1, PROPOSALS + 1):
        pipeline.announce(f"v1.35.{number}")
        pipeline.process_inbox()
        build = storm.run(lambda build: build.state == "held", deadly=0.06, faults=True)
        assert build.reason.startswith("waits for the merge of"), build.reason
        if dice.random() < 0.6:
            continue
        if dice.random() < 0.5:
            pipeline.grants.edit(PACKAGE, BRANCH, f"By hand {number}", {f"note{number}": "text\n"})
        pull = pipeline.changes()[-1].pull_number
        assert pull is not None
        way = dice.choice(("merge", "squash", "rebase"))
        pipeline.farm.forge.merge(PACKAGE, pull, way, delete=dice.random() < 0.5)
        merged += 1
        build = storm.run(lambda build: build.ended_at is not None, deadly=0.03, faults=False)
        assert build.state == "succeeded", build.reason
    waiting = pipeline.builds()[-1].state == "held"
    storm.run(lambda _: _open(pipeline) == int(waiting), deadly=0.0, faults=False)
    states: dict[str, list[str]] = defaultdict(list)
    for row in pipeline.pulls():
        states[row["branch_from"]].append(row["state"])
        assert len(set(row["comments"])) == len(row["comments"])
    assert len(states) == PROPOSALS
    assert all(found.count("open") + found.count("merged") <= 1 for found in states.values()), states
    assert sum(found.count("merged") for found in states.values()) == merged == len(pipeline.scm_builds())
    print(f"{storm.kind}: {PROPOSALS} proposals, {storm.deaths} deaths, {merged} merges")


def _open(pipeline: PullPipeline) -> int:
    return sum(row["state"] == "open" for row in pipeline.pulls())
