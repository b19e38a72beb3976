"""Record the diagnoses of failed chroots, and the names that people give to clusters of unknown causes.

Functions that take a session are part of the caller's transaction; the others commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.access.audit import note_audit
from service.domain.diagnosis import Cause, Fault, Retry, Verdict
from service.domain.errors import CommandRefused, NotFound
from service.store.schema import Diagnosis, NamedCause, PackageBuild
from service.store.session import Database, database_now

NAMED = "named-"
"""The beginning of rule ids that people made; no rule of a catalogue may begin so."""
TEXT_LIMIT = 300


@dataclass(frozen=True)
class Named:
    """The rule that a cluster's name became, and how many diagnoses got it at once."""

    rule: str
    diagnoses: int
    sentence: str


def write_diagnosis(
    session: Session,
    build: PackageBuild,
    now: datetime,
    *,
    chroot: str,
    log: str,
    verdict: Verdict,
    causes: Sequence[Cause],
) -> Diagnosis:
    """Record the diagnosis of one chroot, in place of an earlier one, and the build's cause.

    An unknown failure whose cluster has a name gets that name. The build's row must be locked; the caller commits.
    """
    row = session.scalars(
        select(Diagnosis).where(Diagnosis.build_id == build.id, Diagnosis.chroot == chroot)
    ).one_or_none()
    if row is None:
        row = Diagnosis(build_id=build.id, chroot=chroot)
        session.add(row)
    row.log = log
    row.rule, row.cause, row.advice = verdict.rule, verdict.cause, verdict.advice
    row.fingerprint = verdict.fingerprint
    row.section = verdict.section
    row.excerpt = [[line.number, line.text, line.decisive] for line in verdict.excerpt]
    row.also = list(verdict.also)
    row.lines = verdict.lines
    row.at = now
    if not verdict.rule:
        named = session.scalars(
            select(NamedCause).where(NamedCause.fingerprint == verdict.fingerprint)
        ).one_or_none()
        if named is not None:
            _apply(row, named)
    session.flush()
    build.cause = cause_of(session, build.id, causes)
    return row


def cause_of(session: Session, build_id: int, causes: Sequence[Cause]) -> str:
    """Return a build's cause in one line, by ``rank_first`` among its chroots; empty where nothing was diagnosed."""
    rows = session.scalars(
        select(Diagnosis).where(Diagnosis.build_id == build_id).order_by(Diagnosis.chroot)
    ).all()
    return rank_first(rows, causes).cause if rows else ""


def rank_first(rows: Sequence[Diagnosis], causes: Sequence[Cause]) -> Diagnosis:
    """Return the diagnosis that counts for a build: by the catalogue's first rule, then a named cause, then unknown."""
    rank = {cause.id: at for at, cause in enumerate(causes)}
    last = len(rank)
    return min(rows, key=lambda row: rank.get(row.rule, last if row.rule else last + 1))


def name_cluster(
    db: Database,
    fingerprint: str,
    *,
    cause: str,
    why: str,
    by: str,
    advice: str = "",
    reference: str = "",
    fault: Fault = Fault.PACKAGE,
    retry: Retry = Retry.NO,
    rename: bool = True,
    address: str = "",
) -> Named:
    """Name a cluster of unknown failures, which makes a new rule that is applied at once and from then on. Commits.

    Naming it again changes the name; with ``rename`` off that is refused. Raises NotFound for an unknown cluster, and
    CommandRefused for texts that are missing, too long or not one line.
    """
    for what, text, needed in (("cause", cause, True), ("why", why, True), ("advice", advice, False)):
        if (needed and not text.strip()) or len(text) > TEXT_LIMIT or not (text.isprintable() or not text):
            raise CommandRefused(f"the {what} must be one line of at most {TEXT_LIMIT} characters")
    if len(reference) > TEXT_LIMIT or not (reference.isprintable() or not reference):
        raise CommandRefused(f"the reference must be one line of at most {TEXT_LIMIT} characters")
    if reference and not reference.startswith(("https://", "http://")):
        raise CommandRefused("the reference must be an address that begins with https://")
    with db.transaction() as session:
        at = database_now(session)
        rows = session.scalars(
            select(Diagnosis)
            .where(Diagnosis.fingerprint == fingerprint)
            .order_by(Diagnosis.id)
            .with_for_update()
        ).all()
        named = session.scalars(select(NamedCause).where(NamedCause.fingerprint == fingerprint)).one_or_none()
        own = [row for row in rows if not row.rule or row.rule.startswith(NAMED)]
        if not own and named is None:
            raise NotFound(f"there is no cluster {fingerprint[:40]} of unknown failures")
        if named is not None and not rename:
            raise CommandRefused(f"it is named already, by {named.named_by}: {named.cause}")
        before = _shown(named) if named is not None else None
        if named is None:
            named = NamedCause(fingerprint=fingerprint)
            session.add(named)
        named.cause, named.advice, named.reference = cause.strip(), advice.strip(), reference.strip()
        named.fault, named.retry = fault.value, retry.value
        named.why, named.named_by, named.named_at = why.strip(), by[:100], at
        session.flush()
        unknown = {row.build_id: row.cause for row in own}
        for row in own:
            _apply(row, named)
        for build in session.scalars(select(PackageBuild).where(PackageBuild.id.in_(unknown))):
            # Where a known rule speaks for the build, it goes on doing so.
            if build.cause == unknown[build.id]:
                build.cause = named.cause
        sentence = f"cluster {fingerprint} is now: {named.cause} ({len(own)} chroots)"
        note_audit(
            session, at=at, by=by, action="cause.name", subject=f"cluster {fingerprint}", detail=sentence,
            address=address, before=before, after=_shown(named),
        )  # fmt: skip
        return Named(f"{NAMED}{named.id}", len(own), sentence)


def _apply(row: Diagnosis, named: NamedCause) -> None:
    row.rule = f"{NAMED}{named.id}"
    row.cause = named.cause
    row.advice = named.advice


def _shown(named: NamedCause) -> dict[str, str]:
    return {
        "cause": named.cause, "advice": named.advice, "reference": named.reference,
        "fault": named.fault, "retry": named.retry, "why": named.why, "named_by": named.named_by,
    }  # fmt: skip
