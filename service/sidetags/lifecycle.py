"""A side tag's lifecycle: claim it, record that it was made, seen or removed; and what maintainers may ask for.

Functions that take a ``Database`` are one transaction and commit, except those that only read. Before a tag is asked
for at the hub, the intent is committed, so that a tag whose worker was killed meanwhile is found again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.access.audit import note_audit
from service.builds.claims import end_lease, lock_claimed_row, lock_due_row, take_lease
from service.domain.errors import CommandRefused, NotFound
from service.domain.reports import Fence
from service.domain.side_tags import Adoption, Member, SideTagPolicy, TagSeen, failed_members, judge
from service.domain.states import SideTagState
from service.sidetags.turns import CLOSING, members_of, title_of
from service.store.options import target_of
from service.store.schema import PackageBuild, SideTag
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


@dataclass(frozen=True)
class SideTagAsked:
    """The side tag that a command touched, and what the command did, in one sentence."""

    side_tag_id: int
    sentence: str


def claim_side_tag(db: Database, side_tag_id: int, *, lease_seconds: float) -> SideTagWork | None:
    """Claim a side tag that is due and return its work, or None if there is nothing to do. Commits."""
    with db.transaction() as session:
        now = database_now(session)
        tag = lock_due_row(session, SideTag, side_tag_id, now, SideTag.state != SideTagState.REMOVED.value)
        if tag is None:
            return None
        token = take_lease(tag, now, lease_seconds)
        return _work(tag, token)


def begin_making(
    db: Database, work: SideTagWork, fence: Fence, *, lease_seconds: float, retry_seconds: float
) -> SideTagWork | None:
    """Record that a side tag is about to be asked for at the hub, and return the work under a new lease. Commits.

    None if it must not be asked for: the lease was lost, or another side tag is being made at this hub, and then this
    one is due again after ``retry_seconds``.
    """
    try:
        with db.transaction() as session:
            tag = _claimed(session, work)
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
        postpone_side_tag(db, work, "another side tag is being made at this hub", delay_seconds=retry_seconds)
        return None


def taken_names(db: Database, work: SideTagWork) -> frozenset[str]:
    """Return the names of all side tags that we ever had at this hub. Reads only."""
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
    """Record the tag that the hub made, or that was found (``adopted``). Commits.

    Returns False if the lease was lost; the tag is then found again by the next claim.
    """
    with db.transaction() as session:
        tag = _claimed(session, work)
        if tag is None:
            return False
        now = database_now(session)
        tag.name = found.name
        tag.opened_at = tag.observed_at = now
        verb = "found, and taken" if adopted else "made"
        left = f"; left alone: {', '.join(found.others)}" if found.others else ""
        due = now + timedelta(seconds=look_seconds)
        _end_making(session, tag, SideTagState.OPEN, now, f"{found.name} was {verb}{left}", due_at=due)
        return True


def record_not_made(db: Database, work: SideTagWork, reason: str) -> bool:
    """Record that certainly no tag was made: it is asked for again, unless a person gave it up. Commits.

    Returns False if the lease was lost.
    """
    with db.transaction() as session:
        tag = _claimed(session, work)
        if tag is None:
            return False
        now = database_now(session)
        _end_making(session, tag, SideTagState.WANTED, now, reason, due_at=now)
        return True


def hold_side_tag(db: Database, work: SideTagWork, reason: str) -> bool:
    """Hold a side tag that was not made, for a person. Commits. Returns False if the lease was lost."""
    with db.transaction() as session:
        tag = _claimed(session, work)
        if tag is None:
            return False
        _end_making(session, tag, SideTagState.HELD, database_now(session), reason, due_at=None)
        return True


def _end_making(
    session: Session,
    tag: SideTag,
    state: SideTagState,
    now: datetime,
    reason: str,
    *,
    due_at: datetime | None,
) -> None:
    """Record the result of the making; a tag that a person gave up meanwhile is given up in the same transaction.

    Open even for a moment, it would get a build that is then removed with it; held, it would wait for nobody.
    """
    move_side_tag(session, tag, state, at=now, reason=reason, due_at=due_at)
    if tag.given_up_by:
        _give_up(session, tag, now)


def record_look(db: Database, work: SideTagWork, seen: TagSeen, *, look_seconds: float) -> bool:
    """Record how a side tag was seen at the hub and move it on. Commits. Returns True if it must be removed now.

    Then the claim stays. A removal is only intended here first; the next claim judges once more and carries it out.
    """
    with db.transaction() as session:
        tag = _claimed(session, work)
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
    """Record that the hub has removed the tag. Commits. Returns False if the lease was lost."""
    with db.transaction() as session:
        tag = _claimed(session, work)
        if tag is None:
            return False
        now = database_now(session)
        why = f"{tag.name} was removed: {tag.reason}"
        move_side_tag(session, tag, SideTagState.REMOVED, at=now, reason=why, due_at=None)
        return True


def postpone_side_tag(db: Database, work: SideTagWork, reason: str, *, delay_seconds: float) -> bool:
    """Put a claimed side tag back, due again later, with the reason shown meanwhile. Commits.

    Returns False if the lease was lost.
    """
    with db.transaction() as session:
        tag = _claimed(session, work)
        if tag is None:
            return False
        _stay(session, tag, reason, database_now(session), delay_seconds)
        return True


def give_up_side_tag(db: Database, side_tag_id: int, *, by: str, why: str, address: str = "") -> SideTagAsked:
    """Give a side tag up for a maintainer, so that it is removed although its update was not pushed. Commits.

    Raises NotFound, and CommandRefused while a build is under way in it, or if it was given up before. Builds of the
    set that still wait for their turn get a new side tag.
    """
    with db.transaction() as session:
        tag = _lock_side_tag(session, side_tag_id)
        if tag.state in CLOSING or tag.given_up_by:
            raise CommandRefused(f"side tag {side_tag_id} is {tag.state}; it was given up already")
        members = [member for member in members_of(session, tag) if member.joined]
        inside = [member for member in members if member.live and _is_built_in(session, member, tag.name)]
        if inside:
            raise CommandRefused(
                f"{', '.join(member.title for member in inside)} is under way in side tag {tag.name}; "
                "cancel it or wait for its end"
            )
        at = database_now(session)
        before = tag.state
        _give_up_by_hand(session, tag, at, by=by, why=why)
        waiting = [member.title for member in members if member.live]
        sentence = f"the {title_of(tag)} is given up" + (f"; {tag.name} will be removed" if tag.name else "")
        if waiting:
            sentence += f"; {', '.join(waiting)} will get a new one"
        note_audit(
            session, at=at, by=by, address=address, action="side-tag.give-up", subject=f"side tag {side_tag_id}",
            detail=f"{title_of(tag)}: {why}", before={"state": before, "name": tag.name},
            after={"state": tag.state},
        )  # fmt: skip
        return SideTagAsked(side_tag_id, sentence)


def go_on_side_tag(db: Database, side_tag_id: int, *, by: str, why: str, address: str = "") -> SideTagAsked:
    """Let a held side tag go on for a maintainer, or else its set without the builds that ended badly. Commits.

    Raises NotFound, and CommandRefused where nothing waits for a person.
    """
    with db.transaction() as session:
        tag = _lock_side_tag(session, side_tag_id)
        at = database_now(session)
        before = {"state": tag.state, "waived": list(tag.waived)}
        if tag.state == SideTagState.HELD and not tag.name:
            move_side_tag(session, tag, SideTagState.WANTED, at=at, reason=f"resumed by {by}", due_at=at)
            sentence = f"the {title_of(tag)} is asked for again"
        elif tag.state == SideTagState.HELD:
            tag.due_at = at
            note_side_tag(session, tag, at=at, text=f"{by} asks to look again")
            sentence = f"the {title_of(tag)} is looked at again"
        else:
            sentence = _waive(session, tag, by=by)
        note_audit(
            session, at=at, by=by, address=address, action="side-tag.go-on", subject=f"side tag {side_tag_id}",
            detail=f"{sentence}: {why}" if why else sentence, before=before,
            after={"state": tag.state, "waived": list(tag.waived)},
        )  # fmt: skip
        return SideTagAsked(side_tag_id, sentence)


def _give_up_by_hand(session: Session, tag: SideTag, now: datetime, *, by: str, why: str) -> None:
    """Give a side tag up for a person; while it is not known whether it was made, only its row says so."""
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
    end_lease(tag, now + timedelta(seconds=delay_seconds))


def _claimed(session: Session, work: SideTagWork) -> SideTag | None:
    return lock_claimed_row(session, SideTag, work.id, work.token, SideTag.state == work.state.value)


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


def _waive(session: Session, tag: SideTag, *, by: str) -> str:
    policy = SideTagPolicy(tag.set_id, tuple(tag.families), tag.name)
    failed = [
        member
        for member in failed_members(policy, members_of(session, tag))
        if member.build_id not in tag.waived
    ]
    if tag.state in CLOSING or not failed:
        raise CommandRefused(f"side tag {tag.id} is {tag.state}, and nothing in it waits for a person")
    tag.waived = [*tag.waived, *(member.build_id for member in failed)]
    titles = ", ".join(member.title for member in failed)
    note_side_tag(session, tag, at=database_now(session), text=f"goes on without {titles}, says {by}")
    return f"the {title_of(tag)} goes on without {titles}"


def _lock_side_tag(session: Session, side_tag_id: int) -> SideTag:
    tag = session.get(SideTag, side_tag_id, with_for_update=True)
    if tag is None:
        raise NotFound(f"there is no side tag {side_tag_id}")
    if tag.state == SideTagState.REMOVED:
        raise CommandRefused(f"side tag {side_tag_id} is removed already")
    return tag


def _is_built_in(session: Session, member: Member, name: str) -> bool:
    policy = target_of(session.get_one(PackageBuild, member.build_id)).side_tag
    return bool(name) and policy is not None and policy.name == name
