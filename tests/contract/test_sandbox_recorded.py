"""Recorded logs: shown again, and labelled so, where the sandbox can compile nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox.recorded import FOLDER, recorded
from sandbox.testing import Farm
from service.catalog import Catalog
from service.domain.diagnosis import diagnose
from tests.contract.stand_in import log_of, stand_in_srpm, upload

# Whatever machine runs this: no sandbox compiles for this architecture.
CHROOTS = ["fedora-43-s390x", "fedora-44-s390x"]


@pytest.mark.parametrize(
    ("strategy", "passes", "causes"),
    [
        ("none", False, ["wazero-undefined", "wazero-undefined"]),
        ("compat", True, ["textrel-accepted", ""]),
        ("default", True, ["", ""]),
    ],
)
def test_the_recording_of_the_strategy_and_branch_is_replayed(
    tmp_path: Path, catalog: Catalog, strategy: str, passes: bool, causes: list[str]
) -> None:
    with Farm(tmp_path / "farm", pace=0.02, publish="none", options=("--real-builds", "auto")) as farm:
        upload(farm, stand_in_srpm(tmp_path, catalog, strategy, "f44", "v1.33.5"), CHROOTS)
        builds = farm.wait(lambda builds: builds[0]["state"] in {"failed", "succeeded"}, seconds=60)
        rows = sorted(builds[0]["build_chroots"], key=lambda row: row["name"])
        logs = [log_of(row["result_url"]) for row in rows]
    assert {row["state"] for row in rows} == {"succeeded" if passes else "failed"}
    assert [diagnose(log.splitlines(), catalog.causes, succeeded=passes).rule for log in logs] == causes
    for log, branch in zip(logs, ("f43", "f44"), strict=True):
        first, _, rest = log.partition("\n")
        assert first.startswith(
            f"REPLAYED by cryopack's sandbox build farm: nothing was compiled for fedora-{branch[1:]}"
        )
        assert f"the recorded log of cri-o1.32-1.32.1 (strategy {strategy}, {branch}, x86_64)" in first
        assert "1.33.5" in rest and "1.32.1" not in rest and "x86_64" not in rest and "amd64" not in rest


def test_what_was_not_recorded_is_not_replayed(tmp_path: Path, catalog: Catalog) -> None:
    def found(srpm: Path, dist: str = ".fc44") -> bool:
        return recorded(srpm, "cri-o1.32", "1.32.1", "fedora-44-s390x", dist) is not None

    assert found(stand_in_srpm(tmp_path, catalog, "none", "f44"))
    assert not found(stand_in_srpm(tmp_path, catalog, "none", "f44"), ".el9")
    assert not found(stand_in_srpm(tmp_path, catalog, "strict", "f44")), "a strategy without a recording"
    assert not found(stand_in_srpm(tmp_path, catalog, "none", "f44", "v1.31.5", None)), (
        "a source without wazero"
    )
    (tmp_path / "no.src.rpm").write_bytes(b"no package")
    assert not found(tmp_path / "no.src.rpm")


def test_the_recordings_tell_nothing_of_the_machine() -> None:
    texts = [path.read_text() for path in FOLDER.iterdir()]
    assert len(texts) == 6
    for text in texts:
        paths = set(re.findall(r"(?<![\w./-])/(\w+)/", text))
        assert paths <= {"bin", "builddir", "usr", "var", "tmp", "etc"}, paths
        assert "site-packages" not in text
