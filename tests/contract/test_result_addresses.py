"""Tests the addresses of logs and RPMs that each adapter names."""

from __future__ import annotations

from pathlib import Path

import koji
import pytest

from service.domain.reports import BuildRef, ResultPlace
from workers.buildsystems import AdapterConfig
from workers.buildsystems.copr.reports import log_addresses, rpm_addresses
from workers.buildsystems.koji.adapter import Koji
from workers.buildsystems.koji.reports import Links
from workers.buildsystems.koji.reports import rpm_addresses as koji_rpms

RESULTS = "https://copr.example/results/o/p/fedora-44-x86_64/00000007-cri-o1.35/"
COPR = ResultPlace(BuildRef("copr", "o/p", "7"), "fedora-44-x86_64", RESULTS, f"{RESULTS}builder-live.log")
WORK = "https://koji.example/kojifiles/tasks/31/31"
KOJI = ResultPlace(
    BuildRef("koji", "p", "30"), "fedora-44-x86_64", "https://koji.example/koji/task", f"{WORK}/build.log"
)


def test_copr_is_asked_for_the_compressed_log_first() -> None:
    found = log_addresses(COPR)
    assert set(found) == {"builder", "root", "backend"}
    assert found["root"] == (f"{RESULTS}root.log.gz", f"{RESULTS}root.log")
    source = ResultPlace(
        COPR.ref, "source", "", "https://copr.example/srpm-builds/00000007/builder-live.log.gz"
    )
    assert log_addresses(source) == {
        "source": (
            "https://copr.example/srpm-builds/00000007/builder-live.log.gz",
            "https://copr.example/srpm-builds/00000007/builder-live.log",
        )
    }
    assert log_addresses(ResultPlace(COPR.ref, "fedora-44-x86_64", "", "")) == {}


def test_copr_rpms_are_files_among_the_results_and_nothing_else() -> None:
    row = {"name": "cri-o1.35", "epoch": 0, "version": "1.35.6", "release": "0.1.fc44", "arch": "x86_64"}
    odd = [
        {**row, "arch": "src"}, {**row, "name": "cri-o1.35-debuginfo"}, {**row, "name": "../../etc/passwd"},
        {**row, "version": None}, {**row, "release": "1/../x"}, {},
    ]  # fmt: skip
    assert rpm_addresses(COPR, [row, *odd]) == (f"{RESULTS}cri-o1.35-1.35.6-0.1.fc44.x86_64.rpm",)
    assert rpm_addresses(ResultPlace(COPR.ref, "c", "", ""), [row]) == ()


def test_koji_logs_lie_beside_each_other(tmp_path: Path) -> None:
    results = Koji(AdapterConfig(tmp_path, {}))
    assert results.log_addresses(KOJI) == {
        "builder": (f"{WORK}/build.log",),
        "root": (f"{WORK}/root.log",),
        "backend": (f"{WORK}/mock_output.log", f"{WORK}/state.log"),
    }
    source = ResultPlace(KOJI.ref, "source", "", f"{WORK}/root.log")
    assert results.log_addresses(source)["source"] == (f"{WORK}/root.log", f"{WORK}/root.log")
    assert results.log_addresses(ResultPlace(KOJI.ref, "fedora-44-x86_64", "https://x/", "")) == {}
    assert results.rpm_addresses(ResultPlace(BuildRef("koji", "p", "no number"), "c", "", "")) == ()


# Of a real hub (capture 027), with what a build for debuggers and for all architectures adds.
NVR = "cri-o1.32-1.32.1-1.fc42"
TOLD = {
    "rpms": [
        f"tasks/143/143/{name}"
        for name in (
            f"{NVR}.aarch64.rpm", "cri-o1.32-debuginfo-1.32.1-1.fc42.aarch64.rpm",
            "cri-o1.32-docs-1.32.1-1.fc42.noarch.rpm",
            "cri-o1.32-debugsource-1.32.1-1.fc42.aarch64.rpm", f"{NVR}.src.rpm", "../../etc/passwd", "x y.rpm",
        )
    ],
    "srpms": [],
    "logs": ["tasks/143/143/build.log"],
    "brootid": 32,
}  # fmt: skip
BUILD = {"name": "cri-o1.32", "version": "1.32.1", "release": "1.fc42", "volume_name": "DEFAULT"}


@pytest.mark.parametrize("volume", ["DEFAULT", "vol2"])
def test_koji_rpms_lie_where_kojis_own_library_says(volume: str) -> None:
    links = Links("https://koji.example/koji", "https://files.example")
    paths = koji.PathInfo("https://files.example")
    docs = "cri-o1.32-docs-1.32.1-1.fc42.noarch.rpm"
    task = paths.task(10143)
    assert koji_rpms(links, 10143, TOLD, None) == (f"{task}/{NVR}.aarch64.rpm", f"{task}/{docs}")
    build = {**BUILD, "volume_name": volume}
    rows = [
        {**BUILD, "name": "cri-o1.32", "arch": "aarch64"},
        {**BUILD, "name": "cri-o1.32-docs", "arch": "noarch"},
    ]
    expected = tuple(f"{paths.build(build)}/{paths.rpm(row)}" for row in rows)
    assert koji_rpms(links, 10143, TOLD, build) == expected


def test_koji_results_that_are_none_name_no_rpm() -> None:
    links = Links("https://koji.example/koji", "https://files.example")
    for odd in (None, [], {}, {"rpms": "x"}, {"rpms": [None, 7]}, {"faultCode": 1005, "faultString": "x"}):
        assert koji_rpms(links, 143, odd, None) == ()
    assert koji_rpms(links, 143, TOLD, {**BUILD, "version": "../.."}) != ()
    assert all(
        url.startswith(links.file(143, ""))
        for url in koji_rpms(links, 143, TOLD, {**BUILD, "version": "../.."})
    )
    assert koji_rpms(Links("https://koji.example/koji", ""), 143, TOLD, None) == ()
