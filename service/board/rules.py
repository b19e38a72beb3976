"""Reads the catalogue's workarounds with the latest verdict of their proofs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.catalog import Catalog, Workaround
from service.domain.proofs import Toolchain, Verdict, may_be_retired
from service.store.schema import RuleProof

StoredTrial = Mapping[str, Any]
"""A ``service.domain.proofs.Trial`` as it came out of JSON."""


@dataclass(frozen=True)
class ProofRow:
    """The latest proof of one row with one toolchain.

    ``stale`` says that the row has changed since. ``without`` and ``with_row`` have the keys of a trial.
    """

    toolchain: Toolchain
    verdict: Verdict
    symptom: str
    proved_at: datetime
    proved_by: str
    stale: bool
    without: StoredTrial
    with_row: StoredTrial


@dataclass(frozen=True)
class RuleRow:
    """A workaround and its latest proof for each toolchain, newest first."""

    rule: Workaround
    proofs: tuple[ProofRow, ...]

    @property
    def may_be_retired(self) -> bool:
        """Whether no toolchain needs the row as it is today, of those that it was tried with."""
        return may_be_retired([proof.verdict for proof in self.proofs if not proof.stale])


def rules(session: Session, catalog: Catalog) -> tuple[RuleRow, ...]:
    """Return every workaround of the catalogue in its order, with its latest proofs."""
    p = RuleProof
    newest = select(func.max(p.id)).group_by(p.rule, p.go, p.linker, p.machine, p.simulates)
    found: dict[str, list[RuleProof]] = {}
    for proof in session.scalars(select(p).where(p.id.in_(newest)).order_by(p.id.desc())):
        found.setdefault(proof.rule, []).append(proof)
    return tuple(
        RuleRow(rule, tuple(_proof(proof, rule.sha256) for proof in found.get(rule.id, ())))
        for rule in catalog.workarounds
    )


def _proof(stored: RuleProof, sha256: str) -> ProofRow:
    return ProofRow(
        toolchain=Toolchain(
            stored.go, stored.linker, stored.compiler, stored.machine, simulates=stored.simulates
        ),
        verdict=Verdict(stored.verdict),
        symptom=stored.symptom,
        proved_at=stored.proved_at,
        proved_by=stored.proved_by,
        stale=stored.rule_sha256 != sha256,
        without=stored.trials["without"],
        with_row=stored.trials["with"],
    )
