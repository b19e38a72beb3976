"""The API's workarounds, each with what its proofs found."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from service import board
from service.catalog import Workaround
from service.catalog.model import OPEN_END
from service.domain.proofs import in_words
from service.web.access.auth import needs
from service.web.api.schemas import Shape
from service.web.base.parameters import Context
from service.web.base.problems import READ_PROBLEMS

router = APIRouter(prefix="/api/v1", dependencies=[needs("read")], responses=READ_PROBLEMS)


class WorkaroundShape(Shape):
    """One row of the catalogue's workarounds: when it applies, what it adds, and why."""

    id: str
    families: list[str]
    strategies: list[str]
    first_stream: str | None
    last_stream: str | None
    requires: list[str]
    first_branch: int | None
    last_branch: int | None
    macros: dict[str, str]
    linker_flags: list[str]
    build_tags: list[str]
    toolchain: list[str] = Field(description="Facts of a branch's compilers and linkers that must hold.")
    symptoms: list[str] = Field(description="Patterns of log lines that the row's trouble writes.")
    free_of: list[str] = Field(description="Findings that a binary built with the row lacks.")
    why: str
    reference: str


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


@router.get("/workarounds", response_model=ProvedWorkarounds, tags=["catalogue"])
def list_workarounds(context: Context) -> Any:
    """The workarounds that specs may carry, with their reasons and what their latest proofs found."""
    with context.db.reader() as session:
        found = board.rules(session, context.catalog)
    return {"items": [proved_workaround(row) for row in found], "next": None}


def proved_workaround(row: board.RuleRow) -> ProvedWorkaround:
    """Make the API's workaround with its latest proofs from the board's."""
    return ProvedWorkaround(
        **workaround_shape(row.rule).model_dump(),
        proofs=[proof_shape(proof) for proof in row.proofs],
        may_be_retired=row.may_be_retired,
    )


def workaround_shape(row: Workaround) -> WorkaroundShape:
    """Make the API's workaround; its branches are those on which its toolchain facts hold, too."""
    first_branch, last_branch = row.branch_range
    return WorkaroundShape(
        id=row.id,
        families=sorted(row.families),
        strategies=sorted(row.strategies),
        first_stream=str(row.streams.first) if row.streams.first else None,
        last_stream=str(row.streams.last) if row.streams.last else None,
        requires=sorted(row.requires),
        first_branch=first_branch or None,
        last_branch=last_branch if last_branch < OPEN_END else None,
        macros=dict(row.macros),
        linker_flags=list(row.linker_flags),
        build_tags=list(row.build_tags),
        toolchain=[fact.id for fact in row.toolchain],
        symptoms=list(row.symptoms),
        free_of=sorted(row.free_of),
        why=row.why,
        reference=row.reference,
    )


def proof_shape(proof: board.ProofRow) -> ProofShape:
    """Make the API's proof from the board's, its trials in a few words each."""
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
    """Describe a stored trial in a few words."""
    findings = [str(finding["id"]) for finding in trial["findings"]]
    return in_words(trial["linked"], trial["symptom"], trial["started"], trial["called"], findings)
