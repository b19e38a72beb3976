"""What the API says about side tags, and what it takes for a request about one."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.web.api.schemas import Shape

StateWord = Literal["wanted", "creating", "open", "held", "given-up", "removing", "removed"]


class SideTagBuild(Shape):
    """One build of the set; 'joined' is false for one that is planned and belongs to no side tag yet."""

    build_id: int
    family: str
    package: str
    version: str
    target: str
    state: str
    reason: str
    shipped: str = Field(description="How far it has got in Fedora: candidate, testing, stable, or empty.")
    joined: bool


class SideTagShape(Shape):
    """One side tag. 'families' and 'builds' are in build order."""

    id: int
    set_id: str = Field(description="The catalogue's [[side_tag_set]].")
    families: list[str]
    stream: str
    branch: str
    system: str
    project: str
    base_target: str = Field(description="The hub's target that it stands beside.")
    name: str = Field(description="The hub's name for it; empty until it is made.")
    state: StateWord
    reason: str = Field(description="What it waits for, or why it is as it is.")
    waived: list[int] = Field(description="Builds that ended badly and without which later ones go on.")
    given_up_by: str
    created_at: datetime
    opened_at: datetime | None
    observed_at: datetime | None
    ended_at: datetime | None
    due_at: datetime | None
    builds: list[SideTagBuild]


class SideTags(Shape):
    items: list[SideTagShape]
    next: str | None


class SideTagEventShape(Shape):
    """One line of a side tag's history."""

    id: int
    at: datetime
    old_state: str
    new_state: str
    text: str


class SideTagDetailShape(Shape):
    """One side tag with its history, oldest first."""

    side_tag: SideTagShape
    events: list[SideTagEventShape]


class SideTagWhy(BaseModel):
    """Why, for the others; kept in the audit trail."""

    model_config = ConfigDict(extra="forbid")

    why: str = Field(min_length=1, max_length=500)


class SideTagAskedShape(Shape):
    """The side tag that was touched, and what becomes of it."""

    side_tag: int
    sentence: str
