"""What maintainers may ask for about side tags. Each function commits, and raises CommandRefused with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from service.access.audit import note_audit
from service.domain.errors import CommandRefused, NotFound
from service.domain.side_tags import Member, SideTagPolicy, failed_members
from service.domain.states import SideTagState
from service.sidetags.life import give_up_row
from service.sidetags.turns import CLOSING, members_of, title_of
from service.store.options import target_of
from service.store.schema import PackageBuild, SideTag
from service.store.session import Database, database_now
from service.store.transitions import move_side_tag, note_side_tag


@dataclass(frozen=True)
class SideTagAsked:
    """The side tag that a command touched, and what became of it."""

    side_tag_id: int
    sentence: str


def give_up_side_tag(db: Database, side_tag_id: int, *, by: str, why: str, address: str = "") -> SideTagAsked:
    """Have a side tag removed although its update was not pushed; a person vouches for what it holds.

    Refused while a build is under way in it. Builds of the set that still wait for their turn get a new side tag.
    """
    with db.transaction() as session:
        tag = _locked(session, side_tag_id)
        if tag.state in CLOSING or tag.given_up_by:
            raise CommandRefused(f"side tag {side_tag_id} is {tag.state}; it was given up already")
        members = [member for member in members_of(session, tag) if member.joined]
        inside = [member for member in members if member.live and _let_in(session, member, tag.name)]
        if inside:
            raise CommandRefused(
                f"{', '.join(member.title for member in inside)} is under way in side tag {tag.name}; "
                "cancel it or wait for its end"
            )
        at = database_now(session)
        before = tag.state
        give_up_row(session, tag, at, by=by, why=why)
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
    """Let a side tag go on that waits for a person, or its set without the builds that ended badly.

    Refused where nothing waits for a person.
    """
    with db.transaction() as session:
        tag = _locked(session, side_tag_id)
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


def _locked(session: Session, side_tag_id: int) -> SideTag:
    tag = session.get(SideTag, side_tag_id, with_for_update=True)
    if tag is None:
        raise NotFound(f"there is no side tag {side_tag_id}")
    if tag.state == SideTagState.REMOVED:
        raise CommandRefused(f"side tag {side_tag_id} is removed already")
    return tag


def _let_in(session: Session, member: Member, name: str) -> bool:
    policy = target_of(session.get_one(PackageBuild, member.build_id)).side_tag
    return bool(name) and policy is not None and policy.name == name
