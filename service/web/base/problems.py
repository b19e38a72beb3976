"""The exception for an answer that is an error, its problem+json (RFC 9457), and its part of OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

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


class Problem(Exception):
    """An answer that is an error. ``detail`` is one line that says what to do, ``extra`` further members."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra


class ProblemResponse(JSONResponse):
    media_type = "application/problem+json"


def problem_response(problem: Problem) -> ProblemResponse:
    """Make the problem+json answer. Its type is about:blank, so the title is the status's phrase (RFC 9457)."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        **problem.extra,
    }
    return ProblemResponse(body, problem.status, headers=problem.headers)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI ``responses`` of routes that may answer with these statuses."""
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


# What routes that read, and routes that write, may answer besides success.
READ_PROBLEMS = problems(401, 403, 404, 422, 503)
WRITE_PROBLEMS = problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503)
