"""The tables of causes: what failed logs say, the names that people gave, the remedies that were tried."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.domain.causes import Fault, RemedyKind, RemedyPolicy, Retry
from service.store.base import Base, Id, Json, in_sql
from service.store.columns import UtcTime, Words


class Diagnosis(Base):
    """What the logs of one chroot (or of the source step) say.

    ``rule`` is empty while no rule and no person knows the cause: ``fingerprint`` then names its cluster. A rule that
    a person made is ``named-<id>``. ``excerpt`` is ``[number, text, decides]`` of each line, ``also`` more rules.
    """

    __tablename__ = "diagnoses"
    __table_args__ = (
        UniqueConstraint("build_id", "chroot"),
        Index("ix_diagnoses_rule", "rule", "id"),
        Index("ix_diagnoses_cluster", "fingerprint", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    log: Mapped[str] = mapped_column(String(12), default="")
    rule: Mapped[str] = mapped_column(String(60), default="")
    cause: Mapped[str] = mapped_column(Words)
    advice: Mapped[str] = mapped_column(Words, default="")
    fingerprint: Mapped[str] = mapped_column(String(16), default="")
    section: Mapped[str] = mapped_column(String(40), default="")
    excerpt: Mapped[list[Any]] = mapped_column(Json, default=list)
    also: Mapped[list[str]] = mapped_column(Json, default=list)
    lines: Mapped[int] = mapped_column(Integer, default=0)
    at: Mapped[datetime] = mapped_column(UtcTime)


class NamedCause(Base):
    """A name that a person gave to a cluster: a rule, applied to every log of that fingerprint from then on."""

    __tablename__ = "named_causes"
    __table_args__ = (
        UniqueConstraint("fingerprint"),
        CheckConstraint(in_sql("fault", Fault), name="fault"),
        CheckConstraint(in_sql("retry", Retry), name="retry"),
        CheckConstraint("cause <> '' AND why <> '' AND named_by <> ''", name="says_who_and_why"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(16))
    cause: Mapped[str] = mapped_column(Words)
    advice: Mapped[str] = mapped_column(Words, default="")
    reference: Mapped[str] = mapped_column(Words, default="")
    fault: Mapped[str] = mapped_column(String(16))
    retry: Mapped[str] = mapped_column(String(8))
    why: Mapped[str] = mapped_column(Words)
    named_by: Mapped[str] = mapped_column(String(100))
    named_at: Mapped[datetime] = mapped_column(UtcTime)


class AppliedRemedy(Base):
    """What was decided once about the remedy of a failed build; ``attempt_id`` is the build that it became.

    One row a failed build, and one an attempt: no remedy is applied twice. No attempt where it was only suggested.
    """

    __tablename__ = "remedies"
    __table_args__ = (
        UniqueConstraint("failed_id"),
        UniqueConstraint("attempt_id"),
        CheckConstraint(in_sql("kind", RemedyKind), name="kind"),
        CheckConstraint(in_sql("policy", (RemedyPolicy.AUTO, RemedyPolicy.SUGGEST)), name="policy"),
        CheckConstraint("(policy = 'auto') = (attempt_id IS NOT NULL)", name="applied_has_attempt"),
        CheckConstraint("attempt_id IS NULL OR attempt_id <> failed_id", name="not_of_itself"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    failed_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    attempt_id: Mapped[int | None] = mapped_column(ForeignKey("package_builds.id"))
    rule: Mapped[str] = mapped_column(String(60))
    kind: Mapped[str] = mapped_column(String(12))
    policy: Mapped[str] = mapped_column(String(8))
    strategy: Mapped[str] = mapped_column(String(20), default="")
    reason: Mapped[str] = mapped_column(Words)
    at: Mapped[datetime] = mapped_column(UtcTime)
