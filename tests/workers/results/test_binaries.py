"""The ELF reader on binaries that a real linker and a real Go made, and on broken ones."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from service.domain.binaries import judge
from tests.go_toolchain import go_build, go_environment, needs_go
from workers.binaries import BinaryUnreadable, is_elf, read_binary

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="not installed: gcc")

MAIN = "int main(void) { return 0; }\n"
# An address in the text segment must be relocated when the program is loaded: that is a text relocation.
TEXT_RELOCATION = MAIN + '__asm__(".text\\n.globl here\\nhere: .quad main\\n");\n'
UNDEFINED = MAIN + '__asm__(".data\\n.quad \\"example.com/app/vendor/jit.entry\\"\\n.quad \\"plain\\"\\n");\n'
HARD = ("-fPIE", "-pie", "-Wl,-z,relro", "-Wl,-z,now")

pytestmark = [needs_gcc, pytest.mark.xdist_group("go")]


def link(folder: Path, source: str, *flags: str) -> Path:
    (folder / "program.c").write_text(source)
    command = ["gcc", *flags, "-o", "program", "program.c"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "program"


def test_a_hardened_program_shows_everything(tmp_path: Path) -> None:
    facts = read_binary(link(tmp_path, MAIN, *HARD))
    assert (facts.executable, facts.dynamic, facts.pie, facts.relro, facts.bind_now, facts.nx) == (True,) * 6
    assert (facts.textrel, facts.writable_code, facts.undefined_go, facts.go) == (False, False, (), None)
    assert facts.machine in {"x86_64", "aarch64", "ppc64", "s390", "riscv"}
    assert judge(facts, "1.26") == ()


@pytest.mark.parametrize(
    ("flags", "finding"),
    [
        (("-no-pie", "-Wl,-z,relro", "-Wl,-z,now"), "not-pie"),
        (("-fPIE", "-pie", "-Wl,-z,norelro", "-Wl,-z,now"), "no-relro"),
        (("-fPIE", "-pie", "-Wl,-z,relro", "-Wl,-z,lazy"), "no-bind-now"),
        ((*HARD, "-Wl,-z,execstack"), "executable-stack"),
    ],
)
def test_each_protection_that_is_missing_is_seen(
    tmp_path: Path, flags: tuple[str, ...], finding: str
) -> None:
    assert [found.id for found in judge(read_binary(link(tmp_path, MAIN, *flags)), "")] == [finding]


def test_text_relocations_are_seen(tmp_path: Path) -> None:
    facts = read_binary(link(tmp_path, TEXT_RELOCATION, *HARD, "-Wl,-z,notext"))
    assert facts.textrel
    assert [found.id for found in judge(facts, "")] == ["textrel"]


def test_undefined_go_symbols_are_told_from_others(tmp_path: Path) -> None:
    # Go's external link exports symbols too; without it ld puts a zero in the place of the symbol.
    program = link(tmp_path, UNDEFINED, *HARD, "-rdynamic", "-Wl,-z,undefs")
    assert read_binary(program).undefined_go == ("example.com/app/vendor/jit.entry",)


def test_stripping_hides_nothing(tmp_path: Path) -> None:
    program = link(tmp_path, UNDEFINED, *HARD, "-rdynamic", "-Wl,-z,undefs")
    before = read_binary(program)
    subprocess.run(["strip", str(program)], check=True)
    assert read_binary(program) == before


def write_module(folder: Path) -> None:
    """A module with one vendored dependency, in the place where GOPATH mode finds it as well."""
    files = {
        "go.mod": "module example.com/app\n\ngo 1.22\n\nrequire example.com/dep v1.2.3\n",
        "main.go": 'package main\n\nimport "example.com/dep"\n\nfunc main() { println(dep.Answer()) }\n',
        "vendor/modules.txt": "# example.com/dep v1.2.3\n## explicit; go 1.22\nexample.com/dep\n",
        "vendor/example.com/dep/dep.go": "package dep\n\nfunc Answer() int { return 42 }\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@needs_go
def test_what_go_recorded_is_read_in_both_modes(tmp_path: Path) -> None:
    app = tmp_path / "gopath" / "src" / "example.com" / "app"
    write_module(app)
    environment = go_environment(tmp_path)
    module = environment | {"GO111MODULE": "on", "GOFLAGS": "-mod=vendor"}
    go_build(app, tmp_path / "module", ["-trimpath"], module)
    facts = read_binary(tmp_path / "module")
    assert facts.go is not None
    assert facts.go.version.startswith("go1.")
    assert (facts.go.main_module, facts.go.modules) == ("example.com/app", 1)
    assert facts.go.settings["-trimpath"] == "true"
    # Go 1.22 is what go.mod asks for, so its older defaults are as they should be.
    assert facts.go.godebug["tls3des"] == "1"
    assert "weak-godebug" not in [found.id for found in judge(facts, "1.22")]
    assert "weak-godebug" in [found.id for found in judge(facts, "1.26")]

    go_build(app, tmp_path / "gopath-mode", ["example.com/app"], environment | {"GO111MODULE": "off"})
    facts = read_binary(tmp_path / "gopath-mode")
    assert facts.go is not None
    assert (facts.go.main_module, facts.go.modules) == ("", 0)
    assert {"no-modules", "weak-godebug"} <= {found.id for found in judge(facts, "1.22")}


def test_what_is_no_elf_file_is_refused_in_one_line(tmp_path: Path) -> None:
    for text in (b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF" + bytes(200)):
        path = tmp_path / "odd"
        path.write_bytes(text)
        assert is_elf(path) is text.startswith(b"\x7fELF")
        with pytest.raises(BinaryUnreadable, match=r"^odd is not a readable ELF file: .+") as caught:
            read_binary(path)
        assert "\n" not in str(caught.value)


def test_broken_files_end_in_facts_or_in_a_refusal(tmp_path: Path) -> None:
    whole = link(tmp_path, UNDEFINED, *HARD, "-rdynamic", "-Wl,-z,undefs").read_bytes()
    noise = random.Random(8860)
    refused = 0
    for _ in range(300):
        broken = bytearray(whole[: noise.randrange(64, len(whole))] if noise.random() < 0.3 else whole)
        for _ in range(noise.randrange(1, 40)):
            broken[noise.randrange(0, min(len(broken), 2000))] = noise.randrange(256)
        path = tmp_path / "broken"
        path.write_bytes(broken)
        try:
            read_binary(path)
        except BinaryUnreadable:
            refused += 1
    assert refused > 50


def test_a_file_that_is_not_there_is_our_own_trouble(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_binary(tmp_path / "missing")
