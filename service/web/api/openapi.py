"""Makes the OpenAPI document: what FastAPI knows of the routes, and the scopes, errors and links that it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import Field

from service.web.api.schemas import Shape

# From an answer to the request that follows it, so that a machine can walk the API as a person would.
_TO_BUILD = {"build_id": "$response.body#/items/0/id"}
_MADE = {"build_id": "$response.body#/build"}
_STARTED = {"build_id": "$response.body#/builds/0"}
LINKS: dict[str, dict[str, tuple[str, dict[str, str]]]] = {
    "list_builds": {
        "build": ("get_build", _TO_BUILD), "events": ("list_events", _TO_BUILD), "spec": ("get_spec", _TO_BUILD),
        "retry": ("retry_build", _TO_BUILD), "cancel": ("cancel_build", _TO_BUILD),
        "resume": ("resume_build", _TO_BUILD), "next": ("list_builds", {"cursor": "$response.body#/next"}),
    },
    "add_release": {
        "release": (
            "get_release", {"family": "$response.body#/family", "version": "$response.body#/version"},
        ),
        "build": ("get_build", _STARTED), "cancel": ("cancel_build", _STARTED),
        "retry": ("retry_build", _STARTED), "give up": ("give_up_build", _STARTED),
    },
    "retry_build": {"build": ("get_build", _MADE), "cancel": ("cancel_build", _MADE)},
    "cancel_build": {"build": ("get_build", _MADE), "retry": ("retry_build", _MADE)},
    "give_up_build": {"build": ("get_build", _MADE), "retry": ("retry_build", _MADE)},
    "rebuild": {"build": ("get_build", _STARTED), "cancel": ("cancel_build", _STARTED)},
    "list_releases": {
        "release": (
            "get_release",
            {"family": "$response.body#/items/0/family", "version": "$response.body#/items/0/version"},
        )
    },
    "list_deliveries": {
        "delivery": ("get_delivery", {"guid": "$response.body#/items/0/guid"}),
        "replay": ("replay_delivery", {"guid": "$response.body#/items/0/guid"}),
    },
    "list_targets": {
        "pause": ("pause_target", {"target": "$response.body#/items/0/target"}),
        "resume": ("resume_target", {"target": "$response.body#/items/0/target"}),
        "edit": ("edit_target", {"target": "$response.body#/items/0/target"}),
    },
    "list_overrides": {"drop": ("drop_override", {"override_id": "$response.body#/items/0/id"})},
    "list_streams": {
        name: (
            operation,
            {"family": "$response.body#/items/0/family", "stream": "$response.body#/items/0/stream"},
        )
        for name, operation in (("confirm", "confirm_stream"), ("end", "end_stream"))
    },
    "list_side_tags": {
        name: (operation, {"side_tag_id": "$response.body#/items/0/id"})
        for name, operation in (
            ("side tag", "get_side_tag"), ("give up", "give_up_side_tag"), ("go on", "go_on_side_tag"),
        )
    },
    "create_token": {"revoke": ("revoke_token", {"name": "$response.body#/token/name"})},
}  # fmt: skip
BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of 'cryopack token create', with its scopes. Reading is open unless "
    "CRYOPACK_API_READ=token; every scope that writes includes reading, and admin includes all.",
}


class ProblemShape(Shape):
    """An error, as RFC 9457 says. 'detail' is one line that says what to do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = Field(None, description="422: each parameter that does not fit.")
    error_id: str | None = Field(None, description="500: what to look for in the log.")


def described(app: FastAPI) -> dict[str, Any]:
    """Make the OpenAPI document, once. Raises KeyError for a link to an operation that is not there."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = FastAPI.openapi(app)
    parts = document["components"]
    parts["schemas"]["ProblemShape"] = ProblemShape.model_json_schema()
    parts["securitySchemes"] = {"bearer": BEARER}
    for name in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(name, None)
    scopes = {
        (method.lower(), route.path): scope_of(route)
        for route in api_routes(app)
        for method in route.methods or ()
    }
    operations = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            scope = scopes[method, path]
            open_to_all: list[dict[str, list[str]]] = [{}] if scope == "read" else []
            operation["security"] = [*open_to_all, {"bearer": [scope]}]
            operation["x-required-scope"] = scope
            name = operation["operationId"].removesuffix("_" + method).split("_api_v1_")[0]
            operation["operationId"] = name
            operations[name] = operation
            if method == "get" and "application/json" in operation["responses"].get("200", {}).get(
                "content", {}
            ):
                operation["responses"]["304"] = {"description": "If-None-Match names what you have already."}
    for name, links in LINKS.items():
        status = next(code for code in operations[name]["responses"] if (code.startswith("2") and code != "200")
                      or (code == "200" and "202" not in operations[name]["responses"]))  # fmt: skip
        operations[name]["responses"][status]["links"] = {
            label: {"operationId": operations[to]["operationId"], "parameters": parameters}
            for label, (to, parameters) in links.items()
        }
    return document


def api_routes(app: FastAPI) -> Iterator[APIRoute]:
    """Yield every route that declares its parameters; FastAPI keeps an included router as one entry."""
    for entry in app.routes:
        inside = getattr(entry, "original_router", None)
        yield from (route for route in (inside.routes if inside else [entry]) if isinstance(route, APIRoute))


def scope_of(route: APIRoute) -> str | None:
    """Return the strictest scope that a route declares with ``needs`` or ``page_needs``, or None."""
    found = {getattr(each.call, "scope", None) for each in _all_dependencies(route.dependant)} - {None}
    return next(iter(found - {"read"} or found), None)


def _all_dependencies(dependant: Dependant) -> Iterator[Dependant]:
    for each in dependant.dependencies:
        yield each
        yield from _all_dependencies(each)
