"""Join builds to the side tag of their set, and decide when a build's turn to be built in it has come.

Functions that take a ``Database`` are one transaction and commit, except those that only read.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.builds.claims import BuildWork, claimed_build, work_of
from service.domain.reports import BuildRef
from service.domain.side_tags import Member, SideTagPolicy, built_before, waits_for
from service.domain.states import LIVE_BUILD, BuildState, SideTagState
from service.store.options import deadline_of, target_of
from service.store.schema import LIVE_SIDE_TAG_SQL, PackageBuild, SideTag, SideTagMember
from service.store.session import Database, database_now
from service.store.transitions import note_event, note_side_tag

CLOSING = frozenset({SideTagState.GIVEN_UP.value, SideTagState.REMOVING.value})


@dataclass(frozen=True)
class Turn:
    """A build may be built in the side tag ``name`` as soon as the tag's repository holds the builds ``earlier``."""

    side_tag_id: int
    name: str
    earlier: tuple[BuildRef, ...]


@dataclass(frozen=True)
class Waiting:
    """A build must wait; ``reason`` says for what. ``side_tag_id`` is the side tag that has work due now, or 0."""

    reason: str
    side_tag_id: int = 0


def join(db: Database, work: BuildWork, *, base_target: str) -> bool:
    """Join a claimed build to the live side tag of its set, stream and branch. Commits. False: the lease was lost.

    The side tag's row is added where it is missing; the tag itself is made only when the first build needs it. A side
    tag that is being removed takes no more builds.
    """
    with db.transaction() as session:
        build = claimed_build(session, work)
        if build is None:
            return False
        _join(session, build, base_target)
        return True


def is_prepared(db: Database, build_id: int) -> bool:
    """Return whether a build is prepared and waits only for its turn in a side tag. Reads only."""
    with db.reader() as session:
        member = session.get(SideTagMember, build_id)
        return member is not None and member.prepared_at is not None


def turn_of(db: Database, work: BuildWork, *, base_target: str) -> Turn | Waiting | None:
    """Return a prepared build's turn in its side tag, or what it waits for. Commits. None: the lease was lost.

    The first build that has its turn makes the side tag due to be made. While a build waits for others or for a
    person, its deadline moves on.
    """
    with db.transaction() as session:
        build = claimed_build(session, work)
        if build is None:
            return None
        now = database_now(session)
        policy = _policy_of(build)
        tag = _join(session, build, base_target)
        if tag is None:
            title = _title(policy.set_id, build.stream, build.branch)
            return Waiting(f"waits until the {title} has been removed; then a new one is made")
        member = session.get_one(SideTagMember, build.id)
        member.prepared_at = member.prepared_at or now
        members = members_of(session, tag)
        waiting = waits_for(policy, build.family, members, tag.waived)
        if waiting or tag.state == SideTagState.HELD:
            # What passes while it waits for others, or for a person, is not the build's time.
            build.deadline_at = now + deadline_of(build)
        if waiting:
            return Waiting(waiting)
        if tag.state == SideTagState.HELD:
            return Waiting(f"the {title_of(tag)} waits for a person: {tag.reason}")
        if tag.state != SideTagState.OPEN:
            if tag.state == SideTagState.WANTED and tag.due_at is None:
                tag.due_at = now
            trouble = f" ({tag.reason})" if tag.reason else ""
            return Waiting(f"waits for the {title_of(tag)}, which is being made{trouble}", tag.id)
        earlier = tuple(
            BuildRef(tag.system, tag.project, one.task) for one in built_before(policy, build.family, members)
        )
        return Turn(tag.id, tag.name, earlier)


def record_turn(db: Database, work: BuildWork, turn: Turn) -> BuildWork | None:
    """Record that a build is built in its side tag from now on, and return its work with that target. Commits.

    Later submissions and searches of this attempt use the same tag, whatever the catalogue says. None: the lease was
    lost, or the side tag is not open any more.
    """
    with db.transaction() as session:
        build = claimed_build(session, work)
        tag = session.get_one(SideTag, turn.side_tag_id, with_for_update=True)
        if build is None or tag.state != SideTagState.OPEN or tag.name != turn.name:
            return None
        policy = _policy_of(build)
        if policy.name != turn.name:
            build.options = {**build.options, "side_tag": policy.named(turn.name).as_json()}
            now = database_now(session)
            note_event(
                session, build, at=now, kind="side-tag", text=f"its turn has come in side tag {turn.name}"
            )
            note_side_tag(session, tag, at=now, text=f"build {build.id} of {build.package} has its turn")
        return work_of(build, work.token, now=database_now(session), max_tries=build.tries + work.tries_left)


def hasten_side_tag(db: Database, side_tag_id: int) -> None:
    """Make an open side tag due now, because a step has seen that it is not as it should be. Commits."""
    with db.transaction() as session:
        tag = session.get_one(SideTag, side_tag_id, with_for_update=True)
        if tag.state == SideTagState.OPEN and tag.lease_until is None:
            tag.due_at = database_now(session)


def members_of(session: Session, tag: SideTag) -> tuple[Member, ...]:
    """Return the builds that count for a side tag: those that joined it, and live ones of its set. Reads only."""
    b, m = PackageBuild, SideTagMember
    # Each half has an index of its own; one condition over both would read every build there is.
    found = select(m.build_id).where(m.side_tag_id == tag.id)
    under_way = select(b.id).where(
        b.state.in_([state.value for state in LIVE_BUILD]), b.family.in_(tag.families), b.stream == tag.stream,
        b.branch == tag.branch, b.system == tag.system, b.project == tag.project,
    )  # fmt: skip
    rows = session.execute(
        select(b, m.side_tag_id)
        .outerjoin(m, m.build_id == b.id)
        .where(b.id.in_(found.union(under_way)))
        .order_by(b.id)
    ).all()
    return tuple(
        _member(build, joined == tag.id)
        for build, joined in rows
        if joined == tag.id or _set_of(build) == tag.set_id
    )


def title_of(tag: SideTag) -> str:
    """Return a side tag's title for people, as ``side tag of kubernetes 1.35 on f44``."""
    return _title(tag.set_id, tag.stream, tag.branch)


def _member(build: PackageBuild, joined: bool) -> Member:
    return Member(
        build_id=build.id,
        family=build.family,
        package=build.package,
        version=build.version,
        order=(build.sort_key, build.attempt),
        state=BuildState(build.state),
        reason=build.reason,
        shipped=build.shipped,
        joined=joined,
        task=build.external_id or "",
    )


def _policy_of(build: PackageBuild) -> SideTagPolicy:
    policy = target_of(build).side_tag
    if policy is None:
        raise LookupError(f"build {build.id} is not built in side tags")
    return policy


def _set_of(build: PackageBuild) -> str:
    policy = target_of(build).side_tag
    return policy.set_id if policy else ""


def _title(set_id: str, stream: str, branch: str) -> str:
    return f"side tag of {set_id} {stream} on {branch}"


def _join(session: Session, build: PackageBuild, base_target: str) -> SideTag | None:
    """The side tag that the build belongs to from now on, locked; None while it is being removed."""
    policy = _policy_of(build)
    now = database_now(session)
    member = session.get(SideTagMember, build.id)
    if member is not None:
        tag = session.get_one(SideTag, member.side_tag_id, with_for_update=True)
        if tag.state != SideTagState.REMOVED:
            return None if tag.state in CLOSING else tag
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    keys = {
        "set_id": policy.set_id, "stream": build.stream, "branch": build.branch, "system": build.system,
        "project": build.project,
    }  # fmt: skip
    session.execute(
        insert(SideTag)
        .values(
            **keys, families=list(policy.families), base_target=base_target, created_at=now, waived=[],
            state=SideTagState.WANTED.value, reason="", name="", given_up_by="",
        )
        .on_conflict_do_nothing(index_elements=list(keys), index_where=text(LIVE_SIDE_TAG_SQL))
    )  # fmt: skip
    tag = session.scalars(
        select(SideTag)
        .where(*(getattr(SideTag, key) == value for key, value in keys.items()), text(LIVE_SIDE_TAG_SQL))
        .with_for_update()
    ).one()
    if tag.state in CLOSING:
        return None
    if member is None:
        session.add(SideTagMember(build_id=build.id, side_tag_id=tag.id, joined_at=now))
    else:
        member.side_tag_id, member.joined_at = tag.id, now
    note_side_tag(session, tag, at=now, text=f"build {build.id} of {build.package} {build.version} joins")
    session.flush()
    return tag
