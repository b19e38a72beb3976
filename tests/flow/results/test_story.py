"""The whole story with a real compiler and linker: fails, is understood, is remedied, is sound."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.testing import Farm
from service import board
from service.board.checks import build_checks
from service.domain.diagnosis import RemedyPolicy
from service.overrides import LiveCatalog
from service.settings import Settings
from service.store.schema import PackageBuild
from tests.flow.house import House
from tests.go_toolchain import ROOT, needs_go

# One worker compiles all: two beside each other would both compile the standard library into an empty cache.
pytestmark = [needs_go, pytest.mark.xdist_group("go")]


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """The sandbox, really compiling."""
    cache = ROOT / ".install" / "go-cache"
    with Farm(tmp_path / "farm", pace=0.02, publish="none", go_cache=cache) as running:
        yield running


def aim(
    house: House, strategy: str, remedy: RemedyPolicy = RemedyPolicy.AUTO, target: str = "f44-copr"
) -> None:
    """One target only, with this strategy, on the architecture that is really compiled."""
    house.only(target)
    catalog = house.context.catalog
    native = (f"fedora-44-{platform.machine()}",)
    changed = replace(catalog.targets[0], strategy=strategy, remedy=remedy, chroots=native)
    # The shipped catalogue refuses strategy none for what vendors wazero; here it shall fail by itself.
    strategies = {id_: replace(row, without=frozenset()) for id_, row in catalog.strategies.items()}
    own = replace(catalog, targets=(changed,), strategies=strategies)
    house.context.live_catalog = LiveCatalog(house.context.db, own)


def newest(house: House) -> PackageBuild:
    return house.builds()[-1]


@pytest.fixture
def house(
    farm: Farm, make_settings: Callable[..., Settings], koji_settings: dict[str, Any], sqlite_url: str
) -> Iterator[House]:
    """A service with both build systems."""
    house = House(farm, make_settings(sqlite_url, **koji_settings))
    yield house
    house.close()


@pytest.mark.parametrize("target", ["f44-copr", "f44-koji"])
def test_the_whole_story(house: House, target: str) -> None:
    """Without the workaround it fails; the cause is read from the linker's own words; the remedy is sound."""
    aim(house, "none", target=target)
    house.announce("v1.32.1")
    house.run_to("failed", seconds=100)
    house.settle(60)
    first, second = house.builds()
    assert first.cause.startswith("wazero's assembly is not linked")
    with house.context.db.reader() as session:
        found = board.diagnoses_of(session, house.context.catalog, first.id)
        remedy, _ = board.remedies_of(session, first.id)
    (read,) = found
    assert (read.rule, read.log, read.fault, read.section) == (
        "wazero-undefined",
        "builder",
        "package",
        "build",
    )
    decisive = [line.text for line in read.excerpt if line.decisive]
    assert any("undefined reference to `github.com/tetratelabs/wazero" in line for line in decisive)
    assert remedy is not None
    assert remedy.attempt_id == second.id
    house.run(seconds=100)
    house.settle(60)
    second = newest(house)
    assert (second.attempt, second.strategy, second.state) == (2, "default", "succeeded")
    assert second.soundness == "sound"
    assert (first.release_number, second.release_number) == (1, 2)
    assert len(house.builds()) == 2


def test_compat_passes_and_is_degraded_with_the_reason(house: House) -> None:
    aim(house, "compat")
    house.announce("v1.32.1")
    house.run(seconds=100)
    house.settle(60)
    (build,) = house.builds()
    assert (build.state, build.soundness) == ("succeeded", "degraded")
    with house.context.db.reader() as session:
        found = build_checks(session, build.id).findings
    assert any(one.file == "/usr/bin/crio" and "text relocation" in one.text for one in found)
