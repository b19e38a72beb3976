"""The inbox, the service's health, the glossary and the API's description."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import board
from service.domain.states import DeliveryState
from service.web.access.auth import page_needs
from service.web.api.catalog_actions import overrides_shown
from service.web.base.assets import asset_at
from service.web.base.context import context_of
from service.web.base.glossary import SECTIONS
from service.web.base.problem import Problem
from service.web.base.render import page
from service.web.pages.matrix import known_word, word

# What a person may want to read of a payload; the whole of it is in the database.
PAYLOAD_READ = 256 * 1024
PAYLOAD_SHOWN = 64 * 1024

router = APIRouter(include_in_schema=False, dependencies=[page_needs("read")])


async def serve_asset(request: Request) -> Response:
    """One static file, to be kept for ever: its address changes with its content."""
    asset = asset_at(request.url.path)
    if asset is None:
        raise Problem(404, "There is no such file.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(asset.content, media_type=asset.media_type, headers=headers)


@router.get("/deliveries")
def show_deliveries(request: Request) -> Response:
    """The inbox, newest first."""
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
    """One delivery with its payload."""
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
    """The payload's JSON with indents; where it is cut or cannot be read, its text as it came."""
    try:
        return json.dumps(json.loads(payload), indent=2, ensure_ascii=False, sort_keys=False)
    except (ValueError, RecursionError):
        return payload.decode("utf-8", "replace")


@router.get("/audit")
def show_audit(request: Request) -> Response:
    """Who asked for what, newest first."""
    names = ("actor", "action", "cursor")
    values = {name: word(request.query_params, name) for name in names}
    with context_of(request).db.reader() as session:
        found = board.list_audit(
            session,
            actor=values["actor"] or None,
            action=values["action"] or None,
            cursor=values["cursor"],
        )
    return page(request, "audit.html", {"entries": found.items, "next": found.next, "values": values})


@router.get("/catalogue")
def show_catalogue(request: Request) -> Response:
    """What is built where, and what maintainers changed of it."""
    context = context_of(request)
    catalog, now = context.catalog, datetime.now(UTC)
    with context.db.reader() as session:
        streams = board.streams(session, catalog, now)
    values = {
        "overrides": overrides_shown(context),
        "targets": board.columns_of(catalog, now.date()),
        "branches": sorted(catalog.branches.values(), key=lambda policy: policy.branch),
        "streams": streams,
        "today": now.date(),
        "may": request.state.caller.may("catalog:write"),
        "now": now,
    }
    return page(request, "catalogue.html", values)


@router.get("/health")
def show_health(request: Request) -> Response:
    """What is due and overdue, and who was reached when."""
    context = context_of(request)
    with context.db.reader() as session:
        found = board.health(session)
    return page(
        request,
        "health.html",
        {
            "health": found,
            "now": found.now,
            "is_sqlite": context.db.is_sqlite,
            "broker": context.wake.problem,
            "dropped": context.wake.dropped,
            "stored": context.inbox.stored,
            "groups": context.inbox.groups,
            "endpoint_off": not context.settings.github_webhook_secrets,
        },
    )


@router.get("/glossary")
def show_glossary(request: Request) -> Response:
    """The words that the pages use."""
    return page(request, "glossary.html", {"sections": SECTIONS})


@router.get("/api/v1/docs")
def show_api(request: Request) -> Response:
    """The API's description for people, made from its OpenAPI document."""
    return page(
        request,
        "docs.html",
        {"document": request.app.openapi(), "shape": shape, "kinds": kinds, "now": datetime.now(UTC)},
    )


def shape(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(shape(part) for part in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {shape(schema.get('items', {}))}"
    words = [str(schema.get("format") or schema.get("type") or "any")]
    if "minimum" in schema and "maximum" in schema:
        words.append(f"{schema['minimum']} to {schema['maximum']}")
    return " ".join(words)


def kinds(answer: dict[str, Any]) -> str:
    """The media types of one answer."""
    return ", ".join(answer.get("content", {})) or str(answer.get("description", ""))
