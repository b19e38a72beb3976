"""RPM's order of versions, by vectors whose verdicts rpmdev-vercmp and rpm's own test suite give."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from service.domain.distgit import SpecEvr, push_refusal
from service.domain.versions import compare_versions

VECTORS = [
    ("1.0", "1.0", 0), ("1.0", "2.0", -1), ("2.0.1", "2.0", 1), ("1.32.10", "1.32.9", 1),
    ("1.32.9", "1.33.0", -1), ("5.5p1", "5.5p2", -1), ("5.5p10", "5.5p2", 1), ("10xyz", "10.1xyz", -1),
    ("xyz10", "xyz10.1", -1), ("xyz.4", "8", -1), ("8", "xyz.4", 1), ("5.5p2", "5.6p1", -1),
    ("6.0.rc1", "6.0", 1), ("10b2", "10a1", 1), ("1.0aa", "1.0a", 1), ("10.0001", "10.0039", -1),
    ("10.0001", "10.1", 0), ("4.999.9", "5.0", -1), ("20101121", "20101122", -1), ("2_0", "2.0", 0),
    ("a+", "a_", 0), ("1.0~rc1", "1.0", -1), ("1.0~rc1", "1.0~rc2", -1), ("1.0~rc1~git1", "1.0~rc1", -1),
    ("1.0^", "1.0", 1), ("1.0^git1", "1.0^git2", -1), ("1.0^git1", "1.01", -1), ("1.0^2", "1.0.1", -1),
    ("1.0~rc1^git1", "1.0~rc1", 1), ("1.0^git1~pre", "1.0^git1", -1), ("1.33.0~rc.1", "1.33.0", -1),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "verdict"), VECTORS)
def test_versions_sort_as_rpm_sorts_them(one: str, other: str, verdict: int) -> None:
    assert compare_versions(one, other) == verdict
    assert compare_versions(other, one) == -verdict


def test_the_installed_rpm_agrees() -> None:
    """rpm's own Lua, where this machine's rpm has it: the vectors above are its words and not ours."""
    rpm = shutil.which("rpm")
    assert rpm is not None, "rpm is needed by every other part of the service"
    script = "".join(f"%{{lua:print(rpm.vercmp('{one}', '{other}'))}} " for one, other, _ in VECTORS)
    told = subprocess.run([rpm, "--eval", script], capture_output=True, text=True, check=True).stdout
    assert [int(word) for word in told.split()] == [verdict for _, _, verdict in VECTORS]


def spec(version: str, release: str = "%autorelease", epoch: str = "") -> SpecEvr:
    head = f"Epoch: {epoch}\n" if epoch else ""
    return SpecEvr.read(
        f"{head}Name: x\nVersion:        {version}\nRelease:  {release}\n%description\nVersion: 9\n"
    )


@pytest.mark.parametrize(
    ("now", "new", "why"),
    [
        (None, spec("1.32.1"), ""),
        (spec("1.32.1"), spec("1.32.2"), ""),
        (spec("1.32.2"), spec("1.32.1"), "which is higher"),
        (spec("1.32.10"), spec("1.32.9"), "which is higher"),
        (spec("1.32.1", epoch="1"), spec("1.32.2"), "which is higher"),
        (spec("1.32.1"), spec("1.32.1"), ""),
        (spec("1.32.1", "3%{?dist}"), spec("1.32.1", "3%{?dist}"), "raise the release"),
        (spec("1.32.1", "3%{?dist}"), spec("1.32.1", "4%{?dist}"), ""),
        (spec("1.32.1"), spec("1.32.1", "1%{?dist}"), "raise the release"),
    ],
)
def test_only_a_higher_evr_is_pushed(now: SpecEvr | None, new: SpecEvr, why: str) -> None:
    refusal = push_refusal(now, new)
    assert (why in refusal) if why else refusal == ""


def test_an_evr_reads_as_people_write_it() -> None:
    assert str(spec("1.2", "3%{?dist}", "1")) == "1:1.2-3"
    assert str(spec("1.2")) == "1.2-%autorelease"
