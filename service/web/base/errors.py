"""Turns exceptions into answers: problem+json (RFC 9457) for programs, a page for people."""

from __future__ import annotations

import secrets

import structlog
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.web.base.problems import Problem, problem_response
from service.web.base.render import error_page

PROGRAM_PATHS = ("/api/", "/webhooks/", "/healthz", "/readyz", "/metrics", "/static/")
# Where a parameter may stand, in the order of a request.
PLACES = ("path", "query", "header", "cookie", "body")
DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeout)

log = structlog.get_logger()


def answer_problem(request: Request, problem: Problem) -> Response:
    """Make the answer of a problem: problem+json under the addresses of programs, else a page."""
    if request.url.path.startswith(PROGRAM_PATHS):
        return problem_response(problem)
    return error_page(request, problem.status, problem.detail, problem.headers)


async def on_problem(request: Request, error: Exception) -> Response:
    """Answer a Problem that a route raised."""
    assert isinstance(error, Problem)
    return answer_problem(request, error)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer an error that the framework raises itself: unknown address, wrong method."""
    assert isinstance(error, HTTPException)
    details = {
        # All that the framework says of a body that is not text.
        400: "The body cannot be read: send JSON in UTF-8.",
        404: "There is nothing at this address.",
        405: f"{request.method} is not possible here.",
    }
    detail = details.get(error.status_code, str(error.detail))
    return answer_problem(request, Problem(error.status_code, detail, headers=error.headers))


async def on_invalid_request(request: Request, error: Exception) -> Response:
    """Answer parameters that do not fit with 422: names parameter and fault, never echoes the value."""
    assert isinstance(error, RequestValidationError)
    # The framework tells what a dependency asks for before what its route asks for; people read from left to right.
    told = sorted(error.errors(), key=lambda fault: PLACES.index(str(fault["loc"][0])))
    faults = [
        {"where": ".".join(str(part) for part in fault["loc"]), "what": str(fault["msg"])[:300]}
        for fault in told[:20]
    ]
    first = faults[0] if faults else {"where": "request", "what": "is not valid"}
    return answer_problem(request, Problem(422, f"{first['where']}: {first['what']}", errors=faults))


async def on_bad_cursor(request: Request, error: Exception) -> Response:
    """Answer a cursor that is not ours with 422."""
    return answer_problem(request, Problem(422, f"query.cursor: {error}"))


async def on_database_away(request: Request, error: Exception) -> Response:
    """Answer 503 while the database is away: nothing is wrong with the request."""
    log.error("database away", path=request.url.path, error=type(error).__name__)
    detail = "The database does not answer. Nothing is lost: try again in a moment."
    return answer_problem(request, Problem(503, detail, headers={"Retry-After": "5"}))


def crash_response(request: Request, error: Exception) -> Response:
    """Log an unexpected error and make its answer: 500 with an id that is in the log beside the traceback."""
    error_id = secrets.token_hex(6)
    log.error("request failed", error_id=error_id, path=request.url.path, exc_info=error)
    detail = f"This is a fault of ours. The log has the details under error id {error_id}."
    problem = Problem(500, detail, error_id=error_id)
    try:
        return answer_problem(request, problem)
    except Exception:  # What is broken may be the page itself.
        return problem_response(problem)
