"""Real builds of the sandbox: Go and the linker of this machine decide, with Fedora's flags of each branch."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sandbox.building.real_build import BANNER, Toolchain, build
from sandbox.testing import Farm
from service.catalog import Catalog
from service.domain.diagnosis import diagnose
from tests.contract.sandbox.stand_in import log_of, stand_in_srpm, upload
from tests.go_toolchain import ROOT, needs_go

CACHE = ROOT / ".install" / "go-cache"

# One worker compiles all: two beside each other would both compile the standard library into an empty cache.
pytestmark = [needs_go, pytest.mark.xdist_group("go")]


@pytest.fixture(scope="session")
def make_srpm(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Our own spec of a strategy, with the mirror's stand-in source."""
    return partial(stand_in_srpm, tmp_path_factory.mktemp("real"), catalog)


@pytest.mark.parametrize(
    ("strategy", "branch", "passes", "cause"),
    [
        ("none", "f43", False, "wazero-undefined"),
        ("none", "f44", False, "wazero-undefined"),
        ("compat", "f43", True, "textrel-accepted"),
        ("compat", "f44", True, ""),
        ("default", "f44", True, ""),
    ],
)
def test_the_linker_decides(
    make_srpm: Any, catalog: Catalog, tmp_path: Path, strategy: str, branch: str, passes: bool, cause: str
) -> None:
    tools = Toolchain.find(CACHE)
    assert isinstance(tools, Toolchain)
    built = build(
        tools, make_srpm(strategy, branch), tmp_path / "root", dist=f".fc{branch[1:]}", started=lambda _: None
    )
    assert built.succeeded is passes, built.log[-2000:]
    assert diagnose(built.log.splitlines(), catalog.causes, succeeded=passes).rule == cause
    assert str(tmp_path) not in built.log
    if not passes:
        return
    crio = unpack(built.packages[0], tmp_path / "unpacked") / "usr/bin/crio"
    dynamic = subprocess.run(["readelf", "-dW", crio], capture_output=True, text=True, check=True).stdout
    assert ("TEXTREL" in dynamic) is (strategy == "compat")
    call = subprocess.run([crio, "call"], capture_output=True, text=True, check=False)
    if strategy == "compat":
        assert call.returncode != 0
    else:
        assert call.stdout == "the plugin answers 42\n"


def unpack(rpm: Path, folder: Path) -> Path:
    """Unpack a binary package, and return the folder of its files."""
    folder.mkdir()
    content = subprocess.run(["rpm2cpio", rpm], capture_output=True, check=True).stdout
    subprocess.run(["cpio", "-idm", "--quiet"], input=content, cwd=folder, check=True)
    return folder


def test_a_stream_without_wazero_needs_no_workaround(make_srpm: Any, tmp_path: Path) -> None:
    tools = Toolchain.find(CACHE)
    assert isinstance(tools, Toolchain)
    srpm = make_srpm("none", "f44", "v1.31.5", wazero=None)
    assert build(tools, srpm, tmp_path / "root", dist=".fc44", started=lambda _: None).succeeded


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with Farm(tmp_path / "farm", pace=0.02, publish="none", go_cache=CACHE) as running:
        yield running


def test_other_architectures_are_replayed_and_say_so(farm: Farm, make_srpm: Any) -> None:
    from_copr = upload(
        farm, make_srpm("none", "f44"), ["fedora-44-x86_64", "fedora-44-aarch64", "fedora-43-s390x"]
    )
    builds = farm.wait(lambda builds: builds[0]["state"] in {"failed", "succeeded"}, seconds=120)
    assert builds[0]["id"] == from_copr
    states = {row["name"]: row["state"] for row in builds[0]["build_chroots"]}
    assert states == {
        "fedora-44-x86_64": "failed",
        "fedora-44-aarch64": "failed",
        "fedora-43-s390x": "failed",
    }
    logs = {row["name"]: log_of(row["result_url"]) for row in builds[0]["build_chroots"]}
    assert logs["fedora-44-x86_64"].startswith(BANNER)
    assert "amd64.entrypoint'" in logs["fedora-44-x86_64"]
    first, _, rest = logs["fedora-44-aarch64"].partition("\n")
    assert first.startswith("REPLAYED")
    assert "nothing was compiled for fedora-44-aarch64" in first
    assert "arm64.entrypoint'" in rest
    assert "x86_64" not in rest
    first, _, rest = logs["fedora-43-s390x"].partition("\n")
    assert "this is the recorded log of cri-o1.32-1.32.1 (strategy none, f43, x86_64)" in first


def test_a_scripted_outcome_goes_before_a_real_build(farm: Farm, make_srpm: Any) -> None:
    farm.set_outcome("failed", chroot="fedora-44-x86_64", log="error: told so\n")
    upload(farm, make_srpm("default", "f44"), ["fedora-44-x86_64"])
    builds = farm.wait(lambda builds: builds[0]["state"] in {"failed", "succeeded"}, seconds=60)
    assert builds[0]["state"] == "failed"
    text = log_of(builds[0]["build_chroots"][0]["result_url"])
    assert text.startswith("SIMULATED")
    assert "told so" in text


def test_stopping_does_not_wait_for_a_compiler(farm: Farm, make_srpm: Any) -> None:
    upload(farm, make_srpm("default", "f44"), ["fedora-44-x86_64"])
    farm.wait(lambda builds: (farm.state_dir / "compile").exists(), seconds=60)
    farm.stop()
    farm.start()
    builds = farm.wait(lambda builds: builds[0]["state"] in {"failed", "succeeded"}, seconds=120)
    assert builds[0]["state"] == "succeeded"


def test_a_busy_machine_is_not_waited_for(tmp_path: Path, make_srpm: Any) -> None:
    """With ``auto`` what is not compiled in time is replayed from a recording, and its log says so."""
    impatient = Farm(
        tmp_path / "farm", pace=0.02, publish="none", options=("--real-builds", "auto", "--patience", "0")
    )
    with impatient as farm:
        upload(farm, make_srpm("none", "f44"), ["fedora-44-x86_64", "fedora-44-aarch64"])
        builds = farm.wait(lambda builds: builds[0]["state"] in {"failed", "succeeded"}, seconds=60)
        assert builds[0]["state"] == "failed"
        for row in builds[0]["build_chroots"]:
            assert log_of(row["result_url"]).startswith("REPLAYED")
