"""A changed license holds the release until a person has looked; a script computes in go-vendor-tools' place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from service.builds.commands import resume_build
from service.domain.sources import LICENSE_CHANGED
from tests.flow.house import House
from tests.store.deliveries import release
from workers.packaging import licenses


@pytest.fixture
def computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets what the tool finds from now on."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(licenses.sys, "executable", str(tmp_path / "nowhere" / "python"))

    def put(expression: str) -> None:
        program = folder / licenses.TOOL
        program.write_text(f"#!/bin/sh\necho '{expression}'\n")
        program.chmod(0o755)

    return put


def states(house: House, version: str) -> list[str]:
    return [build.state for build in house.builds() if build.version == version]


def ended_or_held(builds: list) -> bool:  # type: ignore[type-arg]
    return all(build.state in ("succeeded", "held", "failed", "superseded") for build in builds)


def test_a_changed_license_waits_for_a_person(house: House, computes: Callable[[str], None]) -> None:
    house.only("f44-copr", "f45-copr")
    db, catalog = house.context.db, house.context.catalog
    computes("Apache-2.0 AND MIT")
    house.announce("v1.34.3")
    house.run()
    assert states(house, "1.34.3") == ["succeeded"] * 2
    first = release(db, "1.34.3")
    assert first is not None
    assert first.facts["license"] == "Apache-2.0 AND MIT"
    assert first.facts["licensed_by"] == "go-vendor-tools with askalono"

    computes("Apache-2.0 AND MIT AND GPL-2.0-only")
    house.announce("v1.34.4")
    house.run(lambda builds: len(builds) == 4 and ended_or_held(builds))
    assert states(house, "1.34.4") == ["held"] * 2
    held = [build for build in house.builds() if build.state == "held"]
    for build in held:
        assert build.reason.startswith(
            f"{LICENSE_CHANGED} from Apache-2.0 AND MIT to Apache-2.0 AND MIT AND GPL"
        )
        assert "resuming one build accepts it" in build.reason
    assert len(house.farm.builds()) == 2

    # One word of a person lets the whole release go on, and stays.
    resume_build(db, catalog, held[0].id, by="a maintainer")
    house.run()
    assert states(house, "1.34.4") == ["succeeded"] * 2
    accepted = release(db, "1.34.4")
    assert accepted is not None and accepted.facts["license_accepted_by"] == "a maintainer"
    build = next(build for build in house.builds() if build.version == "1.34.4")
    with db.reader() as session:
        text = session.get_one(type(build), build.id).spec_text
    assert text and "License:        Apache-2.0 AND MIT AND GPL-2.0-only\n" in text

    # The same in another order is no change, and what was accepted is the new measure.
    computes("GPL-2.0-only AND MIT AND Apache-2.0")
    house.announce("v1.34.5")
    house.run()
    assert states(house, "1.34.5") == ["succeeded"] * 2


def test_a_license_that_nobody_accepted_is_no_measure(
    sqlite_house: House, computes: Callable[[str], None]
) -> None:
    house = sqlite_house
    house.only("f44-copr")
    for tag, expression in (("v1.34.3", "MIT"), ("v1.34.4", "MIT AND ISC"), ("v1.34.5", "MIT AND ISC")):
        computes(expression)
        house.announce(tag)
        house.run(lambda builds, tag=tag: f"v{builds[-1].version}" == tag and ended_or_held(builds))
    assert states(house, "1.34.5") == ["held"]
    assert house.builds()[-1].reason.startswith(f"{LICENSE_CHANGED} from MIT to MIT AND ISC")


def test_without_the_tool_it_says_not_computed(sqlite_house: House) -> None:
    house = sqlite_house
    house.only("f44-copr")
    house.announce("v1.34.3")
    house.run()
    known = release(house.context.db, "1.34.3")
    assert known is not None and known.facts["license"] == "not computed"
    assert known.facts["licensed_by"] == "go_vendor_license is not installed"
    assert known.facts["partial"] == ""
