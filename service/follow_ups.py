"""Work that comes after a submission: looking for surplus twins. Each function commits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import or_, select

from service.domain.planning import BuildTarget
from service.domain.states import ENDED_BUILD
from service.progress import take_lease
from service.store.schema import FollowUp, PackageBuild
from service.store.session import Database, database_now
from service.store.transitions import note_event
from service.work import target_of


@dataclass(frozen=True)
class SurplusWork:
    """A leased search for twins of one submission. ``keep`` is the external id that we follow.

    ``settled`` is False while the build itself is still being submitted: then nothing may be cancelled.
    """

    id: int
    token: str
    tries: int
    build_id: int
    target: BuildTarget
    key: str
    fence: Mapping[str, Any]
    keep: str
    settled: bool


def claim_follow_up(db: Database, follow_up_id: int, *, lease_seconds: float) -> SurplusWork | None:
    """Lease a search for surplus twins that is due; None if there is nothing to do."""
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
        return SurplusWork(
            id=row.id,
            token=take_lease(row, now, lease_seconds),
            tries=row.tries,
            build_id=build.id,
            target=target_of(build),
            key=build.submission_key or "",
            fence=dict(build.fence or {}),
            keep=build.external_id or "",
            settled=bool(build.external_id) or build.state in ENDED_BUILD,
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
        now = database_now(session)
        row.outcome = outcome
        row.ended_at = now
        row.due_at = None
        row.lease_token = None
        row.lease_until = None
        build = session.get_one(PackageBuild, row.build_id)
        note_event(session, build, at=now, kind="submission", text=outcome)


def postpone_follow_up(db: Database, work: SurplusWork, *, delay_seconds: float) -> None:
    """Give a follow-up back, due again later."""
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
