"""Shell scripts in the place of programs that packaging runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from workers.packaging import licenses


def put_script(program: Path, script: str) -> None:
    """Write a shell script as a program that can be run."""
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def replace_license_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Hide an installed go_vendor_license; what is returned puts a script in its place, whose words are $*."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(licenses.sys, "executable", str(tmp_path / "nowhere" / "python"))
    return lambda script: put_script(folder / licenses.TOOL, script)
