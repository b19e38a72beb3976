"""Never lose, never double: the worker is killed at each step boundary in turn, and one COPR build comes out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import service.catalog
from sandbox.testing import Farm
from service.domain.states import ENDED_BUILD
from service.settings import Settings
from tests.flow.house import House
from tests.flow.killable import BOUNDARIES
from tests.flow.processes import Worker, wait_for
from tests.servers import Valkey

SECONDS = 140

# Dying before a step is dying after the one that came before it, but for the first.
PLANS = ["child:before:claim_delivery", *(f"child:after:{name}" for name in BOUNDARIES)]
# The whole worker dies where it hurts most: around the intent, the act and the record.
PLANS += [
    f"worker:{when}:{name}"
    for when, name in [
        ("after", "process_delivery"),
        ("after", "begin_submit"),
        ("before", "submit"),
        ("after", "submit"),
        ("after", "record_submission"),
        ("after", "poll"),
    ]
]


@pytest.fixture
def slow_settings(make_settings: Callable[..., Settings], postgres_url: str, valkey: Valkey) -> Settings:
    """PostgreSQL, real Valkey, short leases."""
    return make_settings(
        postgres_url,
        broker_url=valkey.url,
        step_limit_seconds=4.0,
        step_lease_seconds=5.0,
        poll_lease_seconds=2.0,
    )


@pytest.fixture
def house(farm: Farm, slow_settings: Settings) -> Iterator[House]:
    house = House(farm, slow_settings)
    yield house
    house.close()


@pytest.mark.parametrize("plan", PLANS)
def test_a_killed_worker_loses_nothing_and_doubles_nothing(
    house: House, slow_settings: Settings, tmp_path: Path, plan: str
) -> None:
    mark = tmp_path / "killed"
    catalog = tmp_path / "catalog"
    _one_target(catalog)
    settings = slow_settings.model_copy(update={"catalog_dir": catalog})
    log = tmp_path / "worker.log"
    worker = Worker(settings, log, CRYOPACK_TEST_KILL=plan, CRYOPACK_TEST_MARK=str(mark))
    house.announce("v1.35.6")
    worker.start()
    try:

        def revive() -> None:
            if not worker.alive:
                worker.start()

        def ended() -> bool:
            builds = house.builds()
            return mark.exists() and bool(builds) and all(build.state in ENDED_BUILD for build in builds)

        wait_for(ended, SECONDS, revive)
    except TimeoutError:
        shown = [(b.target, b.state, b.reason) for b in house.builds()]
        pytest.fail(f"killed: {mark.exists()}, builds: {shown}\n{log.read_text()[-3000:]}")
    finally:
        worker.kill()
    (build,) = house.builds()
    assert build.state == "succeeded", build.reason
    assert [str(b["id"]) for b in house.farm.builds()] == [build.external_id]


def _one_target(folder: Path) -> None:
    """The built-in catalogue with a single target, so that exactly one COPR build is due."""
    source = Path(service.catalog.__file__).parent
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    targets = folder / "targets.toml"
    head, *rest = targets.read_text().split("[[target]]")
    kept = [part for part in rest if 'id = "f44-copr"' in part]
    targets.write_text(head + "[[target]]" + kept[0])
