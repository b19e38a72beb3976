"""Diagnose failed chroots: find the cause in their stored logs, then decide about a remedy for the build."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.board.logs import StoredLog, stored_log
from service.builds.follow_ups import DIAGNOSE, LOGS, Done, FollowUpWork, NotYet, add_follow_up
from service.domain.diagnosis import Verdict, best_verdict, diagnose
from service.domain.states import LIVE_BUILD
from service.logs.store import LogGone, StoreUnavailable
from service.results.diagnoses import write_diagnosis
from service.results.remedies import settle_remedy
from service.store.schema import ChrootBuild, FollowUp, PackageBuild
from service.store.transitions import note_event
from workers.context import Context

REMEDY = "remedy"
"""The subject of the follow-up that decides about a remedy, once every failed chroot has been read."""
READ_ORDER = ("builder", "source", "root", "backend")
REASON = "reason"
"""The kind that stands for the build system's own message, read where no log could be fetched."""


def read_for_cause(ctx: Context, work: FollowUpWork) -> Done:
    """Follow-up: diagnose one chroot from its logs, or decide about a remedy for the build. Raises NotYet."""
    if work.subject == REMEDY:
        return _remedy(ctx, work)
    causes = ctx.catalog.causes
    verdicts = [(kind, diagnose(lines, causes)) for kind, lines in _logs(ctx, work)]
    log, verdict = best_verdict(verdicts, causes)

    def record(session: Session, build: PackageBuild, now: datetime) -> None:
        session.refresh(build, with_for_update=True)
        write_diagnosis(session, build, now, chroot=work.subject, log=log, verdict=verdict, causes=causes)
        add_follow_up(session, build, DIAGNOSE, REMEDY, due_at=now)

    return Done(_told(log, verdict), record)


def remark_on_success(ctx: Context, work: FollowUpWork) -> str:
    """Return what the rules for successes find in a succeeded chroot's logs, in one line, or empty. Raises NotYet.

    A log says less than an RPM; it is read where there is no RPM to look at.
    """
    causes = ctx.catalog.causes
    for _, lines in _logs(ctx, work):
        verdict = diagnose(lines, causes, succeeded=True)
        if verdict.rule:
            return verdict.cause
    return ""


def _told(log: str, verdict: Verdict) -> str:
    lines = [str(line.number) for line in verdict.excerpt if line.decisive]
    where = f" ({log}, line {', '.join(lines[:3])})" if lines else ""
    return f"{verdict.cause}{where}"


def _logs(ctx: Context, work: FollowUpWork) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield the kind and lines of each stored log of this chroot in READ_ORDER, then the build system's message."""
    with ctx.db.reader() as session:
        stored = [
            found
            for kind in READ_ORDER
            if (found := stored_log(session, work.build_id, work.subject, kind)) is not None
        ]
        build = session.get_one(PackageBuild, work.build_id)
        chroot = session.scalars(
            select(ChrootBuild.reason).where(
                ChrootBuild.build_id == work.build_id, ChrootBuild.chroot == work.subject
            )
        ).one_or_none()
        said = f"{chroot or ''}\n{build.reason}"
    for one in stored:
        yield one.row.kind, _lines(ctx, one)
    yield REASON, iter(said.split("\n"))


def _lines(ctx: Context, log: StoredLog) -> Iterator[str]:
    """Yield the lines of a stored log, numbered as on its page; one block is in memory at a time."""
    try:
        for line in log.open(ctx.logs).raw_lines(1, log.row.lines):
            yield line.decode("utf-8", "replace").rstrip("\r\n")
    except LogGone as error:
        raise NotYet(str(error), spend_try=not isinstance(error, StoreUnavailable)) from error


def _remedy(ctx: Context, work: FollowUpWork) -> Done:
    with ctx.db.reader() as session:
        live = session.get_one(PackageBuild, work.build_id).state in LIVE_BUILD
        unread = session.scalars(
            select(FollowUp.id).where(
                FollowUp.build_id == work.build_id, FollowUp.kind.in_((LOGS, DIAGNOSE)),
                FollowUp.ended_at.is_(None), FollowUp.id != work.id,
            )
        ).first()  # fmt: skip
    if live or unread:
        raise NotYet("", retry_after=ctx.settings.poll_seconds, spend_try=False)

    def record(session: Session, build: PackageBuild, now: datetime) -> None:
        told = settle_remedy(session, ctx.catalog, build, at=now)
        note_event(session, build, at=now, kind=REMEDY, text=told)

    return Done("every failed chroot was read", record)
