"""Causes: the page that lists clusters and rules, and their part of the API."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from service import board
from service.results import diagnoses
from service.store.session import Database
from service.web.access.auth import Caller, needs, page_needs
from service.web.api import cause_shapes as shapes
from service.web.api.writes import Done, IdempotencyKey, write
from service.web.base.context import context_of
from service.web.base.parameters import BuildId, Context
from service.web.base.problem import Problem
from service.web.base.problems import problems
from service.web.base.render import page

Fingerprint = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="The name of a cluster.")]
WRITE_PROBLEMS = problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503)

pages = APIRouter(include_in_schema=False, dependencies=[page_needs("read")])
router = APIRouter(
    prefix="/api/v1",
    tags=["causes"],
    dependencies=[needs("read")],
    responses=problems(401, 403, 404, 422, 503),
)


@pages.get("/causes")
def show_causes(request: Request) -> Response:
    """Unknown clusters and rules, with how often they were met."""
    context = context_of(request)
    with context.db.reader() as session:
        found = board.list_causes(session, context.catalog)
    return page(request, "causes.html", {"causes": found})


@router.get("/causes", response_model=shapes.CausesShape)
def get_causes(context: Context) -> Any:
    """Every rule with its counts, and the clusters of unknown failures."""
    with context.db.reader() as session:
        return board.list_causes(session, context.catalog)


@router.get("/builds/{build_id}/causes", response_model=shapes.BuildCauses)
def get_build_causes(context: Context, build_id: BuildId) -> Any:
    """What the logs of a build's chroots say, with the lines that decide, and what follows."""
    with context.db.reader() as session:
        if board.build_detail(session, build_id) is None:
            raise Problem(404, f"There is no build {build_id}.")
        of_failure, of_itself = board.remedies_of(session, build_id)
        found = board.diagnoses_of(session, context.catalog, build_id)
    return {"diagnoses": found, "remedy": of_failure, "remedy_of": of_itself}


@router.put("/causes/{fingerprint}", response_model=shapes.NamedShape, responses=WRITE_PROBLEMS)
def name_cause(
    request: Request,
    context: Context,
    fingerprint: Fingerprint,
    name: shapes.NameShape,
    caller: Annotated[Caller, needs("builds:write")],
    key: IdempotencyKey = None,
) -> Response:
    """Give a cluster of unknown failures a name: a rule from now on. Repeating it changes the name."""

    def act(db: Database) -> Done:
        named = diagnoses.name_cluster(
            db, fingerprint, cause=name.cause, why=name.why, advice=name.advice, reference=name.reference,
            fault=name.fault, retry=name.retry, by=caller.name, address=caller.address,
        )  # fmt: skip
        return Done(asdict(named), status=200)

    return write(request, caller, key, act, name)
