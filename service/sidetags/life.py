"""The life of a side tag: asked for, found again, looked at, removed. Each public function is one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.builds.claims import take_lease
from service.domain.reports import Fence
from service.domain.side_tags import Adoption, TagSeen, judge
from service.domain.states import SideTagState
from service.sidetags.turns import members_of, title_of
from service.store.schema import SideTag
from service.store.session import Database, database_now
from service.store.transitions import REASON_LIMIT, move_side_tag, note_side_tag


@dataclass(frozen=True)
class SideTagWork:
    """A claimed side tag as it was at the claim. ``title`` is for people."""

    id: int
    token: str
    state: SideTagState
    title: str
    system: str
    project: str
    base_target: str
    name: str
    fence: Mapping[str, Any]
    given_up: bool
    tries: int


def claim_side_tag(db: Database, side_tag_id: int, *, lease_seconds: float) -> SideTagWork | None:
    """Lease a side tag that is due; None if there is nothing to do."""
    with db.transaction() as session:
        now = database_now(session)
        tag = session.scalars(
            select(SideTag)
            .where(
                SideTag.id == side_tag_id,
                SideTag.state != SideTagState.REMOVED.value,
                SideTag.due_at <= now,
                or_(SideTag.lease_until.is_(None), SideTag.lease_until <= now),
            )
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if tag is None:
            return None
        token = take_lease(tag, now, lease_seconds)
        return _work(tag, token)


def begin_making(
    db: Database, work: SideTagWork, fence: Fence, *, lease_seconds: float, retry_seconds: float
) -> SideTagWork | None:
    """Write the intent down before the tag is asked for. None: it must not be.

    The lease was lost, or another side tag is being asked for at this hub: then it is due again a little later.
    """
    try:
        with db.transaction() as session:
            tag = _held(session, work)
            if tag is None:
                return None
            now = database_now(session)
            tag.fence = dict(fence)
            move_side_tag(
                session, tag, SideTagState.CREATING, at=now, reason="",
                due_at=now + timedelta(seconds=lease_seconds),
            )  # fmt: skip
            session.flush()
            return _work(tag, take_lease(tag, now, lease_seconds))
    except IntegrityError:
        later(db, work, "another side tag is being made at this hub", delay_seconds=retry_seconds)
        return None


def taken_names(db: Database, work: SideTagWork) -> frozenset[str]:
    """The names of all side tags that we ever had at this hub. Reads only."""
    with db.reader() as session:
        rows = session.scalars(
            select(SideTag.name).where(
                SideTag.system == work.system, SideTag.project == work.project, SideTag.name != ""
            )
        )
        return frozenset(rows)


def record_made(
    db: Database, work: SideTagWork, found: Adoption, *, adopted: bool, look_seconds: float
) -> bool:
    """Write down the tag that the hub gave us, or that was found. False: the lease was lost; it is found again."""
    with db.transaction() as session:
        tag = _held(session, work)
        if tag is None:
            return False
        now = database_now(session)
        tag.name = found.name
        tag.opened_at = tag.observed_at = now
        verb = "found, and taken" if adopted else "made"
        left = f"; left alone: {', '.join(found.others)}" if found.others else ""
        due = now + timedelta(seconds=look_seconds)
        _came_to(session, tag, SideTagState.OPEN, now, f"{found.name} was {verb}{left}", due_at=due)
        return True


def record_none(db: Database, work: SideTagWork, reason: str) -> bool:
    """Write down that certainly no tag was made: it is asked for again, unless a person gave it up."""
    with db.transaction() as session:
        tag = _held(session, work)
        if tag is None:
            return False
        now = database_now(session)
        _came_to(session, tag, SideTagState.WANTED, now, reason, due_at=now)
        return True


def hold_side_tag(db: Database, work: SideTagWork, reason: str) -> bool:
    """Let a side tag that was not made wait for a person."""
    with db.transaction() as session:
        tag = _held(session, work)
        if tag is None:
            return False
        _came_to(session, tag, SideTagState.HELD, database_now(session), reason, due_at=None)
        return True


def _came_to(
    session: Session,
    tag: SideTag,
    state: SideTagState,
    now: datetime,
    reason: str,
    *,
    due_at: datetime | None,
) -> None:
    """What the making came to; one that a person gave up meanwhile is given up in the same transaction.

    Open even for a moment, it would let a build in that is then removed with it; held, it would wait for nobody.
    """
    move_side_tag(session, tag, state, at=now, reason=reason, due_at=due_at)
    if tag.given_up_by:
        _give_up(session, tag, now)


def record_look(db: Database, work: SideTagWork, seen: TagSeen, *, look_seconds: float) -> bool:
    """Write down what was seen and what follows. True: the claim stays, and the tag must be removed now.

    A removal is intended here first and carried out by the next claim, which judges once more.
    """
    with db.transaction() as session:
        tag = _held(session, work)
        if tag is None:
            return False
        now = database_now(session)
        tag.observed_at = now
        if tag.given_up_by:
            return _after_give_up(session, tag, seen, now)
        found = judge(tag.name, seen, members_of(session, tag))
        if found.state is SideTagState.REMOVING and tag.state == SideTagState.REMOVING:
            return True
        if found.state == tag.state:
            _stay(session, tag, found.reason, now, look_seconds)
            return False
        soon = found.state is SideTagState.REMOVING
        due: datetime | None = now if soon else now + timedelta(seconds=look_seconds)
        if found.state is SideTagState.WANTED:
            # Whoever needs it next asks for it.
            tag.name, due = "", None
        move_side_tag(session, tag, found.state, at=now, reason=found.reason, due_at=due)
        return False


def _after_give_up(session: Session, tag: SideTag, seen: TagSeen, now: datetime) -> bool:
    if tag.state in (SideTagState.OPEN, SideTagState.HELD):
        _give_up(session, tag, now)
    elif not seen.exists:
        told = f"{tag.name or 'it'} is not at the build system" + ("" if tag.name else ": it was never made")
        move_side_tag(session, tag, SideTagState.REMOVED, at=now, reason=told, due_at=None)
    elif not seen.ours:
        told = f"{tag.name} belongs to another account and was left as it is"
        move_side_tag(session, tag, SideTagState.REMOVED, at=now, reason=told, due_at=None)
    elif tag.state == SideTagState.REMOVING:
        return True
    else:
        move_side_tag(session, tag, SideTagState.REMOVING, at=now, reason=tag.reason, due_at=now)
    return False


def record_removed(db: Database, work: SideTagWork) -> bool:
    """Write down that the hub has removed the tag."""
    with db.transaction() as session:
        tag = _held(session, work)
        if tag is None:
            return False
        now = database_now(session)
        why = f"{tag.name} was removed: {tag.reason}"
        move_side_tag(session, tag, SideTagState.REMOVED, at=now, reason=why, due_at=None)
        return True


def later(db: Database, work: SideTagWork, reason: str, *, delay_seconds: float) -> bool:
    """Give a claimed side tag back, due again later, with the reason shown meanwhile."""
    with db.transaction() as session:
        tag = _held(session, work)
        if tag is None:
            return False
        _stay(session, tag, reason, database_now(session), delay_seconds)
        return True


def give_up_row(session: Session, tag: SideTag, now: datetime, *, by: str, why: str) -> None:
    """Mark a side tag as given up by a person; while its making is in doubt that is settled first."""
    tag.given_up_by = by[:100]
    if tag.state == SideTagState.CREATING:
        told = f"given up by {by}: {why}; whether it was made is found out first"
        note_side_tag(session, tag, at=now, text=told)
    else:
        _give_up(session, tag, now, why=why)


def _give_up(session: Session, tag: SideTag, now: datetime, *, why: str = "") -> None:
    reason = f"given up by {tag.given_up_by}" + (f": {why}" if why else "")
    move_side_tag(session, tag, SideTagState.GIVEN_UP, at=now, reason=reason, due_at=now)


def _stay(session: Session, tag: SideTag, reason: str, now: datetime, delay_seconds: float) -> None:
    if reason and tag.reason != reason:
        note_side_tag(session, tag, at=now, text=reason)
        tag.reason = reason[:REASON_LIMIT]
    tag.due_at = now + timedelta(seconds=delay_seconds)
    tag.lease_token = None
    tag.lease_until = None


def _held(session: Session, work: SideTagWork) -> SideTag | None:
    return session.scalars(
        select(SideTag)
        .where(SideTag.id == work.id, SideTag.state == work.state.value, SideTag.lease_token == work.token)
        .with_for_update()
    ).one_or_none()


def _work(tag: SideTag, token: str) -> SideTagWork:
    return SideTagWork(
        id=tag.id,
        token=token,
        state=SideTagState(tag.state),
        title=title_of(tag),
        system=tag.system,
        project=tag.project,
        base_target=tag.base_target,
        name=tag.name,
        fence=dict(tag.fence or {}),
        given_up=bool(tag.given_up_by),
        tries=tag.tries,
    )
