"""The pages of webhook deliveries: the inbox, and one delivery with its payload."""

from __future__ import annotations

import json
import shlex

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import board
from service.domain.states import DeliveryState
from service.web.access.auth import page_needs
from service.web.base.context import context_of
from service.web.base.parameters import known_word, word
from service.web.base.problems import Problem
from service.web.base.render import page

# What a person may want to read of a payload; the whole of it is in the database.
PAYLOAD_READ = 256 * 1024
PAYLOAD_SHOWN = 64 * 1024

router = APIRouter(include_in_schema=False, dependencies=[page_needs("read")])


@router.get("/deliveries")
def show_deliveries(request: Request) -> Response:
    """Show the webhook deliveries, newest first."""
    context = context_of(request)
    values = {name: word(request.query_params, name) for name in ("state", "cursor")}
    with context.db.reader() as session:
        found = board.list_deliveries(session, state=values["state"] or None, cursor=values["cursor"])
    return page(
        request,
        "deliveries.html",
        {
            "deliveries": found.items,
            "next": found.next,
            "values": values,
            "all_states": list(DeliveryState),
            "endpoint_off": not context.settings.github_webhook_secrets,
            "base_url": context.settings.base_url,
        },
    )


@router.get("/deliveries/{guid}")
def show_delivery(request: Request, guid: str) -> Response:
    """Show one delivery with its payload."""
    context = context_of(request)
    known_word(guid, "delivery")
    with context.db.reader() as session:
        detail = board.delivery_detail(session, context.catalog, guid, payload_limit=PAYLOAD_READ)
    if detail is None:
        raise Problem(404, f"There is no delivery {guid}.")
    text = readable_payload(detail.payload)
    return page(
        request,
        "delivery.html",
        {
            "detail": detail,
            "row": detail.delivery,
            "payload": text[:PAYLOAD_SHOWN],
            "shown": min(PAYLOAD_SHOWN, len(text)),
            "cut": len(text) > PAYLOAD_SHOWN or len(detail.payload) < detail.size,
            "shell_guid": shlex.quote(guid),
        },
    )


def readable_payload(payload: bytes) -> str:
    """Return the payload's JSON indented, or its text as it came where it is cut or is no JSON."""
    try:
        return json.dumps(json.loads(payload), indent=2, ensure_ascii=False, sort_keys=False)
    except (ValueError, RecursionError):
        return payload.decode("utf-8", "replace")
