"""What changed since the last green, from two real walks through the sandbox."""

from __future__ import annotations

import gzip

import pytest
from sqlalchemy import select

from service.domain.states import ENDED_BUILD
from service.store.schema import VendoredModules
from tests.flow.house import House
from tests.web.live import serving
from workers import follow_ups

ROOT = (
    "DEBUG util.py:463:  golang  x86_64  {go}  fedora  1 M\n"
    "DEBUG util.py:463:  gcc  x86_64  15.2.1-1.fc44  fedora  1 M\n"
)
CHROOTS = ("fedora-44-aarch64", "fedora-44-x86_64")


def build(house: House, tag: str, go: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """One release to its end, with a root log that names this Go."""
    runners = dict(follow_ups.RUNNERS)
    monkeypatch.setattr(follow_ups, "RUNNERS", {})
    house.announce(tag)
    house.run(lambda rows: f"v{rows[-1].version}" == tag and rows[-1].state in ENDED_BUILD)
    newest = house.builds()[-1]
    for chroot in CHROOTS:
        (folder,) = (house.farm.state_dir / "results").rglob(f"{chroot}/{int(newest.external_id or 0):08d}-*")
        (folder / "root.log.gz").write_bytes(gzip.compress(ROOT.format(go=go).encode()))
    monkeypatch.setattr(follow_ups, "RUNNERS", runners)
    house.settle(60)
    return newest.id


def test_spec_source_modules_and_tools_stand_side_by_side(
    sqlite_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = sqlite_house
    house.only("f44-copr")
    good = build(house, "v1.36.0", "1.26.3-1.fc44", monkeypatch)
    house.farm.set_outcome("failed", chroot=CHROOTS[0], log="error: linker\n")
    bad = build(house, "v1.36.3", "1.26.6-2.fc44", monkeypatch)
    with house.context.db.transaction() as session:
        older = session.scalars(select(VendoredModules).order_by(VendoredModules.id)).first()
        assert older is not None and older.modules["github.com/containerd/nri"] == "v0.11.0"
        older.modules = {"github.com/containerd/nri": "v0.10.9", "example.org/gone": "v1.0.0"} | {
            name: version for name, version in older.modules.items() if "nri" not in name
        }
    with serving(house.settings.database(), state_dir=house.settings.state_dir) as live:
        told = live.get(f"/api/v1/builds/{bad}/changes").json()
        assert (told["build_id"], told["last_good_id"]) == (bad, good)
        facts = {one["what"]: (one["before"], one["now"]) for one in told["facts"]}
        assert facts["Version"] == ("1.36.0", "1.36.3") and facts["Strategy"] == ("default", "default")
        assert facts["Source archive, sha256"][0] != facts["Source archive, sha256"][1]
        assert told["tools"] == [
            {"what": f"{chroot} golang", "before": "1.26.3-1.fc44", "now": "1.26.6-2.fc44"}
            for chroot in CHROOTS
        ], "what is the same is left out"
        assert told["modules"] == [
            {"what": "example.org/gone", "before": "v1.0.0", "now": ""},
            {"what": "github.com/containerd/nri", "before": "v0.10.9", "now": "v0.11.0"},
        ]
        assert told["modules_known"] and told["tools_known"]
        assert any(line.startswith("+") and "1.36.3" in line for line in told["spec"])
        page = live.get(f"/builds/{bad}").text
        assert (
            "2 vendored modules differ" in page
            and "1.26.3-1.fc44" in page
            and "1.26.6-2.fc44" in page
            and "The spec differs" in page
        )
        answer = live.get(f"/api/v1/builds/{good}/changes")
        assert answer.status_code == 404 and "has not succeeded before" in answer.json()["detail"]


def test_what_waits_for_a_newer_go_goes_on_when_a_root_log_shows_it(
    sqlite_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = sqlite_house
    house.only("f44-copr")
    too_old = "go: go.mod requires go >= 1.23 (running go 1.22.5; GOTOOLCHAIN=local)\n"
    house.farm.set_outcome("failed", package="cri-o1.32", log=too_old)
    house.announce("v1.32.1")
    house.run(lambda rows: len(rows) == 2 and rows[-1].state == "held", seconds=60)
    assert "when a root log of f44 shows Go 1.23" in house.builds()[1].reason
    build(house, "v1.36.0", "1.22.9-1.fc44", monkeypatch)
    assert house.builds()[1].state == "held"
    build(house, "v1.36.3", "1.23.1-1.fc44", monkeypatch)
    house.run(seconds=60)
    house.settle(60)
    assert house.story(house.builds()[1].id)[:4] == ["pending", "held", "pending", "preparing"]
    rows = [(row.version, row.attempt, row.state) for row in house.builds()]
    assert rows[:2] == [("1.32.1", 1, "failed"), ("1.32.1", 2, "failed")] and len(rows) == 4, (
        "and never again"
    )
