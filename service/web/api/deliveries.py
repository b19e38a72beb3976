"""The API's webhook deliveries: read them, and process one again."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from service import board
from service.builds import commands
from service.domain.states import DeliveryState
from service.store.session import Database
from service.web.access.auth import needs
from service.web.api.schemas import Next, Shape
from service.web.api.writes import Done, WriteRequest, write_needs
from service.web.base.parameters import DEFAULT_LIMIT, Context, Cursor, Limit, Word, WordInPath
from service.web.base.problems import READ_PROBLEMS, WRITE_PROBLEMS, Problem

PAYLOAD_SHOWN = 1024 * 1024


reading = APIRouter(prefix="/api/v1", dependencies=[needs("read")], responses=READ_PROBLEMS)
writing = APIRouter(prefix="/api/v1", responses=WRITE_PROBLEMS)

ForReleases = Annotated[WriteRequest, write_needs("releases:write")]


class Delivery(Shape):
    """One webhook delivery and what became of it."""

    guid: str
    event: str
    action: str
    repository: str
    tag: str
    state: str
    reason: str
    received_at: datetime
    ended_at: datetime | None
    due_at: datetime | None
    tries: int
    repeats: int


class DeliveryWithPayload(Delivery):
    """A delivery with its size in bytes, its payload (null where too long to show), and its release."""

    size: int
    payload: Any | None
    release: str | None = Field(description="family/version of the release that it is about.")


class Deliveries(Shape):
    items: list[Delivery]
    next: Next


class DeliveryAsked(Shape):
    """The delivery that is due again."""

    delivery: str
    sentence: str


@reading.get("/deliveries", response_model=Deliveries, tags=["deliveries"])
def list_deliveries(
    context: Context,
    state: DeliveryState | None = None,
    event: Word = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Any:
    """Webhook deliveries and what became of them, newest first."""
    with context.db.reader() as session:
        return board.list_deliveries(session, state=state, event=event, cursor=cursor, limit=limit)


@reading.get("/deliveries/{guid}", response_model=DeliveryWithPayload, tags=["deliveries"])
def get_delivery(context: Context, guid: WordInPath) -> Response:
    """One delivery with its payload."""
    with context.db.reader() as session:
        found = board.delivery_detail(session, context.catalog, guid, payload_limit=PAYLOAD_SHOWN)
    if found is None:
        raise Problem(404, f"There is no delivery {guid}.")
    return Response(delivery_text(found), media_type="application/json")


@writing.post("/deliveries/{guid}/replay", response_model=DeliveryAsked, status_code=202, tags=["deliveries"])
def replay_delivery(write: ForReleases, guid: WordInPath) -> Response:
    """Process an ignored or errored delivery again."""

    def act(db: Database) -> Done:
        row = commands.replay_delivery(db, guid, **write.caller.by)
        return Done({"delivery": guid, "sentence": f"delivery {guid} is due again"}, deliveries=(row,))

    return write.do(act)


def delivery_text(detail: board.DeliveryDetail) -> str:
    """Write one delivery as JSON; its payload is null where it was too long to read whole, or is no valid JSON.

    Payloads are foreign: numbers beyond all bounds, half characters and endless nesting are in some of them.
    """
    known = delivery_shape(detail).model_dump(mode="json")
    if len(detail.payload) < detail.size:
        return json.dumps(known)
    try:
        return json.dumps(known | {"payload": json.loads(detail.payload)}, allow_nan=False)
    except (ValueError, RecursionError):
        return json.dumps(known)


def delivery_shape(detail: board.DeliveryDetail) -> DeliveryWithPayload:
    """Make the API's delivery from the board's, without its payload."""
    release = None
    if detail.release_family and detail.release_version:
        release = f"{detail.release_family}/{detail.release_version}"
    return DeliveryWithPayload(**asdict(detail.delivery), size=detail.size, payload=None, release=release)
