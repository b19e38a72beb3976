"""A worker killed at each step boundary in turn: nothing is lost, and one COPR build comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.testing import Farm
from service.settings import Settings
from tests.flow.killable import BOUNDARIES
from tests.flow.killing import Victim, one_target
from tests.flow.pipeline import Pipeline
from tests.servers import Valkey

# Dying before a step is dying after the one that came before it, but for the first.
CHILD = ["child:before:claim_delivery", *(f"child:after:{name}" for name in BOUNDARIES)]
# The whole worker dies where it hurts most: around the intent, the act and the record.
WORKER = [
    "worker:after:process_delivery",
    "worker:after:begin_submit",
    "worker:before:submit",
    "worker:after:submit",
    "worker:after:record_submission",
    "worker:after:poll",
]
# Most leases of the dead end at once; for these their time really passes.
PATIENT = {"child:after:submit", "child:after:poll", "worker:after:record_submission"}


@pytest.fixture
def settings(
    make_settings: Callable[..., Settings], postgres_url: str, valkey: Valkey, tmp_path: Path
) -> Settings:
    """PostgreSQL, real Valkey, short leases, one target."""
    one_target(tmp_path / "catalog", "f44-copr")
    return make_settings(
        postgres_url,
        broker_url=valkey.url,
        step_limit_seconds=4.0,
        step_lease_seconds=5.0,
        poll_lease_seconds=2.0,
        catalog_dir=tmp_path / "catalog",
    )


@pytest.fixture
def pipeline(farm: Farm, settings: Settings) -> Iterator[Pipeline]:
    pipeline = Pipeline(farm, settings)
    yield pipeline
    pipeline.close()


@pytest.fixture
def victim(pipeline: Pipeline, settings: Settings, tmp_path: Path) -> Iterator[Victim]:
    victim = Victim(pipeline, settings, tmp_path)
    yield victim
    victim.close()


@pytest.mark.parametrize(
    "plans", [CHILD[:6], CHILD[6:], WORKER[:3], WORKER[3:]], ids=lambda plans: f"{plans[0]} and on"
)
def test_a_killed_worker_loses_nothing_and_doubles_nothing(
    pipeline: Pipeline, victim: Victim, plans: list[str]
) -> None:
    for patch, plan in enumerate(plans, 1):
        build = victim.build(f"v1.35.{patch}", plan, patient=plan in PATIENT)
        assert build.version == f"1.35.{patch}"
        ours = [build.external_id for build in pipeline.builds()]
        assert [str(build["id"]) for build in pipeline.farm.builds()] == ours, plan
