"""Each workaround proved with the Go and the linker at hand: linked without it, then with it, then run and read."""

from __future__ import annotations

import os
import re
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
from workers.proofs.programs import CALLED, GO_LINE, MACHINES, MODULE, NOTHING_TO_CALL, STARTED, write_module
from workers.proofs.toolchain import NoToolchain, describe, find_go, go_environment

# A cold build cache compiles Go's own library, which takes half a minute on two free cores.
LINK_SECONDS = 300.0
RUN_SECONDS = 20.0
LOG_LIMIT = 4000

# What redhat-rpm-config puts in front of a package's own linker flags, as far as every GNU ld since 2.38 knows it.
HARDENED = (
    "-Wl,-z,relro", "-Wl,--as-needed", "-Wl,-z,pack-relative-relocs", "-Wl,-z,now", "-Wl,--build-id=sha1",
)  # fmt: skip
_ASSIGNMENT = re.compile(r"GO111MODULE=(on|off)")


@dataclass(frozen=True)
class _Recipe:
    """What decides about a program: two rows that ask for the same one share it."""

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
    """Prove the rows (ids; all of them if none is named) with the toolchain of this machine.

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
        bench = _Bench(program, Path(name), cache or Path(name) / "cache", tell)
        return tuple(
            _prove_row(bench, catalog, row, fact, toolchain)
            for row in catalog.workarounds
            if row.id in wanted
            for fact in _variants(catalog, row)
        )


def _variants(catalog: Catalog, row: Workaround) -> list[ToolchainFact | None]:
    """The toolchains to try a row with: the real one (None), and those that flags can simulate.

    A row that needs facts is tried only where they hold. That the real linker has a fact of its own accord is
    not known, so a fact that needs no flags counts as not at hand.
    """
    simulated = [fact for fact in catalog.toolchain.values() if fact.simulate]
    if row.toolchain:
        return [fact for fact in simulated if {other.id for other in row.toolchain} <= {fact.id}]
    return [None, *simulated]


def _prove_row(
    bench: _Bench, catalog: Catalog, row: Workaround, fact: ToolchainFact | None, toolchain: Toolchain
) -> Proved:
    by_id = {other.id: other for other in catalog.workarounds}
    beside = [by_id[name] for name in row.proof.beside]
    simulate = fact.simulate if fact is not None else ()
    without, with_row = (
        bench.trial(_recipe(row, used, simulate)).seen_by(row) for used in (beside, [*beside, row])
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
    """A trial before a row has looked for its symptoms in the log."""

    trial: Trial
    log: str

    def seen_by(self, row: Workaround) -> Trial:
        return replace(self.trial, symptom=first_match(row.symptoms, self.log)[:500])


class _Bench:
    """Links and runs programs in a folder of its own; the same recipe only once."""

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
    """A command's status and what it said, both streams in order. Killed with its children when late."""
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
