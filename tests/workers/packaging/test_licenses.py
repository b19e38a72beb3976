"""SPDX expressions are checked, and go-vendor-tools computes them; a script is in its place on every machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workers.packaging.scripts import replace_license_tool
from tests.workers.sources.archives import ROOT, Made
from workers.packaging.licenses import (
    BadLicense,
    ComputedLicense,
    check_expression,
    compute_license,
    same_license,
)

Tool = Callable[[str], None]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Puts a script in go_vendor_license's place; its words are $*."""
    return replace_license_tool(tmp_path, monkeypatch)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "cri-o-1.32.1.tar.gz"
    file.write_bytes(Made().packed())
    return file


def test_expressions() -> None:
    assert check_expression("mit AND  Apache-2.0") == "MIT AND Apache-2.0"
    assert same_license("MIT AND Apache-2.0", "Apache-2.0 AND MIT")
    assert not same_license("MIT", "MIT AND ISC")
    assert not same_license("", "MIT")
    for bad in ("ASL 2.0", "", "MIT AND", "MIT\nName: x", "%(id)"):
        with pytest.raises(BadLicense) as caught:
            check_expression(bad)
        assert "\n" not in str(caught.value)


def test_without_the_tool_nothing_is_computed(tool: Tool, archive: Path, tmp_path: Path) -> None:
    assert compute_license(archive, ROOT, folder=tmp_path) == ComputedLicense(
        "", "go_vendor_license is not installed"
    )


def test_the_first_detector_that_answers_decides(tool: Tool, archive: Path, tmp_path: Path) -> None:
    # -C FOLDER --detector NAME report expression
    tool('[ "$4" = trivy ] || { echo "no $4 here" >&2; exit 1; }; [ -f "$2/go.mod" ] && echo "MIT AND ISC"')
    assert compute_license(archive, ROOT, folder=tmp_path) == ComputedLicense(
        "MIT AND ISC", "go-vendor-tools with trivy"
    )
    assert not list(tmp_path.glob(".licenses-*"))


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ('echo "no $4 here" >&2; exit 1', "no detector answered (no askalono here)"),
        ("echo ASL 2.0", "go-vendor-tools with askalono: 'ASL 2.0' is no SPDX expression"),
        ("exit 0", "go-vendor-tools with askalono: 'no reason given' is no SPDX"),
        ("kill -9 $$", "was ended by signal 9"),
    ],
)
def test_answers_that_are_none(tool: Tool, archive: Path, tmp_path: Path, script: str, why: str) -> None:
    tool(script)
    found = compute_license(archive, ROOT, folder=tmp_path)
    assert found.expression == "" and why in found.by and "\n" not in found.by
