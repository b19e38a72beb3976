"""The guards of ``%check``, cut out of a rendered spec and run by a shell on real binaries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.golden.test_golden_specs import CATALOG, render

MISSING = [tool for tool in ("gcc", "readelf", "nm", "bash") if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

SOUND = "int main(void) { return 0; }\n"
# An address in the text segment must be relocated when the program is loaded: that is a text relocation.
TEXT_RELOCATION = SOUND + '__asm__(".text\\n.globl here\\nhere: .quad main\\n");\n'
# What is left of a Go function that is bound to a wrong import path: undefined, with a / in its name.
UNDEFINED = SOUND + '__asm__(".data\\n.quad \\"github.com/tetratelabs/wazero/isa/amd64.entrypoint\\"\\n");\n'


def guards(first: str = "readelf ", then: str = "# Only in module mode") -> str:
    text = render(CATALOG, "1.36.3", "default", "f44").text
    found = re.search(rf"^{first}.*?^fi\n(?={then})", text, re.MULTILINE | re.DOTALL)
    assert found
    assert "%" not in found[0], "nothing to expand, so that the shell sees what rpm would give it"
    return found[0]


def link(folder: Path, source: str, *flags: str) -> None:
    (folder / "bin").mkdir()
    (folder / "crio.c").write_text(source)
    command = ["gcc", "-fPIE", "-pie", *flags, "-o", "bin/crio", "crio.c"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0 and "unrecognized" in done.stderr:
        pytest.skip("the linker does not know these flags")
    assert done.returncode == 0, done.stderr


def run(folder: Path, script: str = "", **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "-e", "-c", script or guards()],
        env={**os.environ, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_sound_binary_passes(tmp_path: Path) -> None:
    link(tmp_path, SOUND)
    assert run(tmp_path) == (0, "")


def test_text_relocations_are_refused(tmp_path: Path) -> None:
    link(tmp_path, TEXT_RELOCATION, "-Wl,-z,notext")
    status, said = run(tmp_path)
    assert status == 1
    assert "text relocations" in said


def test_undefined_go_symbols_are_refused(tmp_path: Path) -> None:
    # Go's external link exports symbols too; without it ld puts a zero in the place of the symbol.
    link(tmp_path, UNDEFINED, "-rdynamic", "-Wl,-z,undefs")
    status, said = run(tmp_path)
    assert status == 1
    assert "undefined Go symbols" in said


def test_no_binary_is_no_clean_result(tmp_path: Path) -> None:
    assert run(tmp_path)[0] != 0


def test_a_tool_that_fails_is_no_clean_result(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "crio").write_text("no ELF file at all")
    assert run(tmp_path)[0] != 0


# What "go version -m" prints of a crio built in module mode and of one built in GOPATH mode, shortened.
MODULE_MODE = """bin/crio: go1.26.6
\tpath\tgithub.com/cri-o/cri-o/cmd/crio
\tmod\tgithub.com/cri-o/cri-o\t(devel)
\tdep\tgithub.com/tetratelabs/wazero\tv1.10.1
\tbuild\t-buildmode=pie
"""
GOPATH_MODE = """bin/crio: go1.26.6
\tpath\tgithub.com/cri-o/cri-o/cmd/crio
\tbuild\t-buildmode=pie
\tbuild\tDefaultGODEBUG=panicnil=1
"""


@pytest.mark.parametrize(("said", "status"), [(MODULE_MODE, 0), (GOPATH_MODE, 1), ("", 1)])
def test_a_binary_without_dependencies_is_refused(tmp_path: Path, said: str, status: int) -> None:
    """A script in Go's place prints what Go printed; the real one is not everywhere where rpm is."""
    script = guards("GOTOOLCHAIN=local go ", "# Sections share")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "said").write_text(said)
    (tools / "go").write_text(f"#!/bin/sh\ncat {tools}/said\n[ -s {tools}/said ]\n")
    (tools / "go").chmod(0o755)
    ended, complaint = run(tmp_path, script, PATH=f"{tools}:{os.environ['PATH']}")
    assert ended == status
    assert ("names no dependencies" in complaint) is (said == GOPATH_MODE)
