"""The programs that proofs link: a few hundred bytes of Go and assembly with the trouble of a real package.

wazero's engine declares a Go function without a body and binds it by ``go:linkname`` to assembly of a package
that it names by its import path. Under GOPATH mode a vendored package has another path, ``…/vendor/…``, so that
the name is defined by nobody. The module here does the same with a function that adds one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.domain.proofs import Scenario

MODULE = "example.com/app"
# Old on purpose: its defaults are weak (see DefaultGODEBUG), so what GOPATH mode adds to them is seen apart.
GO_LINE = "1.22"
STARTED = "started"
CALLED = "returned 42"
NOTHING_TO_CALL = "nothing to call"

_ASSEMBLY = {
    "amd64": "\tMOVQ n+0(FP), AX\n\tINCQ AX\n\tMOVQ AX, ret+8(FP)\n\tRET\n",
    "arm64": "\tMOVD n+0(FP), R0\n\tADD $1, R0\n\tMOVD R0, ret+8(FP)\n\tRET\n",
}
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The machines that the assembly is written for, with Go's names for them."""

_MAIN = f"""package main

import "os"

// call is set by the file that the engine is linked by; without it the program has none.
var call func(int64) int64

func main() {{
	println("{STARTED}")
	if len(os.Args) == 1 {{
		return
	}}
	if call == nil {{
		println("{NOTHING_TO_CALL}")
		return
	}}
	println("returned", call(41))
}}
"""
_ENGINE = """package main

import "example.com/engine"

func init() { call = engine.Call }
"""
_CALLER = """package engine

import (
	_ "unsafe"

	_ "example.com/engine/isa"
)

//go:linkname entry example.com/engine/isa.entry
func entry(n int64) int64

// Call enters the assembly, as a WebAssembly engine enters the code that it has compiled.
func Call(n int64) int64 { return entry(n) }
"""
_DECLARED = "package isa\n\nfunc entry(n int64) int64\n\nvar _ = entry\n"


def write_module(gopath: Path, scenario: Scenario, build_tags: Sequence[str] = ()) -> Path:
    """Write the program of ``scenario`` below ``gopath``; the folder of its go.mod.

    It lies where GOPATH mode looks for it, and its go.mod and vendor/ serve module mode. Under
    ``optional-linkname`` any of ``build_tags`` leaves the engine out.
    """
    folder = gopath / "src" / MODULE
    engine = _ENGINE
    if scenario is Scenario.OPTIONAL_LINKNAME:
        engine = f"//go:build {' && '.join(f'!{tag}' for tag in build_tags)}\n\n{engine}"
    files = {
        "go.mod": f"module {MODULE}\n\ngo {GO_LINE}\n\nrequire example.com/engine v0.1.0\n",
        "main.go": _MAIN,
        "engine.go": engine,
        "vendor/modules.txt": (
            f"# example.com/engine v0.1.0\n## explicit; go {GO_LINE}\n"
            "example.com/engine\nexample.com/engine/isa\n"
        ),
        "vendor/example.com/engine/engine.go": _CALLER,
        "vendor/example.com/engine/isa/isa.go": _DECLARED,
        **{
            f"vendor/example.com/engine/isa/entry_{arch}.s": (
                '#include "textflag.h"\n\nTEXT ·entry(SB), NOSPLIT|NOFRAME, $0-16\n' + body
            )
            for arch, body in _ASSEMBLY.items()
        },
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
