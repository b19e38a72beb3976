"""Submissions to Koji under random faults and kills: no task is made twice, and none is lost.

``CRYOPACK_TEST_STORM`` is how many submissions it is made of, ``CRYOPACK_TEST_STORM_SEED`` draws other faults.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.testing import Farm
from service.settings import Settings
from tests.contract.conftest import make_srpm
from tests.flow.koji.storm import Storm

SUBMISSIONS = int(os.environ.get("CRYOPACK_TEST_STORM", "200"))
SEED = int(os.environ.get("CRYOPACK_TEST_STORM_SEED", "4149"))
LONGEST = 240.0 + 6.0 * SUBMISSIONS


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """A hub whose tasks wait: the storm is about submissions."""
    with Farm(tmp_path / "farm", publish="none") as running:
        running.pause()
        yield running


@pytest.mark.slow
@pytest.mark.timeout(LONGEST + 60)
def test_no_submission_is_lost_and_none_is_doubled(
    farm: Farm,
    make_settings: Callable[..., Settings],
    koji_settings: dict[str, Any],
    postgres_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = make_settings(
        postgres_url, step_limit_seconds=4.0, step_lease_seconds=5.0, retry_seconds=0.2, retry_max_seconds=0.5,
        max_tries=1000, **{**koji_settings, "koji_call_seconds": 0.8, "koji_build_seconds": 0.5},
    )  # fmt: skip
    storm = Storm(farm, settings, make_srpm(tmp_path / "srpm", "storm"), SUBMISSIONS, seed=SEED)
    outcome = storm.run(LONGEST)
    with capsys.disabled():
        print(f"\n{outcome.summary()}")
    assert not outcome.unsubmitted, outcome.unsubmitted
    assert outcome.duplicates == 0, outcome.tasks
    assert {key: [task] for key, task in outcome.followed.items()} == outcome.tasks
    assert (
        outcome.submissions == SUBMISSIONS and outcome.kills > 0 and outcome.faults.total() >= SUBMISSIONS / 2
    )
