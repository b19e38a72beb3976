"""Reads causes of failures: the diagnoses of one build, and how often each cause was met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.catalog import Catalog
from service.domain.diagnosis import Cause
from service.store.schema import AppliedRemedy, Diagnosis, NamedCause, PackageBuild

CLUSTERS_SHOWN = 100
NAMED = "named-"


@dataclass(frozen=True)
class ExcerptRow:
    """One line of an excerpt: its number in the log from 1, and whether it decides."""

    number: int
    text: str
    decisive: bool


@dataclass(frozen=True)
class DiagnosisRow:
    """The diagnosis of one chroot. ``rule`` is empty for an unknown cause, whose cluster is ``fingerprint``.

    ``fault`` and ``retry`` are empty where the cause is unknown or its rule is gone from the catalogue.
    """

    chroot: str
    log: str
    rule: str
    cause: str
    advice: str
    reference: str
    fault: str
    retry: str
    fingerprint: str
    section: str
    excerpt: tuple[ExcerptRow, ...]
    also: tuple[str, ...]
    lines: int
    at: datetime


@dataclass(frozen=True)
class RemedyRow:
    """The remedy decided for a failed build: ``attempt_id`` is the build that it became, None for a suggestion."""

    failed_id: int
    attempt_id: int | None
    rule: str
    kind: str
    strategy: str
    reason: str
    at: datetime


@dataclass(frozen=True)
class Counts:
    """How often a cause was met: chroots and builds, and when last."""

    chroots: int = 0
    builds: int = 0
    last_at: datetime | None = None


@dataclass(frozen=True)
class CauseRuleRow:
    """One rule with how often it matched. ``named_by`` and ``why`` are set for those that people made."""

    id: str
    cause: str
    advice: str
    reference: str
    fault: str
    retry: str
    remedy: str
    counts: Counts
    fingerprint: str = ""
    named_by: str = ""
    why: str = ""


@dataclass(frozen=True)
class ClusterRow:
    """Failures of one unknown cause: how many, on which branches, and the newest build of them."""

    fingerprint: str
    cause: str
    counts: Counts
    branches: tuple[str, ...]
    packages: tuple[str, ...]
    build_id: int
    first_at: datetime


@dataclass(frozen=True)
class Causes:
    """All known causes: clusters without a name, newest first; people's rules; the catalogue's in their order."""

    clusters: tuple[ClusterRow, ...]
    named: tuple[CauseRuleRow, ...]
    rules: tuple[CauseRuleRow, ...]


def diagnoses_of(session: Session, catalog: Catalog, build_id: int) -> tuple[DiagnosisRow, ...]:
    """Return the diagnoses of a build, by chroot."""
    rows = session.scalars(
        select(Diagnosis).where(Diagnosis.build_id == build_id).order_by(Diagnosis.chroot)
    ).all()
    rules = {cause.id: cause for cause in catalog.causes}
    named = _named(session, [row.rule for row in rows])
    return tuple(_diagnosis(row, rules.get(row.rule), named.get(row.rule)) for row in rows)


def remedies_of(session: Session, build_id: int) -> tuple[RemedyRow | None, RemedyRow | None]:
    """Return the remedy of a build's failure, and the remedy that the build itself is; None where there is none."""
    found = session.scalars(
        select(AppliedRemedy).where(
            (AppliedRemedy.failed_id == build_id) | (AppliedRemedy.attempt_id == build_id)
        )
    ).all()
    rows = [
        RemedyRow(row.failed_id, row.attempt_id, row.rule, row.kind, row.strategy, row.reason, row.at)
        for row in found
    ]
    of_failure = next((row for row in rows if row.failed_id == build_id), None)
    return of_failure, next((row for row in rows if row.attempt_id == build_id), None)


def list_causes(session: Session, catalog: Catalog) -> Causes:
    """Return every rule with its counts, and the clusters that have no name yet."""
    d = Diagnosis
    counted = session.execute(
        select(d.rule, func.count(), func.count(d.build_id.distinct()), func.max(d.at))
        .where(d.rule != "")
        .group_by(d.rule)
    )
    counts = {rule: Counts(chroots, builds, last) for rule, chroots, builds, last in counted}
    named = session.scalars(select(NamedCause).order_by(NamedCause.id.desc())).all()
    return Causes(
        clusters=_clusters(session),
        named=tuple(_named_rule(row, counts.get(f"{NAMED}{row.id}", Counts())) for row in named),
        rules=tuple(_rule(cause, counts.get(cause.id, Counts())) for cause in catalog.causes),
    )


def cluster_of(session: Session, fingerprint: str) -> ClusterRow | None:
    """Return one cluster of unknown failures, or None where there is none, or where it has a name."""
    return next(iter(_clusters(session, fingerprint)), None)


def _clusters(session: Session, only: str | None = None) -> tuple[ClusterRow, ...]:
    d, b = Diagnosis, PackageBuild
    wanted = (d.rule == "",) if only is None else (d.rule == "", d.fingerprint == only)
    rows = session.execute(
        select(
            d.fingerprint, func.count().label("chroots"), func.count(d.build_id.distinct()).label("builds"),
            func.max(d.at).label("last_at"), func.min(d.at).label("first_at"), func.max(d.id).label("newest"),
        )
        .where(*wanted)
        .group_by(d.fingerprint)
        .order_by(func.max(d.id).desc())
        .limit(CLUSTERS_SHOWN)
    ).all()  # fmt: skip
    prints = [row.fingerprint for row in rows]
    places = session.execute(
        select(d.fingerprint, b.branch, b.package)
        .join(b, b.id == d.build_id)
        .where(d.rule == "", d.fingerprint.in_(prints))
        .distinct()
    ).all()
    newest = {
        row.id: row
        for row in session.execute(
            select(d.id, d.cause, d.build_id).where(d.id.in_([row.newest for row in rows]))
        )
    }
    return tuple(
        ClusterRow(
            fingerprint=row.fingerprint,
            cause=newest[row.newest].cause,
            counts=Counts(row.chroots, row.builds, row.last_at),
            branches=_of(places, row.fingerprint, 1),
            packages=_of(places, row.fingerprint, 2),
            build_id=newest[row.newest].build_id,
            first_at=row.first_at,
        )
        for row in rows
    )


def _of(places: Iterable[Any], fingerprint: str, column: int) -> tuple[str, ...]:
    return tuple(sorted({place[column] for place in places if place[0] == fingerprint}))


def _named(session: Session, rules: Iterable[str]) -> Mapping[str, NamedCause]:
    ids = [int(rule.removeprefix(NAMED)) for rule in rules if rule.startswith(NAMED)]
    if not ids:
        return {}
    found = session.scalars(select(NamedCause).where(NamedCause.id.in_(ids)))
    return {f"{NAMED}{row.id}": row for row in found}


def _diagnosis(row: Diagnosis, rule: Cause | None, named: NamedCause | None) -> DiagnosisRow:
    known = named or rule
    return DiagnosisRow(
        chroot=row.chroot,
        log=row.log,
        rule=row.rule,
        cause=row.cause,
        advice=row.advice,
        reference=known.reference if known else "",
        fault=str(known.fault) if known else "",
        retry=str(known.retry) if known else "",
        fingerprint=row.fingerprint,
        section=row.section,
        excerpt=tuple(ExcerptRow(int(line[0]), str(line[1]), bool(line[2])) for line in row.excerpt),
        also=tuple(row.also),
        lines=row.lines,
        at=row.at,
    )


def _rule(cause: Cause, counts: Counts) -> CauseRuleRow:
    remedy = cause.remedy
    told = "" if remedy is None else f"{remedy.kind} {remedy.strategy or remedy.minutes or ''}".strip()
    return CauseRuleRow(
        cause.id, cause.cause, cause.advice, cause.reference, cause.fault.value, cause.retry.value, told, counts
    )  # fmt: skip


def _named_rule(row: NamedCause, counts: Counts) -> CauseRuleRow:
    return CauseRuleRow(
        id=f"{NAMED}{row.id}",
        cause=row.cause,
        advice=row.advice,
        reference=row.reference,
        fault=row.fault,
        retry=row.retry,
        remedy="",
        counts=counts,
        fingerprint=row.fingerprint,
        named_by=row.named_by,
        why=row.why,
    )
