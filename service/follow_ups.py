"""Work that comes after a submission: ending what must not go on at the other side. Each public function commits,
except ``look_for_surplus``, whose caller does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from service.domain.planning import BuildTarget
from service.domain.reports import BuildRef
from service.domain.states import ENDED_BUILD, BuildState
from service.progress import take_lease
from service.store.schema import FollowUp, PackageBuild
from service.store.session import Database, database_now
from service.store.transitions import note_event
from service.work import target_of


@dataclass(frozen=True)
class SurplusWork:
    """A leased search for builds of one submission that must not go on. ``keep`` is the external id that we follow.

    ``given_up`` is the build that we followed and gave up without a confirmed cancel. ``settled`` is False while
    the build itself is still being submitted: then nothing may be cancelled.
    """

    id: int
    token: str
    tries: int
    build_id: int
    target: BuildTarget
    key: str
    fence: Mapping[str, Any]
    keep: str
    given_up: BuildRef | None
    settled: bool


def claim_follow_up(
    db: Database, follow_up_id: int, *, lease_seconds: float, max_tries: int
) -> SurplusWork | None:
    """Lease a search for surplus builds that is due; None if there is nothing to do.

    One whose tries are spent without an answer kills its worker, and ends here.
    """
    with db.transaction() as session:
        now = database_now(session)
        row = session.scalars(
            select(FollowUp)
            .where(
                FollowUp.id == follow_up_id,
                FollowUp.ended_at.is_(None),
                FollowUp.due_at <= now,
                or_(FollowUp.lease_until.is_(None), FollowUp.lease_until <= now),
            )
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        build = session.get_one(PackageBuild, row.build_id)
        if row.tries >= max_tries:
            _end(session, row, build, f"gave up after {row.tries} tries that ended without an answer", now)
            return None
        followed = build.external_id or ""
        given_up = build.state == BuildState.ERRORED and followed
        return SurplusWork(
            id=row.id,
            token=take_lease(row, now, lease_seconds),
            tries=row.tries,
            build_id=build.id,
            target=target_of(build),
            key=build.submission_key or "",
            fence=dict(build.fence or {}),
            keep="" if given_up else followed,
            given_up=BuildRef(build.system, build.project, followed) if given_up else None,
            settled=bool(followed) or build.state in ENDED_BUILD,
        )


def end_follow_up(db: Database, work: SurplusWork, outcome: str) -> None:
    """Close a follow-up with one line on what it came to; the line also goes into the build's history."""
    with db.transaction() as session:
        row = session.scalars(
            select(FollowUp)
            .where(FollowUp.id == work.id, FollowUp.lease_token == work.token)
            .with_for_update()
        ).one_or_none()
        if row is None:
            return
        build = session.get_one(PackageBuild, row.build_id)
        _end(session, row, build, outcome, database_now(session))


def _end(session: Session, row: FollowUp, build: PackageBuild, outcome: str, now: datetime) -> None:
    row.outcome = outcome
    row.ended_at = now
    row.due_at = None
    row.lease_token = None
    row.lease_until = None
    note_event(session, build, at=now, kind="submission", text=outcome)


def look_for_surplus(session: Session, build: PackageBuild, now: datetime, *, delay_seconds: float) -> None:
    """Have somebody look for builds of this submission that must not go on. The caller commits."""
    count = session.scalar(
        select(func.count())
        .select_from(FollowUp)
        .where(FollowUp.build_id == build.id, FollowUp.kind == "surplus")
    )
    due = now + timedelta(seconds=delay_seconds)
    session.add(FollowUp(build_id=build.id, kind="surplus", subject=str(count or 0), due_at=due))


def postpone_follow_up(
    db: Database, work: SurplusWork, *, delay_seconds: float, spend_try: bool = True
) -> None:
    """Give a follow-up back, due again later. Trouble of the other side spends no try (``spend_try=False``)."""
    with db.transaction() as session:
        row = session.scalars(
            select(FollowUp)
            .where(FollowUp.id == work.id, FollowUp.lease_token == work.token)
            .with_for_update()
        ).one_or_none()
        if row is not None:
            row.due_at = database_now(session) + timedelta(seconds=delay_seconds)
            row.lease_token = None
            row.lease_until = None
            if not spend_try:
                row.tries = max(row.tries - 1, 0)
