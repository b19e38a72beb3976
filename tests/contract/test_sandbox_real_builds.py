"""The sandbox that really builds: Go and the linker of this machine decide, with Fedora's flags of each branch."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import pytest
from copr.v3 import Client

from sandbox.mirror_archive import Contents, pack
from sandbox.real_build import FACE, Toolchain, build
from sandbox.testing import Farm
from service.catalog import Catalog
from service.domain.diagnosis import diagnose
from service.domain.specs import ChangelogEntry, SourceFacts, SpecRequest
from service.domain.versions import parse_tag
from service.specs.render import render_spec
from tests.go_toolchain import ROOT, needs_go
from workers.srpm import build_srpm

CACHE = ROOT / ".install" / "go-cache"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

pytestmark = needs_go


@pytest.fixture(scope="session")
def make_srpm(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Our own spec of a strategy, with the mirror's stand-in source."""
    folder = tmp_path_factory.mktemp("real")

    def make(strategy: str, branch: str, tag: str = "v1.32.1", wazero: str | None = "v1.8.2") -> Path:
        version = parse_tag(tag)
        archive = pack(
            Contents(
                version=str(version), commit=COMMIT, timestamp=1_700_000_000, go="1.23", wazero=wazero,
                nri="v0.9.0", commands=("crio",),
            )
        )  # fmt: skip
        source = folder / archive.filename
        source.write_bytes(archive.content)
        request = SpecRequest(
            family="cri-o", package=f"cri-o{version.stream}", version=version, branch=branch, strategy=strategy,
            facts=SourceFacts("archive", "1.23", wazero or "", "v0.9.0", COMMIT, archive.etag), release_number=1,
            released_on=date(2026, 1, 1),
            changelog=(ChangelogEntry(date(2026, 1, 1), f"{version}-0.1", "Update"),),
        )  # fmt: skip
        # The shipped catalogue refuses to render what it knows not to link; the sandbox shall show that it does not.
        strategies = {id_: replace(row, without=frozenset()) for id_, row in catalog.strategies.items()}
        spec = render_spec(request, replace(catalog, strategies=strategies))
        return build_srpm(
            spec, [source], directory=folder / f"{strategy}-{branch}-{tag}", epoch=1_767_225_600
        ).path

    return make


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
    """The files of a binary package."""
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
        "fedora-43-s390x": "succeeded",
    }
    logs = {row["name"]: log_of(row["result_url"]) for row in builds[0]["build_chroots"]}
    assert logs["fedora-44-x86_64"].startswith(FACE)
    assert "amd64.entrypoint'" in logs["fedora-44-x86_64"]
    first, _, rest = logs["fedora-44-aarch64"].partition("\n")
    assert first.startswith("REPLAYED")
    assert "nothing was compiled for fedora-44-aarch64" in first
    assert "arm64.entrypoint'" in rest
    assert "x86_64" not in rest
    assert logs["fedora-43-s390x"].startswith("SIMULATED")


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


def upload(farm: Farm, srpm: Path, chroots: list[str]) -> int:
    """Upload with the real client's endpoint; the build's number."""
    client = Client.create_from_config_file(str(farm.copr_config))
    client.project_proxy.add("packbot", "real", chroots)
    return int(client.build_proxy.create_from_file("packbot", "real", str(srpm)).id)


def log_of(result_url: str) -> str:
    answer = httpx2.get(f"{result_url}build.log.gz", trust_env=False)
    content = answer.content
    return gzip.decompress(content).decode() if content[:2] == b"\x1f\x8b" else answer.text


def test_a_busy_machine_is_not_waited_for(tmp_path: Path, make_srpm: Any) -> None:
    """With ``auto`` what is not compiled in time is simulated, and its log says so."""
    impatient = Farm(
        tmp_path / "farm", pace=0.02, publish="none", options=("--real-builds", "auto", "--patience", "0")
    )
    with impatient as farm:
        upload(farm, make_srpm("none", "f44"), ["fedora-44-x86_64", "fedora-44-aarch64"])
        builds = farm.wait(lambda builds: builds[0]["state"] in {"failed", "succeeded"}, seconds=60)
        assert builds[0]["state"] == "succeeded"
        for row in builds[0]["build_chroots"]:
            assert log_of(row["result_url"]).startswith("SIMULATED")
