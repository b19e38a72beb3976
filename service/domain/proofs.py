"""Whether a workaround is still needed and still cures: what a proof tries, and what its outcome means. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from service.domain.binaries import Finding


class Scenario(StrEnum):
    """The programs that a proof can link; each is generated, and has the trouble of a real package in small."""

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
    """What a row is worth with one toolchain."""

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
    """How a row is proved: a scenario, the rows that stand beside it in both trials, and how far it must run."""

    scenario: Scenario
    reach: Reach
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One program as it was linked and run.

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
    """What a proof was tried with. ``simulates`` names a toolchain fact that was played by linker flags."""

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
    """What one row of the table is worth with one toolchain. ``row_sha256`` is of the row as it was proved."""

    row: str
    row_sha256: str
    toolchain: Toolchain
    verdict: Verdict
    without: Trial
    with_row: Trial


def in_words(
    linked: bool, symptom: str, started: bool, called: bool | None, findings: Collection[str]
) -> str:
    """A trial in a few words; ``findings`` are ids."""
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
    """What two trials say of a row: one without it, one with it and else the same.

    A program that does not link, and whose log shows no symptom of the row, says nothing about the row.
    """
    if not without.linked and not without.symptom:
        return Verdict.UNTRIED
    trouble = not is_well(without, reach=reach, free_of=free_of)
    cured = is_well(with_row, reach=reach, free_of=free_of)
    if trouble:
        return Verdict.CURES if cured else Verdict.NEEDED
    return Verdict.NO_LONGER_NEEDED if cured else Verdict.WORSE


def may_be_retired(verdicts: Collection[Verdict]) -> bool:
    """Whether no toolchain that the row was tried with needs it; False where none was tried."""
    useless = {Verdict.NO_LONGER_NEEDED, Verdict.WORSE}
    return bool(verdicts) and all(each in useless for each in verdicts)
