"""The pages about the service itself: audit trail, health, and the API's description."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import board
from service.web.access.auth import page_needs
from service.web.base.context import context_of
from service.web.base.parameters import word
from service.web.base.render import page

router = APIRouter(include_in_schema=False, dependencies=[page_needs("read")])


@router.get("/audit")
def show_audit(request: Request) -> Response:
    """Show the audit trail, newest first."""
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


@router.get("/health")
def show_health(request: Request) -> Response:
    """Show due and overdue work, and the last contact with other services."""
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


@router.get("/api/v1/docs")
def show_api(request: Request) -> Response:
    """Show the API's description for people, made from its OpenAPI document."""
    return page(
        request,
        "docs.html",
        {"document": request.app.openapi(), "shape": shape, "kinds": kinds, "now": datetime.now(UTC)},
    )


def shape(schema: dict[str, Any]) -> str:
    """Describe a JSON schema in a few words."""
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
    """Return the media types of one answer as text, or its description where it has none."""
    return ", ".join(answer.get("content", {})) or str(answer.get("description", ""))
