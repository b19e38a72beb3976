"""How far builds have been shipped: what a look at their tags needs to know, and what it found. Says who commits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.builds.claims import take_lease
from service.builds.follow_ups import SHIPPED, FollowUpWork, Record, leased_row
from service.builds.observations import record_name
from service.domain.reports import BuildRef
from service.domain.shipping import Shipping, StageTags, fedora_tags
from service.store.options import target_of
from service.store.schema import FollowUp, PackageBuild
from service.store.session import Database, database_now
from service.store.transitions import note_event

LOOKS_AT_ONCE = 100


@dataclass(frozen=True)
class ShippedWork:
    """A build whose tags are to be read. ``moved_at`` is when it last moved: its end, or its stage's time."""

    work: FollowUpWork
    ref: BuildRef
    stages: StageTags
    moved_at: datetime
    now: datetime


def shipped_work(db: Database, work: FollowUpWork) -> ShippedWork:
    """What a look at the tags of one build needs. Reads only."""
    with db.reader() as session:
        return _work(session.get_one(PackageBuild, work.build_id), work, database_now(session))


def claim_alike(db: Database, first: ShippedWork, *, lease_seconds: float) -> list[ShippedWork]:
    """Lease the other builds of the same build system and project that are due, so that one look reads them together.

    Commits. One whose claims ended without an answer before is left to a look of its own.
    """
    f = FollowUp
    with db.transaction() as session:
        now = database_now(session)
        rows = session.execute(
            select(f, PackageBuild)
            .join(PackageBuild, PackageBuild.id == f.build_id)
            .where(
                f.kind == SHIPPED,
                f.ended_at.is_(None),
                f.due_at <= now,
                f.tries == 0,
                or_(f.lease_until.is_(None), f.lease_until <= now),
                PackageBuild.system == first.ref.system,
                PackageBuild.project == first.ref.project,
            )
            .order_by(f.due_at)
            .limit(LOOKS_AT_ONCE)
            .with_for_update(of=f, skip_locked=True)
        ).all()
        claimed = []
        for row, build in rows:
            token = take_lease(row, now, lease_seconds)
            work = FollowUpWork(
                row.id, token, row.kind, row.subject, row.tries, build.id, past_deadline=False
            )
            claimed.append(_work(build, work, now))
        return claimed


def _work(build: PackageBuild, work: FollowUpWork, now: datetime) -> ShippedWork:
    target = target_of(build)
    ended = build.ended_at or now
    return ShippedWork(
        work=work,
        ref=BuildRef(build.system, build.project, build.external_id or "", build.web_url),
        stages=target.stages or fedora_tags(target.branch.number),
        moved_at=max(ended, build.shipped_at or ended),
        now=now,
    )


def do_again(
    db: Database, work: FollowUpWork, text: str, *, delay_seconds: float, record: Record | None = None
) -> bool:
    """Give a follow-up back that went well and is never done with one time; ``text`` is shown meanwhile.

    ``record`` writes the findings in the same transaction. False: the lease was lost, nothing was written.
    """
    with db.transaction() as session:
        row = leased_row(session, work)
        if row is None:
            return False
        now = database_now(session)
        if record is not None:
            record(session, session.get_one(PackageBuild, row.build_id), now)
        row.outcome = text
        row.due_at = now + timedelta(seconds=delay_seconds)
        row.lease_token = None
        row.lease_until = None
        row.tries = 0
        return True


def stage_record(seen: Shipping, nvr: str) -> Record:
    """What writes a stage and the build's name down, each with a line of history where it is new.

    Whoever runs it commits.
    """

    def record(session: Session, build: PackageBuild, now: datetime) -> None:
        record_name(session, build, nvr, now)
        stage = seen.stage.value if seen.stage else ""
        if stage == build.shipped:
            return
        build.shipped = stage
        build.shipped_at = (seen.since or now) if stage else None
        # Where this look is the last one, the end of the follow-up writes the same line.
        if not seen.ended:
            note_event(session, build, at=now, kind=SHIPPED, text=seen.text)

    return record
