"""Side tags: which set, minor and branch each carries, the builds that joined it, and its history."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.domain.states import SideTagState
from service.store.base import Base, Id, Json, in_sql
from service.store.columns import UtcTime, Words

LIVE = "state <> 'removed'"


class SideTag(Base):
    """One side tag of one set for one stream and branch at one hub: the intent first, then the tag itself.

    ``base_target`` is the hub's target that the side tag stands beside; ``name`` is empty until the hub has made
    the tag. ``fence`` tells what was there when it was asked for. ``waived`` are ids of builds without which later
    ones go on. ``given_up_by`` is set once a person wants it removed, whatever it holds.
    """

    __tablename__ = "side_tags"
    __table_args__ = (
        CheckConstraint(in_sql("state", SideTagState), name="state"),
        CheckConstraint("state NOT IN ('open', 'removing') OR name <> ''", name="open_has_name"),
        CheckConstraint("state <> 'creating' OR fence IS NOT NULL", name="creating_has_fence"),
        CheckConstraint("state NOT IN ('held', 'given-up', 'removed') OR reason <> ''", name="reason"),
        CheckConstraint("(state = 'removed') = (ended_at IS NOT NULL)", name="removed_has_time"),
        CheckConstraint(
            "state NOT IN ('creating', 'open', 'given-up', 'removing') OR due_at IS NOT NULL", name="live_is_due"
        ),
        Index("uq_side_tags_live", "set_id", "stream", "branch", "system", "project", unique=True,
              postgresql_where=text(LIVE), sqlite_where=text(LIVE)),
        # One request at a time for each hub: a new tag of our account is then surely this request's.
        Index("uq_side_tags_creating", "system", "project", unique=True,
              postgresql_where=text("state = 'creating'"), sqlite_where=text("state = 'creating'")),
        Index("uq_side_tags_name", "system", "project", "name", unique=True,
              postgresql_where=text("name <> ''"), sqlite_where=text("name <> ''")),
        Index("ix_side_tags_due", "due_at", postgresql_where=text(LIVE), sqlite_where=text(LIVE)),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    set_id: Mapped[str] = mapped_column(String(40))
    families: Mapped[list[str]] = mapped_column(Json)
    stream: Mapped[str] = mapped_column(String(20))
    branch: Mapped[str] = mapped_column(String(20))
    system: Mapped[str] = mapped_column(String(20))
    project: Mapped[str] = mapped_column(String(200))
    base_target: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(200), default="", server_default="")
    state: Mapped[str] = mapped_column(String(12), default=SideTagState.WANTED.value)
    reason: Mapped[str] = mapped_column(Words, default="")
    waived: Mapped[list[int]] = mapped_column(Json, default=list)
    given_up_by: Mapped[str] = mapped_column(String(100), default="", server_default="")
    fence: Mapped[dict[str, Any] | None] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    opened_at: Mapped[datetime | None] = mapped_column(UtcTime)
    observed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcTime)
    tries: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    lease_token: Mapped[str | None] = mapped_column(String(40))
    lease_until: Mapped[datetime | None] = mapped_column(UtcTime)


class SideTagMember(Base):
    """A build that belongs to a side tag. ``prepared_at``: since when nothing but its turn is missing."""

    __tablename__ = "side_tag_members"
    __table_args__ = (Index("ix_side_tag_members_side_tag", "side_tag_id"),)

    build_id: Mapped[int] = mapped_column(
        ForeignKey("package_builds.id"), primary_key=True, autoincrement=False
    )
    side_tag_id: Mapped[int] = mapped_column(ForeignKey("side_tags.id"))
    joined_at: Mapped[datetime] = mapped_column(UtcTime)
    prepared_at: Mapped[datetime | None] = mapped_column(UtcTime)

    side_tag: Mapped[SideTag] = relationship()


class SideTagEvent(Base):
    """Append-only history of a side tag."""

    __tablename__ = "side_tag_events"
    __table_args__ = (Index("ix_side_tag_events_side_tag", "side_tag_id", "id"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    side_tag_id: Mapped[int] = mapped_column(ForeignKey("side_tags.id"))
    at: Mapped[datetime] = mapped_column(UtcTime)
    old_state: Mapped[str] = mapped_column(String(12), default="")
    new_state: Mapped[str] = mapped_column(String(12), default="")
    text: Mapped[str] = mapped_column(Words, default="")
