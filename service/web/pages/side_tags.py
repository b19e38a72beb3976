"""Side tags: their pages, their part of the API, and the buttons on them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from service import board, overrides
from service.sidetags import lifecycle
from service.store.session import Database
from service.web.access.auth import Caller, needs, page_needs
from service.web.api import side_tag_shapes as shapes
from service.web.api.writes import Done, IdempotencyKey, write
from service.web.base.context import WebContext, context_of
from service.web.base.parameters import DEFAULT_LIMIT, ID_MAX, Context, Cursor, Limit, Word
from service.web.base.problem import Problem
from service.web.base.problems import problems
from service.web.base.render import page
from service.web.pages.buttons import WHY, Asked, Button
from service.web.pages.matrix import word

SideTagId = Annotated[int, Path(ge=1, le=ID_MAX)]
ForBuilds = Annotated[Caller, needs("builds:write")]
_ID = re.compile(r"[1-9]\d{0,17}", re.ASCII)
WRITE_PROBLEMS = problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503)

pages = APIRouter(include_in_schema=False, dependencies=[page_needs("read")])
router = APIRouter(prefix="/api/v1", tags=["side tags"], responses=problems(401, 403, 404, 422, 503))


@pages.get("/side-tags")
def show_side_tags(request: Request) -> Response:
    """Every side tag, newest first."""
    values = {name: word(request.query_params, name) for name in ("branch", "cursor")}
    context = context_of(request)
    with context.db.reader() as session:
        found = board.list_side_tags(session, branch=values["branch"] or None, cursor=values["cursor"])
    sets = context.catalog.side_tag_sets
    return page(
        request,
        "side_tags.html",
        {"side_tags": found.items, "next": found.next, "values": values, "sets": sets},
    )


@pages.get("/side-tags/{side_tag_id}")
def show_side_tag(request: Request, side_tag_id: str) -> Response:
    """One side tag: its set in build order, and its history."""
    if not _ID.fullmatch(side_tag_id):
        raise Problem(404, "There is no such side tag.")
    return page(request, "side_tag.html", {"detail": _detail(context_of(request), int(side_tag_id))})


@router.get("/side-tags", response_model=shapes.SideTags, dependencies=[needs("read")])
def list_side_tags(
    context: Context,
    branch: Word = None,
    stream: Word = None,
    state: Annotated[shapes.StateWord | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Any:
    """Side tags, newest first, each with its set's builds in their order."""
    with context.db.reader() as session:
        return board.list_side_tags(
            session, branch=branch, stream=stream, state=state, cursor=cursor, limit=limit
        )


@router.get(
    "/side-tags/{side_tag_id}", response_model=shapes.SideTagDetailShape, dependencies=[needs("read")]
)
def get_side_tag(context: Context, side_tag_id: SideTagId) -> Any:
    """One side tag with its history."""
    return _detail(context, side_tag_id)


@router.post("/side-tags/{side_tag_id}/give-up", response_model=shapes.SideTagAskedShape, status_code=202,
             responses=WRITE_PROBLEMS)  # fmt: skip
def give_up_side_tag(
    request: Request,
    caller: ForBuilds,
    side_tag_id: SideTagId,
    wanted: shapes.SideTagWhy,
    key: IdempotencyKey = None,
) -> Response:
    """Have a side tag removed although its update was not pushed. What waits for its turn gets a new one."""
    return _write(request, caller, key, lifecycle.give_up_side_tag, side_tag_id, wanted)


@router.post("/side-tags/{side_tag_id}/go-on", response_model=shapes.SideTagAskedShape, status_code=202,
             responses=WRITE_PROBLEMS)  # fmt: skip
def go_on_side_tag(
    request: Request,
    caller: ForBuilds,
    side_tag_id: SideTagId,
    wanted: shapes.SideTagWhy,
    key: IdempotencyKey = None,
) -> Response:
    """Let a held side tag go on, or the set without the builds that ended badly."""
    return _write(request, caller, key, lifecycle.go_on_side_tag, side_tag_id, wanted)


Command = Callable[..., lifecycle.SideTagAsked]


def _write(
    request: Request,
    caller: Caller,
    key: str | None,
    command: Command,
    side_tag_id: int,
    wanted: shapes.SideTagWhy,
) -> Response:
    return write(
        request, caller, key,
        lambda db: _done(command(db, side_tag_id, by=caller.name, why=wanted.why, address=caller.address)),
        wanted,
    )  # fmt: skip


def _done(asked: lifecycle.SideTagAsked) -> Done:
    body = {"side_tag": asked.side_tag_id, "sentence": asked.sentence}
    return Done(body, side_tags=(asked.side_tag_id,))


def _detail(context: WebContext, side_tag_id: int) -> board.SideTagDetail:
    with context.db.reader() as session:
        found = board.side_tag_detail(session, side_tag_id)
    if found is None:
        raise Problem(404, f"There is no side tag {side_tag_id}.")
    return found


def _what(asked: Asked, sentence: str) -> str:
    tag = _detail(asked.context, asked.number).side_tag
    name = f"side tag of {tag.set_id} {tag.stream} on {tag.branch}" + (f" ({tag.name})" if tag.name else "")
    return sentence.format(name=name)


def _act(command: Command) -> Callable[[Asked, Database], Done]:
    def act(asked: Asked, db: Database) -> Done:
        why = asked.form.get("why", "").strip()[: overrides.WHY_LIMIT]
        if not why:
            raise Problem(422, "Say why, for the others.")
        return _done(command(db, asked.number, why=why, **asked.by))

    return act


BUTTONS = (
    Button(
        "side-tag-give-up", "builds:write", "Give the side tag up",
        lambda asked: _what(asked, "The {name} is removed at the build system with all that it holds, although its "
                                   "update was not pushed. Builds that wait for their turn get a new one."),
        _act(lifecycle.give_up_side_tag), lambda subject: f"/side-tags/{subject}", texts=(WHY,),
    ),
    Button(
        "side-tag-go-on", "builds:write", "Let the set go on",
        lambda asked: _what(asked, "The {name} goes on: if it is held it is tried or looked at again, else the later "
                                   "builds of the set are made without those that ended badly."),
        _act(lifecycle.go_on_side_tag), lambda subject: f"/side-tags/{subject}", texts=(WHY,),
    ),
)  # fmt: skip
