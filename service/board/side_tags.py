"""Reads side tags: their state, their set's builds in build order, and their history."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from service.board.pagination import LIMIT, Page, cut, read_cursor
from service.domain.side_tags import SideTagPolicy
from service.domain.states import LIVE_BUILD, SideTagState
from service.store.schema import PackageBuild, SideTag, SideTagEvent, SideTagMember

EVENTS_SHOWN = 200


@dataclass(frozen=True)
class SideTagBuildRow:
    """One build of the set. ``joined`` is False for one that is planned and belongs to no side tag yet.

    ``shipped`` is how far it has got in Fedora.
    """

    build_id: int
    family: str
    package: str
    version: str
    target: str
    state: str
    reason: str
    shipped: str
    joined: bool


@dataclass(frozen=True)
class SideTagEventRow:
    """One line of a side tag's history."""

    id: int
    at: datetime
    old_state: str
    new_state: str
    text: str


@dataclass(frozen=True)
class SideTagRow:
    """One side tag. ``families`` and ``builds`` are in build order; ``name`` is empty until the hub has made it.

    ``waived`` are builds without which later ones go on.
    """

    id: int
    set_id: str
    families: tuple[str, ...]
    stream: str
    branch: str
    system: str
    project: str
    base_target: str
    name: str
    state: str
    reason: str
    waived: tuple[int, ...]
    given_up_by: str
    created_at: datetime
    opened_at: datetime | None
    observed_at: datetime | None
    ended_at: datetime | None
    due_at: datetime | None
    builds: tuple[SideTagBuildRow, ...]

    @property
    def live(self) -> bool:
        return self.state != SideTagState.REMOVED

    @property
    def can_give_up(self) -> bool:
        """Whether giving up is still to be asked for; a build under way in it may refuse it all the same."""
        closing = (SideTagState.GIVEN_UP, SideTagState.REMOVING, SideTagState.REMOVED)
        return self.state not in closing and not self.given_up_by


@dataclass(frozen=True)
class SideTagDetail:
    """One side tag with its history, oldest first."""

    side_tag: SideTagRow
    events: tuple[SideTagEventRow, ...]


def list_side_tags(
    session: Session,
    *,
    branch: str | None = None,
    stream: str | None = None,
    state: str | None = None,
    cursor: str | None = None,
    limit: int = LIMIT,
) -> Page[SideTagRow]:
    """Return a page of the side tags that match, newest first. Raises BadCursor."""
    statement = select(SideTag)
    wanted = ((SideTag.branch, branch), (SideTag.stream, stream), (SideTag.state, state))
    for column, value in wanted:
        if value is not None:
            statement = statement.where(column == value)
    after = read_cursor(cursor)
    if after is not None:
        statement = statement.where(SideTag.id < after)
    rows = session.scalars(statement.order_by(SideTag.id.desc()).limit(limit + 1)).all()
    page = cut(rows, [row.id for row in rows], limit)
    return Page(tuple(_shown(session, row) for row in page.items), page.next)


def live_side_tags(session: Session, *, branch: str) -> tuple[SideTagRow, ...]:
    """Return the side tags of a branch that are not removed, newest first."""
    found = select(SideTag).where(SideTag.branch == branch, SideTag.state != SideTagState.REMOVED.value)
    return _all(session, found)


def side_tags_of(session: Session, build_ids: Collection[int]) -> tuple[SideTagRow, ...]:
    """Return the side tags that these builds joined, newest first."""
    if not build_ids:
        return ()
    joined = select(SideTagMember.side_tag_id).where(SideTagMember.build_id.in_(build_ids))
    return _all(session, select(SideTag).where(SideTag.id.in_(joined)))


def side_tag_detail(session: Session, side_tag_id: int) -> SideTagDetail | None:
    """Return one side tag with its history, or None where there is none of that id."""
    tag = session.get(SideTag, side_tag_id)
    if tag is None:
        return None
    e = SideTagEvent
    events = session.execute(
        select(e.id, e.at, e.old_state, e.new_state, e.text)
        .where(e.side_tag_id == side_tag_id)
        .order_by(e.id)
        .limit(EVENTS_SHOWN)
    )
    return SideTagDetail(_shown(session, tag), tuple(SideTagEventRow(*event) for event in events))


def _all(session: Session, statement: Select[SideTag]) -> tuple[SideTagRow, ...]:
    return tuple(_shown(session, tag) for tag in session.scalars(statement.order_by(SideTag.id.desc())))


def _shown(session: Session, tag: SideTag) -> SideTagRow:
    return SideTagRow(
        id=tag.id,
        set_id=tag.set_id,
        families=tuple(tag.families),
        stream=tag.stream,
        branch=tag.branch,
        system=tag.system,
        project=tag.project,
        base_target=tag.base_target,
        name=tag.name,
        state=tag.state,
        reason=tag.reason,
        waived=tuple(tag.waived),
        given_up_by=tag.given_up_by,
        created_at=tag.created_at,
        opened_at=tag.opened_at,
        observed_at=tag.observed_at,
        ended_at=tag.ended_at,
        due_at=tag.due_at,
        builds=_builds(session, tag),
    )


def _builds(session: Session, tag: SideTag) -> tuple[SideTagBuildRow, ...]:
    b, m = PackageBuild, SideTagMember
    wanted: Any = select(m.build_id).where(m.side_tag_id == tag.id)
    if tag.state != SideTagState.REMOVED:
        wanted = wanted.union(
            select(b.id).where(
                b.state.in_([state.value for state in LIVE_BUILD]), b.family.in_(tag.families),
                b.stream == tag.stream, b.branch == tag.branch, b.system == tag.system, b.project == tag.project,
            )
        )  # fmt: skip
    rows = session.execute(
        select(
            b.id,
            b.family,
            b.package,
            b.version,
            b.target,
            b.state,
            b.reason,
            b.shipped,
            b.options,
            m.side_tag_id,
        )
        .outerjoin(m, m.build_id == b.id)
        .where(b.id.in_(wanted))
        .order_by(b.id)
    ).all()
    found = [
        SideTagBuildRow(
            row.id, row.family, row.package, row.version, row.target, row.state, row.reason, row.shipped,
            joined=row.side_tag_id == tag.id,
        )
        for row in rows
        if row.side_tag_id == tag.id or (row.side_tag_id is None and _set_of(row.options) == tag.set_id)
    ]  # fmt: skip
    place = {family: position for position, family in enumerate(tag.families)}
    return tuple(sorted(found, key=lambda row: (place.get(row.family, len(place)), row.build_id)))


def _set_of(options: dict[str, object] | None) -> str:
    policy = SideTagPolicy.from_json((options or {}).get("side_tag"))
    return policy.set_id if policy else ""
