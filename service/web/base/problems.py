"""What the OpenAPI document says of errors: which statuses a route may answer, each with its shape."""

from __future__ import annotations

from typing import Any

_TEXTS = {
    400: "The body cannot be read.",
    401: "No token, or one that is not valid.",
    403: "The token has not the scope.",
    404: "Not known here.",
    408: "The body did not arrive in time.",
    409: "The state forbids it; the detail says why.",
    413: "The body is too large.",
    415: "The body is not JSON by its content type.",
    422: "A parameter or the body does not fit.",
    429: "Too many requests; Retry-After says when to come back.",
    503: "The database does not answer; try again.",
}
_EXAMPLES = {
    401: ("Unauthorized", "This token is not valid: it is unknown, expired or revoked."),
    403: ("Forbidden", "Token ci has not the scope builds:write."),
    404: ("Not Found", "There is no build 7."),
    409: ("Conflict", "Build 41 of this cell is running; cancel it or wait for its end."),
    422: ("Unprocessable Content", "body.tag: 'nightly' is not a version tag such as v1.32.1."),
    429: ("Too Many Requests", "More than 60 writes in a minute. Come back in 12 seconds."),
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string"}}}
_CHALLENGE = {"WWW-Authenticate": {"description": "What is missing.", "schema": {"type": "string"}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of routes that may answer with these errors."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        media: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/ProblemShape"}}
        if status in _EXAMPLES:
            title, detail = _EXAMPLES[status]
            media["example"] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        found[status] = {"description": _TEXTS[status], "content": {"application/problem+json": media}}
        if status in (429, 503):
            found[status]["headers"] = _RETRY_AFTER
        elif status in (401, 403):
            found[status]["headers"] = _CHALLENGE
    return found
