"""The API's side tags: read them, give one up, or let it go on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from service import board
from service.sidetags import lifecycle
from service.web.access.auth import needs
from service.web.api.schemas import Body, Shape
from service.web.api.writes import Done, WriteRequest, write_needs
from service.web.base.context import WebContext
from service.web.base.parameters import DEFAULT_LIMIT, Context, Cursor, IdInPath, Limit, Word
from service.web.base.problems import READ_PROBLEMS, WRITE_PROBLEMS, Problem

StateWord = Literal["wanted", "creating", "open", "held", "given-up", "removing", "removed"]


router = APIRouter(prefix="/api/v1", tags=["side tags"], responses=READ_PROBLEMS)

ForBuilds = Annotated[WriteRequest, write_needs("builds:write")]
SideTagCommand = Callable[..., lifecycle.SideTagAsked]


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


class SideTagWhy(Body):
    """Why, for the others; kept in the audit trail."""

    why: str = Field(min_length=1, max_length=500)


class SideTagAskedShape(Shape):
    """The side tag that was touched, and what becomes of it."""

    side_tag: int
    sentence: str


@router.get("/side-tags", response_model=SideTags, dependencies=[needs("read")])
def list_side_tags(
    context: Context,
    branch: Word = None,
    stream: Word = None,
    state: Annotated[StateWord | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Any:
    """Side tags, newest first, each with its set's builds in their order."""
    with context.db.reader() as session:
        return board.list_side_tags(
            session, branch=branch, stream=stream, state=state, cursor=cursor, limit=limit
        )


@router.get("/side-tags/{side_tag_id}", response_model=SideTagDetailShape, dependencies=[needs("read")])
def get_side_tag(context: Context, side_tag_id: IdInPath) -> Any:
    """One side tag with its history."""
    return known_side_tag(context, side_tag_id)


@router.post(
    "/side-tags/{side_tag_id}/give-up",
    response_model=SideTagAskedShape,
    status_code=202,
    responses=WRITE_PROBLEMS,
)
def give_up_side_tag(write: ForBuilds, side_tag_id: IdInPath, wanted: SideTagWhy) -> Response:
    """Have a side tag removed although its update was not pushed. What waits for its turn gets a new one."""
    return _ask(write, lifecycle.give_up_side_tag, side_tag_id, wanted)


@router.post(
    "/side-tags/{side_tag_id}/go-on",
    response_model=SideTagAskedShape,
    status_code=202,
    responses=WRITE_PROBLEMS,
)
def go_on_side_tag(write: ForBuilds, side_tag_id: IdInPath, wanted: SideTagWhy) -> Response:
    """Let a held side tag go on, or the set without the builds that ended badly."""
    return _ask(write, lifecycle.go_on_side_tag, side_tag_id, wanted)


def _ask(write: WriteRequest, command: SideTagCommand, side_tag_id: int, wanted: SideTagWhy) -> Response:
    return write.do(
        lambda db: asked_of_side_tag(command(db, side_tag_id, why=wanted.why, **write.caller.by)), wanted
    )


def asked_of_side_tag(asked: lifecycle.SideTagAsked) -> Done:
    """Return what a command about a side tag did, as the answer's body and the hint to send."""
    body = {"side_tag": asked.side_tag_id, "sentence": asked.sentence}
    return Done(body, side_tags=(asked.side_tag_id,))


def known_side_tag(context: WebContext, side_tag_id: int) -> board.SideTagDetail:
    """Return one side tag. Raises Problem 404 where there is none of that id."""
    with context.db.reader() as session:
        found = board.side_tag_detail(session, side_tag_id)
    if found is None:
        raise Problem(404, f"There is no side tag {side_tag_id}.")
    return found
