"""``/api/v1``: the matrix, releases, builds, deliveries and the catalogue, to read."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from service import board
from service.domain.states import BuildState, DeliveryState, ReleaseState
from service.domain.versions import Stream
from service.web.access.auth import needs
from service.web.api import schemas
from service.web.api.audit_shapes import AuditPage
from service.web.api.badges import badge_svg
from service.web.api.feed import feed_xml
from service.web.api.rule_shapes import ProvedWorkarounds, proved_workaround
from service.web.api.shapes import (
    build_shape,
    delivery_text,
    matrix_shape,
    release_shape,
    spec_shape,
)
from service.web.base.parameters import (
    DEFAULT_LIMIT,
    BuildId,
    Context,
    Cursor,
    Limit,
    Since,
    Word,
    WordInPath,
)
from service.web.base.problem import Problem
from service.web.base.problems import problems

PAYLOAD_SHOWN = 1024 * 1024

router = APIRouter(
    prefix="/api/v1", dependencies=[needs("read")], responses=problems(401, 403, 404, 422, 503)
)


@router.get("/matrix", response_model=schemas.MatrixShape, tags=["matrix"])
def get_matrix(request: Request, context: Context, family: Word = None) -> Response:
    """Packages × branches × build systems. The ETag changes when anything but the ages has changed."""
    with context.db.reader() as session:
        found = board.matrix(session, context.catalog, datetime.now(UTC), family=family)
    tag = f'W/"{sha256(repr((found.columns, found.rows)).encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if tag in [part.strip() for part in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return JSONResponse(matrix_shape(found).model_dump(mode="json"), headers=headers)


@router.get("/releases", response_model=schemas.Releases, tags=["releases"])
def list_releases(
    context: Context,
    family: Word = None,
    stream: Word = None,
    state: ReleaseState | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Any:
    """Upstream's releases as we know them, last seen first."""
    with context.db.reader() as session:
        return board.list_releases(
            session, family=family, stream=stream, state=state, cursor=cursor, limit=limit
        )


@router.get("/releases/{family}/{version}", response_model=schemas.ReleaseWithBuilds, tags=["releases"])
def get_release(context: Context, family: WordInPath, version: WordInPath) -> Any:
    """A release, the decision about it, its source and its builds."""
    with context.db.reader() as session:
        found = board.release_detail(
            session, context.catalog, datetime.now(UTC), family, version.removeprefix("v")
        )
    if found is None:
        raise Problem(404, f"We know no release {version} of {family}.")
    return release_shape(found)


@router.get("/builds", response_model=schemas.Builds, tags=["builds"])
def list_builds(
    context: Context,
    family: Word = None,
    stream: Word = None,
    package: Word = None,
    version: Word = None,
    branch: Word = None,
    system: Word = None,
    state: Annotated[list[BuildState], Query(description="May be given several times.")] = [],  # noqa: B006
    arch: Annotated[str | None, Query(pattern=r"^[a-z0-9_]{2,12}$")] = None,
    since: Since = None,
    behind: Annotated[bool, Query(description="Only what stands in cells that are behind upstream.")] = False,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Any:
    """Builds, newest first."""
    with context.db.reader() as session:
        ids = None
        if behind:
            grid = board.matrix(session, context.catalog, datetime.now(UTC), family=family)
            ids = [cell.build.id for cell in grid.cells if cell.behind and cell.build]
        wanted = board.BuildFilter(
            family=family,
            stream=stream,
            package=package,
            version=version,
            branch=branch,
            system=system,
            states=tuple(state),
            arch=arch,
            since=since,
            ids=ids,
        )
        return board.list_builds(session, wanted, cursor=cursor, limit=limit)


@router.get("/builds/{build_id}", response_model=schemas.BuildWithHistory, tags=["builds"])
def get_build(context: Context, build_id: BuildId) -> Any:
    """One build with how it was made."""
    detail = _build(context, build_id)
    stream = Stream.parse(detail.build.stream)
    return build_shape(detail, confirmed=context.catalog.is_confirmed(detail.build.family, stream))


@router.get("/builds/{build_id}/events", response_model=schemas.Events, tags=["builds"])
def list_events(
    context: Context, build_id: BuildId, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Any:
    """A build's history, oldest first."""
    with context.db.reader() as session:
        page = board.list_events(session, build_id, cursor=cursor, limit=limit)
    if not page.items:
        _build(context, build_id)
    return page


@router.get(
    "/builds/{build_id}/spec",
    tags=["builds"],
    response_class=PlainTextResponse,
    responses={200: {"model": schemas.SpecShape, "content": {"text/plain": {}}}},
)
def get_spec(request: Request, context: Context, build_id: BuildId) -> Response:
    """The spec as it was submitted: plain text, or JSON with its diff for 'Accept: application/json'."""
    with context.db.reader() as session:
        change = board.spec_change(session, build_id)
    if change is None:
        _build(context, build_id)
        raise Problem(404, f"Build {build_id} has no spec yet.")
    if _wants_json(request):
        return JSONResponse(spec_shape(change).model_dump(mode="json"))
    return PlainTextResponse(change.spec.text)


@router.get("/deliveries", response_model=schemas.Deliveries, tags=["deliveries"])
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


@router.get("/deliveries/{guid}", response_model=schemas.DeliveryWithPayload, tags=["deliveries"])
def get_delivery(context: Context, guid: WordInPath) -> Response:
    """One delivery with its payload."""
    with context.db.reader() as session:
        found = board.delivery_detail(session, context.catalog, guid, payload_limit=PAYLOAD_SHOWN)
    if found is None:
        raise Problem(404, f"There is no delivery {guid}.")
    return Response(delivery_text(found), media_type="application/json")


@router.get("/audit", response_model=AuditPage, tags=["audit"])
def list_audit(
    context: Context,
    actor: Word = None,
    action: Word = None,
    subject: Annotated[
        str | None, Query(pattern=r"^[ -~]{1,200}$", description="Such as 'build 42'.")
    ] = None,
    since: Since = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Any:
    """Who asked for what, newest first."""
    with context.db.reader() as session:
        return board.list_audit(
            session, actor=actor, action=action, subject=subject, since=since, cursor=cursor, limit=limit
        )


@router.get("/streams", response_model=schemas.Streams, tags=["catalogue"])
def list_streams(context: Context) -> Any:
    """The streams that have releases or that are built, newest first."""
    with context.db.reader() as session:
        return {"items": board.streams(session, context.catalog, datetime.now(UTC)), "next": None}


@router.get("/targets", response_model=schemas.Targets, tags=["catalogue"])
def list_targets(context: Context) -> Any:
    """Which branch is built on which system."""
    return {"items": board.columns_of(context.catalog, datetime.now(UTC).date()), "next": None}


@router.get("/workarounds", response_model=ProvedWorkarounds, tags=["catalogue"])
def list_workarounds(context: Context) -> Any:
    """The workarounds that specs may carry, with their reasons and what their latest proofs found."""
    with context.db.reader() as session:
        found = board.rules(session, context.catalog)
    return {"items": [proved_workaround(row) for row in found], "next": None}


@router.get("/badges/{package}/{branch}.svg", tags=["feeds"], response_class=Response,
            responses={200: {"content": {"image/svg+xml": {}}}})  # fmt: skip
def get_badge(context: Context, package: WordInPath, branch: WordInPath, system: Word = None) -> Response:
    """Where a package stands on a branch, as a small picture."""
    with context.db.reader() as session:
        grid = board.matrix(
            session, context.catalog, datetime.now(UTC), package=package, branch=branch, system=system
        )
    if not grid.rows or not grid.columns:
        raise Problem(404, f"There is no package {package} on branch {branch}.")
    return Response(badge_svg(grid), media_type="image/svg+xml", headers={"Cache-Control": "max-age=60"})


@router.get("/feed.atom", tags=["feeds"], response_class=Response,
            responses={200: {"content": {"application/atom+xml": {}}}})  # fmt: skip
def get_feed(context: Context) -> Response:
    """What ended last, or waits for a person, as an Atom feed."""
    with context.db.reader() as session:
        ends = board.latest_ends(session)
    return Response(
        feed_xml(ends, context.settings.base_url, datetime.now(UTC)), media_type="application/atom+xml"
    )


def _build(context: Context, build_id: int) -> board.BuildDetail:
    with context.db.reader() as session:
        detail = board.build_detail(session, build_id)
    if detail is None:
        raise Problem(404, f"There is no build {build_id}.")
    return detail


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")
