"""Specs are checked by their text, by the archive's name, and by rpmlint."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

import workers
from service.domain.specs import SpecFile
from tests.golden.test_golden_specs import CATALOG, render
from workers.packaging import offline
from workers.packaging.rpm_commands import RpmTrouble
from workers.packaging.spec_check import NOT_INSTALLED, SpecRefused, check_spec, check_text, lint_spec

F44 = CATALOG.branches["f44"].branch
SPEC = render(CATALOG, "1.36.3", "default", "f44")
needs_rpmlint = pytest.mark.skipif(shutil.which("rpmlint") is None, reason="not installed: rpmlint")


def edited(old: str, new: str) -> SpecFile:
    assert old in SPEC.text
    return replace(SPEC, text=SPEC.text.replace(old, new, 1))


def line_of(spec: SpecFile, text: str) -> int:
    return next(number for number, line in enumerate(spec.text.splitlines(), 1) if text in line)


def test_a_good_text_passes() -> None:
    check_text(SPEC)
    check_spec(SPEC, branch=F44, archive="cri-o-1.36.3.tar.gz")


@pytest.mark.parametrize(
    ("old", "new", "at", "reason"),
    [
        ("Apache-2.0 AND", "ASL 2.0 AND", "License:", "License: .* is no SPDX expression: Unknown"),
        ("Apache-2.0 AND", "Apache-2.0 OR AND", "License:", "License: .+"),
        (" AND Unlicense", " AND", "License:", "License: nothing follows AND"),
        (" - 1.36.3-0.2", " - 1.36.3-0.1", " - 1.36.3-0.1", "the newest changelog entry is of 1.36.3-0.1, planned was"),
        ("%prep\n", "%prep\n@{place}\n", "@{place}", "a place of the template was left unfilled"),
        ("# -k keeps", "# %goprep keeps", "%goprep keeps", "the comment holds the macro %goprep"),
    ],
)  # fmt: skip
def test_bad_texts_are_refused_with_their_line(old: str, new: str, at: str, reason: str) -> None:
    spec = edited(old, new)
    with pytest.raises(SpecRefused, match=f"^cri-o1.36.spec:{line_of(spec, at)}: {reason}"):
        check_text(spec)


def test_another_archive_than_source0_names_is_refused() -> None:
    with pytest.raises(
        SpecRefused, match=r"^cri-o1.36.spec: Source0 names cri-o-1.36.3.tar.gz, but cri-o-1.36.2"
    ):
        check_spec(SPEC, branch=F44, archive="cri-o-1.36.2.tar.gz")


@pytest.mark.parametrize("name", list(CATALOG.branches))
def test_each_branch_has_its_own_numbers_and_no_rhel(name: str) -> None:
    branch = CATALOG.branches[name].branch
    spec = edited("Summary:        Open", "Summary:        on %{fedora}%{?rhel: or RHEL}%{?dist} Open")
    tags = check_spec(spec, branch=branch)
    assert tags["Summary"].startswith(f"on {branch.number}{branch.dist} Open")


@needs_rpmlint
@pytest.mark.parametrize("style", ["srpm", "dist-git"])
@pytest.mark.parametrize("family", list(CATALOG.families))
def test_rpmlint_finds_no_error_in_any_family(family: str, style: str) -> None:
    newest = CATALOG.families[family].newest_known
    made = offline.render(CATALOG, f"v{newest}.0", family=family, branch="f44", style=style)
    assert lint_spec(made.spec, branch=F44) == ""


@needs_rpmlint
def test_rpmlint_s_error_is_ours_with_its_line() -> None:
    spec = edited("%install\n", "%install\ncp x %{buildroot}/usr/lib/crio\n")
    number = line_of(spec, "/usr/lib/crio")
    with pytest.raises(SpecRefused, match=f"^cri-o1.36.spec:{number}: rpmlint: hardcoded-library-path"):
        lint_spec(spec, branch=F44)


def test_without_rpmlint_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lint_spec(SPEC, branch=F44) == NOT_INSTALLED


def test_an_rpmlint_that_breaks_or_hangs_passes_nothing_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "rpmlint"
    program.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert lint_spec(SPEC, branch=F44) == "rpmlint gave no result (broken)"
    program.write_text("#!/bin/sh\nsleep 60 & wait\n")
    with pytest.raises(RpmTrouble, match="rpmlint did not end within"):
        lint_spec(SPEC, branch=F44, seconds=0.3)


def test_each_filter_of_rpmlint_has_its_reason() -> None:
    file = Path(workers.__file__).parent / "packaging" / "macros" / "rpmlint.toml"
    lines = file.read_text().splitlines()
    filters = tomllib.loads(file.read_text())["Filters"]
    assert filters
    for name in filters:
        (number,) = [n for n, line in enumerate(lines) if f'"{name}"' in line]
        assert re.match(r" +# .{20,}", lines[number - 1]), name
