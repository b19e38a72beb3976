"""Tags, versions, NVRs, branches and chroots are parsed, and versions sort as upstream and as RPM sort them."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import BadName, BadTag
from service.domain.fedora import Branch, Chroot
from service.domain.versions import Nvr, Stream, Version, compare_versions, parse_tag

NUMBERS = st.integers(min_value=0, max_value=999_999)
PRES = st.sampled_from(["", "alpha", "alpha.1", "beta.0", "beta.2", "rc", "rc.1", "rc.10", "rc1", "rc2"])


@pytest.mark.parametrize(
    ("tag", "stream", "rpm"),
    [
        ("v1.32.1", "1.32", "1.32.1"),
        ("v1.100.0", "1.100", "1.100.0"),
        ("v2.0.0-rc.1", "2.0", "2.0.0~rc.1"),
        ("v1.18.0-rc1", "1.18", "1.18.0~rc1"),
        ("v1.9.0-beta.1", "1.9", "1.9.0~beta.1"),
    ],
)
def test_a_tag_is_parsed(tag: str, stream: str, rpm: str) -> None:
    version = parse_tag(tag)
    assert (str(version.stream), version.rpm, version.tag) == (stream, rpm, tag)


@pytest.mark.parametrize(
    "tag",
    ["", "1.32.1", "v1.32", "v0.3", "v1.32.1.2", "v1.32.01", "v1.32.1\n", "v1.32.1-", "v1.32.1-dev", "nightly",
     "v1.32.-1", "v１.32.1", "v1.32.1 ", "refs/tags/v1.32.1", "v9999999.1.1", "v1.32.1-rc.", "V1.32.1", "\x00"],
)  # fmt: skip
def test_an_odd_tag_is_refused_and_named(tag: str) -> None:
    with pytest.raises(BadTag, match="is not a version tag"):
        parse_tag(tag)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, PRES)
def test_the_sort_key_orders_as_the_numbers_do(
    a: int, b: int, c: int, d: int, e: int, f: int, pre: str
) -> None:
    one, other = Version(a, b, c), Version(d, e, f)
    assert (one.sort_key < other.sort_key) == ((a, b, c) < (d, e, f))
    if pre:
        assert Version(a, b, c, pre) < one
        assert (Version(a, b, c, pre) < other) == ((a, b, c) <= (d, e, f))


@given(NUMBERS, NUMBERS, NUMBERS, PRES)
def test_a_tag_survives_the_round_trip(major: int, minor: int, patch: int, pre: str) -> None:
    version = Version(major, minor, patch, pre)
    assert parse_tag(version.tag) == version
    assert Version.parse(str(version)) == version


def test_a_prerelease_comes_before_its_release() -> None:
    tags = ["v1.33.0-alpha.1", "v1.33.0-beta.2", "v1.33.0-rc.2", "v1.33.0-rc.10", "v1.33.0", "v1.33.1"]
    versions = [parse_tag(tag) for tag in tags]
    assert sorted(versions, reverse=True)[::-1] == versions


def test_nvr_splits_from_the_right() -> None:
    nvr = Nvr.parse("cri-o1.32-1.32.1-0.1.fc43")
    assert (nvr.name, nvr.version, nvr.release) == ("cri-o1.32", "1.32.1", "0.1.fc43")
    assert str(nvr) == "cri-o1.32-1.32.1-0.1.fc43"
    with pytest.raises(BadName):
        Nvr.parse("cri-o")


def test_branches_and_chroots_have_one_form() -> None:
    rawhide = Branch.parse("rawhide", rawhide_number=46)
    assert (rawhide.dist, rawhide.chroot_word) == (".fc46", "rawhide")
    assert Branch.parse("f43", rawhide_number=46) < Branch.parse("f45", rawhide_number=46) < rawhide
    assert str(Chroot.parse("fedora-rawhide-aarch64")) == "fedora-rawhide-aarch64"
    for bad in ("f", "f043", "43", "F43", "epel9"):
        with pytest.raises(BadName):
            Branch.parse(bad, rawhide_number=46)
    for bad in ("fedora-43", "epel-9-x86_64", "fedora-43-x86_64/../x"):
        with pytest.raises(BadName):
            Chroot.parse(bad)
    with pytest.raises(BadName):
        Stream.parse("1.32.1")


# Verdicts of rpmdev-vercmp and of rpm's own test suite.
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
    """The installed rpm gives the verdicts of the vectors above, by its own Lua function."""
    rpm = shutil.which("rpm")
    assert rpm is not None, "rpm is needed by every other part of the service"
    script = "".join(f"%{{lua:print(rpm.vercmp('{one}', '{other}'))}} " for one, other, _ in VECTORS)
    told = subprocess.run([rpm, "--eval", script], capture_output=True, text=True, check=True).stdout
    assert [int(word) for word in told.split()] == [verdict for _, _, verdict in VECTORS]
