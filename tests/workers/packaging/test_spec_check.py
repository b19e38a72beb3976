"""Specs are checked by the real rpmspec, and for errors that it lets pass in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from service.domain.specs import SpecFile
from tests.golden.test_golden_specs import CATALOG, render
from tests.workers.packaging.scripts import put_script
from workers.packaging.rpm_commands import RpmTrouble
from workers.packaging.spec_check import SpecRefused, check_merged, check_spec

F44 = CATALOG.branches["f44"].branch
RAWHIDE = CATALOG.branches["rawhide"].branch
SPEC = render(CATALOG, "1.32.1", "default", "f44")


def edited(old: str, new: str) -> SpecFile:
    assert old in SPEC.text
    return replace(SPEC, text=SPEC.text.replace(old, new, 1))


def line_of(spec: SpecFile, text: str) -> int:
    return next(number for number, line in enumerate(spec.text.splitlines(), 1) if text in line)


def test_a_good_spec_and_its_tags() -> None:
    tags = check_spec(SPEC, branch=RAWHIDE)
    assert tags["Name"] == "cri-o1.32"
    assert tags["Release"] == "0.2.fc46"
    assert tags["Source0"] == "https://github.com/cri-o/cri-o/archive/v1.32.1/cri-o-1.32.1.tar.gz"
    assert tags["Provides"] == "crio = 1.32.1-0.2.fc46"
    assert tags["Conflicts"] == "crio"
    assert "Obsoletes" not in tags


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("%goprep -k\n", "%goprepare -k\n", "%goprepare is left unexpanded"),
        ("%gobuild -o", "%{gobuilt} -o", "%{ is left unexpanded"),
        ("%{?dist}", "%{?dist}%autorelease", "Release is 0.2.fc441.fc44, planned was"),
        ("%gometa -L -f", "%gomata -L -f", "Unknown tag: %gomata -L -f"),
        ("%global goipath ", "%global gopath_ ", "goipath is not set before gometa"),
        ("Name:           cri-o1.32", "Name:           cri-o", "Name is cri-o, planned was cri-o1.32"),
        ("Version:        1.32.1", "Version:        1.32.2", "Version is 1.32.2, planned was 1.32.1"),
        ("Version:        1.32.1", "Version:        1.32-1", "Illegal char"),
        ("Release:        0.2", "Release:        0.3", "Release is 0.3.fc44, planned was 0.2.fc44"),
        ("Source0:        %{gosource}", "Source0:        x.tar.gz", "Source0 is x.tar.gz, planned was https"),
        ("Source2:        go-vendor-tools.toml\n", "", "%SOURCE2 is left unexpanded|No source number 2"),
        (
            "License:        Apache-2.0 AND",
            "License:        ASL 2.0 and",
            "License: .* is no SPDX expression: Unknown",
        ),
        ("%prep\n", "%prep\n%prep\n", "second %prep"),
        ("# -k keeps", "# %goprep keeps", "the comment holds the macro %goprep"),
        ("\n* Mon Nov 02", "\n* Tue Nov 02", "bogus date"),
        ("* Mon Nov 02 2026", "Mon Nov 02 2026", "%changelog entries must start with"),
        ("%endif\n\nRequires", "\n\nRequires", "Unclosed %if|No matching"),
    ],
)
def test_bad_specs(old: str, new: str, reason: str) -> None:
    with pytest.raises(SpecRefused, match=reason) as caught:
        check_spec(edited(old, new), branch=F44)
    text = str(caught.value)
    assert text.startswith("cri-o1.32.spec:")
    assert text.isprintable()
    assert "/tmp" not in text


def test_the_line_is_that_of_the_spec() -> None:
    spec = edited("%goprep -k\n", "%goprepare -k\n")
    with pytest.raises(SpecRefused, match=f"^cri-o1.32.spec:{line_of(spec, '%goprepare')}: "):
        check_spec(spec, branch=F44)
    spec = edited("%gometa -L -f", "%gomata -L -f")
    with pytest.raises(SpecRefused, match=f"^cri-o1.32.spec:{line_of(spec, '%gomata')}: "):
        check_spec(spec, branch=F44)


def test_the_machine_s_own_macros_have_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".rpmmacros").write_text("%gosource evil.tar.gz\n%dist .evil\n%_unitdir /evil\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_spec(SPEC, branch=F44)["Release"] == "0.2.fc44"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a script in rpmspec's place."""

    def put(script: str) -> None:
        put_script(tmp_path / "rpmspec", script)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return put


def test_rpmspec_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RpmTrouble, match="rpmspec is not installed: install rpm-build"):
        check_spec(SPEC, branch=F44)


def test_rpmspec_takes_too_long(fake: Callable[[str], None]) -> None:
    fake("sleep 30 & wait")
    with pytest.raises(RpmTrouble, match=r"did not end within 0\.3 s"):
        check_spec(SPEC, branch=F44, seconds=0.3)


def test_rpmspec_is_killed(fake: Callable[[str], None]) -> None:
    fake("kill -9 $$")
    with pytest.raises(RpmTrouble, match="signal 9"):
        check_spec(SPEC, branch=F44)


def test_the_environment_is_bare(fake: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYOPACK_SECRET", "do not tell")
    fake('env | cut -d= -f1 | sort | tr "\\n" " " >&2; exit 1')
    with pytest.raises(SpecRefused) as caught:
        check_spec(SPEC, branch=F44)
    names = set(str(caught.value).partition(": ")[2].split())
    assert names <= {"HOME", "LC_ALL", "PATH", "PWD", "TMPDIR", "TZ", "_", "SHLVL", "OLDPWD"}


def merged(text: str) -> None:
    check_merged("cri-o1.32.spec", text, package="cri-o1.32", branch=F44)


def test_what_a_maintainer_adds_is_parsed_with_macros_that_are_not_here() -> None:
    merged(SPEC.text)
    added = "%gometa -L -f\n%{?fedora_only_macro}\n%a_second_one a b\nPatch7: fix.patch\n"
    merged(SPEC.text.replace("BuildRequires:  make\n", f"BuildRequires:  make\n{added}", 1))
    merged(SPEC.text.replace("%prep\n", "%prep\n%unknown_in_a_section -x\n", 1))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "BuildRequires:  make\n",
            "<<<<<<< dist-git\nBuildRequires:  make\n",
            "Unknown tag: <<<<<<< dist-git",
        ),
        ("BuildRequires:  make\n", "%gometa -L\nBuildReqires: make\n", "Unknown tag: BuildReqires"),
        ("BuildRequires:  make\n", "%if 0\nBuildRequires:  make\n", "if"),
        ("%prep\n", "%endif\n%prep\n", "%endif"),
        (
            "Name:           cri-o1.32\n",
            "Name:           cri-o\n",
            "Name is cri-o, and the package is cri-o1.32",
        ),
    ],
)
def test_a_merged_spec_that_does_not_parse_is_refused(old: str, new: str, told: str) -> None:
    text = SPEC.text.replace(old, new, 1)
    assert text != SPEC.text
    with pytest.raises(SpecRefused) as caught:
        merged(text)
    assert told in str(caught.value) and str(caught.value).startswith("cri-o1.32.spec")
    if told.startswith("Unknown"):
        number = text.splitlines().index(new.splitlines()[-1 if "gometa" in new else 0]) + 1
        assert f"cri-o1.32.spec:{number}: " in str(caught.value)


def test_endless_unknown_macros_are_refused() -> None:
    many = "".join(f"%unknown_{number} x\n" for number in range(30))
    with pytest.raises(SpecRefused, match="Unknown tag: %unknown_20"):
        merged(SPEC.text.replace("BuildRequires:  make\n", f"{many}BuildRequires:  make\n", 1))
