"""Source packages by the real rpmbuild: the same inputs give the same bytes, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from tests.golden.test_golden_specs import CATALOG, render
from tests.workers.sources.archives import Made
from workers.packaging import rpm_commands
from workers.packaging.rpm_commands import RpmTrouble, SrpmFailed, build_srpm

SPEC = render(CATALOG, "1.32.1", "default", "f44")
EPOCH = 1_793_577_600


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "cri-o-1.32.1.tar.gz"
    file.write_bytes(Made().packed())
    return file


def query(package: Path, form: str) -> list[str]:
    done = subprocess.run(
        ["rpm", "-qp", "--nosignature", "--qf", form, str(package)],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return done.stdout.split("\n")[:-1]


def test_name_and_contents(archive: Path, tmp_path: Path) -> None:
    made = build_srpm(SPEC, [archive], directory=tmp_path / "out", epoch=EPOCH)
    assert made.name == made.path.name == "cri-o1.32-1.32.1-0.2.src.rpm"
    assert made.size == made.path.stat().st_size
    assert query(
        made.path, "%{name} %{version} %{release} %{buildhost} %{buildtime} %{payloadcompressor}\n"
    ) == [f"cri-o1.32 1.32.1 0.2 cryopack {EPOCH} zstd"]
    assert query(
        made.path, "[%{filenames} %{fileusername} %{filegroupname} %{filemodes:perms} %{filemtimes}\n]"
    ) == [
        f"{name} root root -rw-r--r-- {EPOCH}"
        for name in ("cri-o-1.32.1.tar.gz", "cri-o1.32.spec", "go-vendor-tools.toml")
    ]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [made.name]


def test_same_inputs_same_bytes(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another folder, another time, other times, modes and owners of the sources, another home and umask."""
    first = build_srpm(SPEC, [archive], directory=tmp_path / "a", epoch=EPOCH)
    elsewhere = tmp_path / "b with a space" / archive.name
    elsewhere.parent.mkdir()
    shutil.copy(archive, elsewhere)
    os.utime(elsewhere, (1, 1))
    elsewhere.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(elsewhere, 65534, 65534)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("RPM_BUILD_NCPUS", "7")
    previous = os.umask(0o077)
    try:
        time.sleep(1.1)
        second = build_srpm(SPEC, [elsewhere], directory=tmp_path / "c" / "d", epoch=EPOCH)
    finally:
        os.umask(previous)
    assert first.sha256 == second.sha256
    assert first.path.read_bytes() == second.path.read_bytes()


def test_other_inputs_other_bytes(archive: Path, tmp_path: Path) -> None:
    first = build_srpm(SPEC, [archive], directory=tmp_path / "a", epoch=EPOCH)
    later = build_srpm(SPEC, [archive], directory=tmp_path / "b", epoch=EPOCH + 1)
    archive.write_bytes(Made().add("cri-o-1.32.1/x").packed())
    other = build_srpm(SPEC, [archive], directory=tmp_path / "c", epoch=EPOCH)
    assert len({first.sha256, later.sha256, other.sha256}) == 3


def test_one_package_serves_every_branch(archive: Path, tmp_path: Path) -> None:
    digests = set()
    for branch in CATALOG.branches:
        spec = render(CATALOG, "1.32.1", "default", branch)
        digests.add(build_srpm(spec, [archive], directory=tmp_path / branch, epoch=EPOCH).sha256)
    assert len(digests) == 1


def test_what_an_srpm_says_it_needs(archive: Path, tmp_path: Path) -> None:
    made = build_srpm(SPEC, [archive], directory=tmp_path, epoch=EPOCH)
    needs = query(made.path, "[%{requirenevrs}\n]")
    assert "golang >= 1.23" in needs
    assert "go-vendor-tools >= 0.9" in needs
    assert "rpmlib(DynamicBuildRequires) <= 4.15.0-1" in needs
    assert query(made.path, "[%{exclusivearch}\n]") == ["x86_64", "aarch64", "ppc64le", "s390x", "riscv64"]


def test_a_prerelease(tmp_path: Path) -> None:
    archive = tmp_path / "cri-o-1.33.0-rc.1.tar.gz"
    archive.write_bytes(b"\x1f\x8b")
    spec = render(CATALOG, "1.33.0-rc.1", "default", "f44")
    made = build_srpm(spec, [archive], directory=tmp_path, epoch=EPOCH)
    assert made.name == "cri-o1.33-1.33.0~rc.1-0.2.src.rpm"


def test_replaces_what_is_there(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "cri-o1.32-1.32.1-0.2.src.rpm").write_bytes(b"half of an older one")
    made = build_srpm(SPEC, [archive], directory=tmp_path, epoch=EPOCH)
    assert made.path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("%gometa -L -f", "%gomata -L -f", "line .*: Unknown tag: %gomata"),
        ("Source0:        %{gosource}", "Source0:        other.tar.gz", "the source other.tar.gz is missing"),
        ("Release:        0.2", "Release:        0.9", "planned was cri-o1.32-1.32.1-0.2.src.rpm"),
    ],
)
def test_the_package_is_at_fault(archive: Path, tmp_path: Path, old: str, new: str, reason: str) -> None:
    spec = replace(SPEC, text=SPEC.text.replace(old, new, 1))
    with pytest.raises(SrpmFailed, match=reason) as caught:
        build_srpm(spec, [archive], directory=tmp_path / "out", epoch=EPOCH)
    assert str(caught.value).isprintable()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_source_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SrpmFailed, match=r"the source cri-o-1\.32\.1\.tar\.gz is missing"):
        build_srpm(SPEC, [tmp_path / "cri-o-1.32.1.tar.gz"], directory=tmp_path / "out", epoch=EPOCH)


def test_no_room(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(rpm_commands.shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    with pytest.raises(OSError, match="no room for the SRPM") as caught:
        build_srpm(SPEC, [archive], directory=tmp_path / "out", epoch=EPOCH)
    assert caught.value.errno == errno.ENOSPC


def test_the_disk_fills_up_while_packing(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What rpmbuild says on a full disk is our machine's trouble, not the package's."""
    program = tmp_path / "bin" / "rpmbuild"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'error: cpio: write failed - No space left on device' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    with pytest.raises(OSError, match="the disk is full") as caught:
        build_srpm(SPEC, [archive], directory=tmp_path / "out", epoch=EPOCH)
    assert caught.value.errno == errno.ENOSPC
    assert list((tmp_path / "out").iterdir()) == []


def test_rpmbuild_is_missing(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RpmTrouble, match="rpmbuild is not installed"):
        build_srpm(SPEC, [archive], directory=tmp_path / "out", epoch=EPOCH)
    assert list((tmp_path / "out").iterdir()) == []


def test_rpmbuild_takes_too_long(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(RpmTrouble, match="did not end within"):
        build_srpm(SPEC, [archive], directory=tmp_path / "out", epoch=EPOCH, seconds=0.001)
    assert list((tmp_path / "out").iterdir()) == []
