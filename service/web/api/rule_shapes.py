"""The shapes of the workarounds' answers: each row with what its proofs found."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from service import board
from service.domain.proofs import in_words
from service.web.api.schemas import Shape, WorkaroundShape
from service.web.api.shapes import workaround_shape


class ProofShape(Shape):
    """The latest proof of a row with one toolchain."""

    go: str
    linker: str
    compiler: str
    machine: str
    simulates: str = Field(description="A fact of other toolchains that linker flags played; empty if none.")
    verdict: str = Field(
        description="cures, needed (but not cured), no longer needed, makes it worse or could not be tried."
    )
    symptom: str = Field(description="The line of the log that shows the trouble without the row.")
    without_row: str = Field(description="What became of the program without the row, in a few words.")
    with_row: str = Field(description="What became of the program with the row, in a few words.")
    stale: bool = Field(description="The row has changed since: the proof says nothing of it as it is now.")
    proved_at: datetime


class ProvedWorkaround(WorkaroundShape):
    """One workaround with its latest proofs."""

    proofs: list[ProofShape]
    may_be_retired: bool = Field(description="No toolchain that the row was tried with needs it.")


class ProvedWorkarounds(Shape):
    """In the order of the table."""

    items: list[ProvedWorkaround]
    next: str | None = None


def proved_workaround(row: board.RuleRow) -> ProvedWorkaround:
    """One workaround of the catalogue with its latest proofs."""
    return ProvedWorkaround(
        **workaround_shape(row.rule).model_dump(),
        proofs=[proof_shape(proof) for proof in row.proofs],
        may_be_retired=row.may_be_retired,
    )


def proof_shape(proof: board.ProofRow) -> ProofShape:
    """One proof; its trials in a few words each."""
    chain = proof.toolchain
    return ProofShape(
        go=chain.go,
        linker=chain.linker,
        compiler=chain.compiler,
        machine=chain.machine,
        simulates=chain.simulates,
        verdict=proof.verdict.value,
        symptom=proof.symptom,
        without_row=trial_words(proof.without),
        with_row=trial_words(proof.with_row),
        stale=proof.stale,
        proved_at=proof.proved_at,
    )


def trial_words(trial: board.StoredTrial) -> str:
    """A stored trial in a few words."""
    findings = [str(finding["id"]) for finding in trial["findings"]]
    return in_words(trial["linked"], trial["symptom"], trial["started"], trial["called"], findings)
