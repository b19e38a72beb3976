"""Recorded logs: shown again, and labelled so, where the sandbox can compile nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sandbox.building.recorded import BRANCHES, FOLDER, KINDS, recorded
from sandbox.testing import Farm
from service.catalog import Catalog
from service.domain.diagnosis import diagnose
from service.domain.reports import BuildReport, ResultPlace, SubmissionKey
from tests.contract.conftest import make_srpm
from tests.contract.copr.bench import srpm_at
from tests.contract.koji.bench import koji_target, sandbox_options
from tests.contract.sandbox.stand_in import log_of, stand_in_srpm, upload
from tests.servers import NO_TLS
from workers.buildsystems import AdapterConfig, connect

# Whatever machine runs this: no sandbox compiles for this architecture.
CHROOTS = ["fedora-43-s390x", "fedora-44-s390x"]


PASSED = ["", ""]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    with Farm(folder, pace=0.02, publish="none", options=("--real-builds", "auto")) as running:
        yield running


def ended(farm: Farm, number: int) -> dict[str, Any]:
    def over(builds: list[dict[str, Any]]) -> bool:
        return any(one["id"] == number and one["state"] in {"failed", "succeeded"} for one in builds)

    return next(one for one in farm.wait(over, seconds=60) if one["id"] == number)


@pytest.mark.parametrize(
    ("strategy", "tag", "wazero", "recording", "passes", "causes"),
    [
        ("none", "v1.33.5", "v1.8.2", "1.32.1 (strategy none", False, ["wazero-undefined"] * 2),
        ("compat", "v1.33.5", "v1.8.2", "1.32.1 (strategy compat", True, ["textrel-accepted", ""]),
        ("default", "v1.33.5", "v1.8.2", "1.32.1 (strategy default", True, PASSED),
        ("strict", "v1.33.5", "v1.8.2", "1.32.1 (strategy strict", True, PASSED),
        ("no-wasm", "v1.36.0", "v1.8.2", "1.35.6 (strategy no-wasm", True, PASSED),
        ("default", "v1.30.2", None, "1.31.5 (a source without wazero", True, PASSED),
        ("none", "v1.30.2", None, "1.31.5 (a source without wazero", True, PASSED),
    ],
)
def test_the_recording_that_fits_is_replayed(
    farm: Farm, tmp_path: Path, catalog: Catalog, strategy: str, tag: str, wazero: str | None, recording: str,
    passes: bool, causes: list[str],
) -> None:  # fmt: skip
    number = upload(farm, stand_in_srpm(tmp_path, catalog, strategy, "f44", tag, wazero, "v0.11.0"), CHROOTS)
    rows = sorted(ended(farm, number)["build_chroots"], key=lambda row: row["name"])
    logs = [log_of(row["result_url"]) for row in rows]
    assert {row["state"] for row in rows} == {"succeeded" if passes else "failed"}
    assert [diagnose(log.splitlines(), catalog.causes, succeeded=passes).rule for log in logs] == causes
    for log, branch in zip(logs, ("f43", "f44"), strict=True):
        first, _, rest = log.partition("\n")
        assert first.startswith(
            f"REPLAYED by cryopack's sandbox build farm: nothing was compiled for fedora-{branch[1:]}"
        )
        assert f"-{recording}, {branch}, x86_64)" in first
        was = recording.partition(" ")[0]
        assert tag[1:] in rest and was not in rest and "x86_64" not in rest and "amd64" not in rest


def has_ended(tasks: list[dict[str, Any]], number: int) -> bool:
    return any(task["id"] == number and task["completion_ts"] for task in tasks)


def test_the_hub_replays_as_well_and_offers_no_package_that_it_never_made(
    farm: Farm, tmp_path: Path, catalog: Catalog
) -> None:
    chroot = "fedora-44-s390x"
    farm.koji.target("f44-candidate", "f44-build", "f44-updates-candidate", "s390x")
    system, target = connect("koji", AdapterConfig(tmp_path, sandbox_options(farm))), koji_target(chroot)
    ends = {}
    for strategy in ("none", "default"):
        srpm = srpm_at(stand_in_srpm(tmp_path, catalog, strategy, "f44"))
        ref = system.submit(srpm, target, SubmissionKey.fresh(1), system.open(target))
        farm.koji.wait(partial(has_ended, number=int(ref.external_id)))
        report = system.poll([ref])[ref]
        assert isinstance(report, BuildReport)
        (one,) = report.chroots
        log = httpx2.get(one.log_url, trust_env=False, verify=NO_TLS).text
        assert log.startswith("REPLAYED") and f"(strategy {strategy}, f44, x86_64)" in log.partition("\n")[0]
        rpms = system.rpm_addresses(ResultPlace(ref, chroot, one.result_url, one.log_url))
        ends[strategy] = (report.ended, "amd64" in log, rpms)
    assert ends["none"] == ("failed", False, ())
    ended, _, (rpm,) = ends["default"]
    assert ended == "succeeded" and httpx2.get(rpm, trust_env=False, verify=NO_TLS).status_code == 404


def test_what_was_not_recorded_is_not_replayed(tmp_path: Path, catalog: Catalog) -> None:
    def found(srpm: Path, dist: str = ".fc44") -> bool:
        return recorded(srpm, "cri-o1.32", "1.32.1", "fedora-44-s390x", dist) is not None

    assert found(stand_in_srpm(tmp_path, catalog, "none", "f44"))
    assert not found(stand_in_srpm(tmp_path, catalog, "none", "f44"), ".el9")
    assert not found(make_srpm(tmp_path / "other", "cri-o1.32")), "a source of another shape"
    (tmp_path / "no.src.rpm").write_bytes(b"no package")
    assert not found(tmp_path / "no.src.rpm")


def test_the_recordings_tell_nothing_of_the_machine() -> None:
    texts = [path.read_text() for path in FOLDER.iterdir()]
    assert len(texts) == len(KINDS) * len(BRANCHES)
    assert all(len(text) < 12_000 for text in texts), "small enough to be kept in a repository"
    for text in texts:
        paths = set(re.findall(r"(?<![\w./-])/(\w+)/", text))
        assert paths <= {"bin", "builddir", "usr", "var", "tmp", "etc"}, paths
        assert "site-packages" not in text
        assert text.startswith("Installing /builddir/build/SRPMS/")
