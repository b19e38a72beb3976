"""Tests that the sandbox hub answers the captured calls as the real hub did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sandbox.testing import Farm
from tests.contract.conftest import make_srpm
from tests.contract.koji.replay import CALLS, Replay

SCM = "git+https://src.fedoraproject.org/rpms/cri-o1.32#"
NVR = "cri-o1.32-1.36.19113"
USER, PASSWORD = "cryopack-svc", "svcpw"


def uploads_and_a_scratch_build(r: Replay) -> None:
    r.pair(*range(1, 22))
    children = r.finish(139)
    r.ids |= {141: children["srpm"], 142: children["x86_64"], 143: children["aarch64"]}
    r.pair(*range(22, 33))


def builds_and_failures(r: Replay) -> None:
    hub = r.farm.koji
    hub.source(SCM + "fx", f"{NVR}-1.fc42")
    hub.set_outcome("aarch64")
    r.finish(140)
    hub.clear_outcomes()
    r.pair(33, 34, 35, 36)
    hub.source(SCM + "fx3", f"{NVR}-2.fc42")
    metadata = {"custom_user_metadata": {"token": "fx3"}}
    r.ids[149] = r.call("build", SCM + "fx3", "f42-candidate", metadata, session="67", number=36)
    r.finish(149)
    r.pair(37, 38, 39, 40)
    r.ids[153] = r.call("build", SCM + "fx3", "f42-candidate", {}, session="67", number=41)
    r.finish(153)
    r.pair(41)
    r.ids[155] = r.call("build", SCM + "fx5", "f42", {"scratch": True}, session="67", number=43)
    hub.step(r.ids[155])
    r.pair(42, 43, 44, 45, 46)
    r.login("68", "other", "otherpw")
    r.pair(47)
    text = 'Traceback (most recent call last):\n  File "x"\nOSError: [Errno 28] No space left on device\n'
    hub.set_outcome("begin", package="*fx7", code=1, text=text)
    r.ids[157] = r.call("build", SCM + "fx7", "f42", {}, session="67", number=50)
    r.finish(157, 2)
    r.pair(*range(48, 54))


def sessions_and_odd_requests(r: Replay) -> None:
    r.pair(54)
    r.login("69", USER, PASSWORD)
    r.call("build", SCM + "seq", "f42", {"scratch": True}, session="69", number=1)
    r.pair(55)
    for number in ("70", "71", "72", "73"):
        r.login(number, USER, PASSWORD)
    r.farm.koji.sessions("expire", r.sessions["70"]["session-id"])
    r.pair(56)
    r.farm.koji.sessions("close", r.sessions["71"]["session-id"])
    r.sessions["67"]["captured-key"] = "2-EXAMPLEKEY000000001"
    r.pair(*range(57, 74))


def users_and_refusals(r: Replay) -> None:
    r.login("43", USER, PASSWORD)
    r.login("46", "other", "otherpw")
    r.pair(*range(74, 85))
    r.upload(87)
    r.pair(85, 86, 87)
    opts = {"scratch": True, "custom_user_metadata": {"cryopack_submission": "tok-a"}}
    r.ids[35] = r.call("build", SCM + "fxa", "f42-candidate", opts, session="43", number=16)
    r.call("cancelTask", r.ids[35], session="43", number=17)
    r.pair(88, 89, 90, 91)


def logs_tags_and_late_failures(r: Replay) -> None:
    hub = r.farm.koji
    hub.target("f42-candidate", "f42-build", "f42-updates-candidate", "x86_64 aarch64 ppc64le s390x")
    hub.source(SCM + "old", "cri-o1.32-1.32.2-1.fc42")
    r.ids[1] = r.call("build", SCM + "old", "f42-candidate", {}, session="43", number=29)
    r.finish(1, 40)
    r.pair(92)
    del r.ids[1]
    r.pair(93, 94)
    r.pair(95, 96, 97, 98, 99, 100)
    hub.target("f42-candidate", "f42-build", "f42-updates-candidate", "x86_64 aarch64")
    hub.set_outcome("x86_64")
    hub.source(SCM + "bad", "cri-o1.32-1.32.3-1.fc42")
    r.ids[39] = r.call("build", SCM + "bad", "f42-candidate", {}, session="43", number=40)
    r.finish(39)
    hub.clear_outcomes()
    r.pair(101)
    hub.set_outcome("srpm")
    r.ids[43] = r.call("build", SCM + "nosrpm", "f42-candidate", {}, session="43", number=42)
    r.finish(43)
    hub.clear_outcomes()
    r.pair(102)
    r.ids[45] = r.call("build", SCM + "lost", "nosuch-target", {}, session="43", number=44)
    r.finish(45)
    r.pair(103)
    hub.source(SCM + "other", "other-1-1.fc42")
    hub.unlist("other")
    r.ids[46] = r.call("build", SCM + "other", "f42-candidate", {}, session="43", number=46)
    r.finish(46)
    r.pair(104)


@pytest.fixture(scope="module")
def farm(module_farm: Farm) -> Farm:
    module_farm.koji.user("other", password="otherpw")
    return module_farm


@pytest.fixture(scope="module")
def versioned_srpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_srpm(tmp_path_factory.mktemp("versioned"), "cri-o1.32", version="1.32.1")


@pytest.fixture(scope="module")
def played(farm: Farm, versioned_srpm: Path) -> dict[int, Any]:
    owner = farm.koji.user(USER, password=PASSWORD)["id"]
    replay = Replay(farm, versioned_srpm.read_bytes(), owner)
    uploads_and_a_scratch_build(replay)
    builds_and_failures(replay)
    sessions_and_odd_requests(replay)
    users_and_refusals(replay)
    logs_tags_and_late_failures(replay)
    return replay.results


@pytest.mark.timeout(120)
@pytest.mark.parametrize("n", CALLS, ids=lambda n: f"{n:03d}-{CALLS[n]['name']}")
def test_call(played: dict[int, Any], n: int) -> None:
    for expected, answered in played[n]:
        assert answered == expected


def test_every_call_is_replayed(played: dict[int, Any]) -> None:
    assert set(played) == set(CALLS)
    answered = {n for n in CALLS if any(not one.get("injected_fault") for one in CALLS[n]["exchanges"])}
    assert {n for n in played if played[n]} == answered
