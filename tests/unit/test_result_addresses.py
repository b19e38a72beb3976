"""Where each build system leaves logs and RPMs, as its adapter names it."""

from __future__ import annotations

from service.domain.reports import BuildRef, ResultPlace
from workers.buildsystems.copr_reports import log_addresses, rpm_addresses
from workers.buildsystems.koji_reports import KojiResults

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


def test_koji_logs_lie_beside_each_other() -> None:
    results = KojiResults()
    assert results.log_addresses(KOJI) == {"builder": (f"{WORK}/build.log",), "root": (f"{WORK}/root.log",)}
    source = ResultPlace(KOJI.ref, "source", "", f"{WORK}/root.log")
    assert results.log_addresses(source)["source"] == (f"{WORK}/root.log", f"{WORK}/root.log")
    assert results.log_addresses(ResultPlace(KOJI.ref, "fedora-44-x86_64", "https://x/", "")) == {}
    assert results.rpm_addresses(KOJI) == ()
