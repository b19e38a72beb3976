"""What the proofs of workarounds found, kept so that a rule can be retired."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from service.domain.proofs import Verdict
from service.store.base import Base, Id, Json, in_sql
from service.store.columns import UtcTime, Words


class RuleProof(Base):
    """One row of the table of workarounds tried with one toolchain; never changed.

    ``rule_sha256`` is of the row as it was proved, so that a changed row is seen to have no proof. ``simulates``
    is the toolchain fact that linker flags played, or empty. ``trials`` holds ``without`` and ``with``, each as
    ``service.domain.proofs.Trial`` in JSON.
    """

    __tablename__ = "rule_proofs"
    __table_args__ = (
        CheckConstraint(in_sql("verdict", Verdict), name="verdict"),
        Index("ix_rule_proofs_rule", "rule", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    rule: Mapped[str] = mapped_column(String(40))
    rule_sha256: Mapped[str] = mapped_column(String(64))
    go: Mapped[str] = mapped_column(String(60))
    linker: Mapped[str] = mapped_column(String(200))
    compiler: Mapped[str] = mapped_column(String(200))
    machine: Mapped[str] = mapped_column(String(40))
    simulates: Mapped[str] = mapped_column(String(40), default="")
    verdict: Mapped[str] = mapped_column(String(20))
    symptom: Mapped[str] = mapped_column(Words, default="")
    trials: Mapped[dict[str, Any]] = mapped_column(Json)
    proved_at: Mapped[datetime] = mapped_column(UtcTime)
    proved_by: Mapped[str] = mapped_column(String(100))
