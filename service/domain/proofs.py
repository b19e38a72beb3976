"""Proofs of workarounds: what is tried with and without one, and what the outcome says of its need. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from service.domain.binaries import Finding


class Scenario(StrEnum):
    """The programs that a proof can link; each is generated and shows a real package's trouble in small."""

    LINKNAME = "linkname"
    OPTIONAL_LINKNAME = "optional-linkname"


SCENARIOS = {
    Scenario.LINKNAME: (
        "a vendored package that binds its assembly by the import path that it has outside of vendor/, as "
        "wazero does"
    ),
    Scenario.OPTIONAL_LINKNAME: "the same package, left out of the program under the row's build tag",
}


class Reach(StrEnum):
    """How far the built program must run: ``start`` prints a line, ``call`` also calls into the assembly."""

    START = "start"
    CALL = "call"


class Verdict(StrEnum):
    """What a proof says of one workaround with one toolchain; see MEANINGS."""

    CURES = "cures"
    NEEDED = "needed"
    NO_LONGER_NEEDED = "no longer needed"
    WORSE = "makes it worse"
    UNTRIED = "could not be tried"


MEANINGS = {
    Verdict.CURES: "The trouble is there without the row and gone with it.",
    Verdict.NEEDED: "The trouble is there without the row, but the row alone does not cure it.",
    Verdict.NO_LONGER_NEEDED: "There is no trouble, with the row or without it.",
    Verdict.WORSE: "There is no trouble without the row, and some with it.",
    Verdict.UNTRIED: "The program did not build for a reason that is not the row's trouble.",
}


@dataclass(frozen=True)
class Proof:
    """How a workaround is proved: a scenario, how far it must run, and the workarounds that both trials have."""

    scenario: Scenario
    reach: Reach
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One program as it was linked and run, without the workaround or with it.

    ``command`` is what was run, for people. ``symptom`` is the line of the log that a pattern of the row fits,
    empty if none does. ``log`` is the end of what the tools said. ``started`` and ``called`` are how far it
    ran; both are False where it did not link, and ``called`` is None where it has nothing to call. ``seconds``
    is wall time.
    """

    command: str
    linked: bool
    symptom: str = ""
    log: str = ""
    started: bool = False
    called: bool | None = False
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Toolchain:
    """The toolchain of a proof. ``simulates`` names a toolchain fact that linker flags stood in for."""

    go: str
    linker: str
    compiler: str
    machine: str
    simulates: str = ""

    def __str__(self) -> str:
        text = f"{self.go}, {self.linker}, {self.machine}"
        return f"{text}, simulated {self.simulates}" if self.simulates else text


@dataclass(frozen=True)
class Proved:
    """The outcome of one proof: a row of the table of workarounds, a toolchain, the verdict and both trials.

    ``row_sha256`` is of the row as it was proved.
    """

    row: str
    row_sha256: str
    toolchain: Toolchain
    verdict: Verdict
    without: Trial
    with_row: Trial


def in_words(
    linked: bool, symptom: str, started: bool, called: bool | None, findings: Collection[str]
) -> str:
    """Return a trial in a few words for people; ``findings`` are ids."""
    if not linked:
        return "does not link" if symptom else "does not link, for another reason"
    if not started:
        ran = "does not start"
    elif called is None:
        ran = "starts"
    else:
        ran = "starts and calls" if called else "starts, crashes when called"
    return f"links, {ran}" + (f" ({', '.join(findings)})" if findings else "")


def is_well(trial: Trial, *, reach: Reach, free_of: Collection[str]) -> bool:
    """Whether a program linked, ran as far as it must, and has none of the findings ``free_of`` (ids)."""
    ran = trial.called is True if reach is Reach.CALL else trial.started
    return trial.linked and ran and not any(finding.id in free_of for finding in trial.findings)


def verdict(without: Trial, with_row: Trial, *, reach: Reach, free_of: Collection[str]) -> Verdict:
    """Judge a workaround by two trials: one without it, and one with it and else the same.

    A program that does not link, and whose log shows no symptom of the workaround, says nothing about it: UNTRIED.
    """
    if not without.linked and not without.symptom:
        return Verdict.UNTRIED
    trouble = not is_well(without, reach=reach, free_of=free_of)
    cured = is_well(with_row, reach=reach, free_of=free_of)
    if trouble:
        return Verdict.CURES if cured else Verdict.NEEDED
    return Verdict.NO_LONGER_NEEDED if cured else Verdict.WORSE


def may_be_retired(verdicts: Collection[Verdict]) -> bool:
    """Whether none of the toolchains that a workaround was tried with needs it; False where none was tried."""
    useless = {Verdict.NO_LONGER_NEEDED, Verdict.WORSE}
    return bool(verdicts) and all(each in useless for each in verdicts)
