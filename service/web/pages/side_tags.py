"""The pages of side tags: the list, and one with its set in build order."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import board
from service.web.access.auth import page_needs
from service.web.api.side_tags import known_side_tag
from service.web.base.context import context_of
from service.web.base.parameters import known_id, word
from service.web.base.render import page

router = APIRouter(include_in_schema=False, dependencies=[page_needs("read")])


@router.get("/side-tags")
def show_side_tags(request: Request) -> Response:
    """Show the side tags, newest first."""
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


@router.get("/side-tags/{side_tag_id}")
def show_side_tag(request: Request, side_tag_id: str) -> Response:
    """Show one side tag: its set in build order, and its history."""
    detail = known_side_tag(context_of(request), known_id(side_tag_id, "side tag"))
    return page(request, "side_tag.html", {"detail": detail})
