"""Records the outcomes of proofs of workarounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from service.domain.proofs import Proved, Trial
from service.store.schema import RuleProof
from service.store.session import Database, database_now


def record_proofs(db: Database, proofs: Iterable[Proved], *, by: str) -> int:
    """Record the proofs of one run, all or none, and return their number. Commits.

    ``by`` is the person who asked for the run.
    """
    count = 0
    with db.transaction() as session:
        now = database_now(session)
        for proof in proofs:
            session.add(
                RuleProof(
                    rule=proof.row,
                    rule_sha256=proof.row_sha256,
                    go=proof.toolchain.go[:60],
                    linker=proof.toolchain.linker[:200],
                    compiler=proof.toolchain.compiler[:200],
                    machine=proof.toolchain.machine[:40],
                    simulates=proof.toolchain.simulates,
                    verdict=proof.verdict.value,
                    symptom=proof.without.symptom,
                    trials={"without": _stored(proof.without), "with": _stored(proof.with_row)},
                    proved_at=now,
                    proved_by=by[:100],
                )
            )
            count += 1
    return count


def _stored(trial: Trial) -> dict[str, Any]:
    """Return a trial as JSON that PostgreSQL accepts: a log may hold NUL, which its JSON cannot."""
    stored = dataclasses.asdict(trial)
    for key in ("log", "symptom"):
        stored[key] = stored[key].replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    return stored
