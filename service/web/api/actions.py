"""``/api/v1``, to write: builds, releases and deliveries. Each route is one command with its scope."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.builds import commands
from service.distgit.changes import resolve_conflict
from service.domain.distgit import Resolution
from service.domain.versions import parse_tag
from service.store.session import Database
from service.web.access.auth import Caller, needs
from service.web.api import action_shapes as shapes
from service.web.api.writes import Done, IdempotencyKey, refused, write
from service.web.base.parameters import BuildId, Context, WordInPath
from service.web.base.problems import problems

ForBuilds = Annotated[Caller, needs("builds:write")]
ForReleases = Annotated[Caller, needs("releases:write")]

router = APIRouter(
    prefix="/api/v1", responses=problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503)
)


@router.post("/releases", response_model=shapes.Announced, status_code=202, tags=["releases"])
def add_release(
    request: Request,
    context: Context,
    caller: ForReleases,
    wanted: shapes.NewRelease,
    key: IdempotencyKey = None,
) -> Response:
    """Start a release by its tag, announced by a webhook or not; a pre-release named here is built, too."""

    def act(db: Database) -> Done:
        done = commands.add_release(
            db,
            context.catalog,
            wanted.family,
            wanted.tag,
            bugs=wanted.bugs,
            by=caller.name,
            address=caller.address,
        )
        body = {
            "family": wanted.family,
            "version": str(parse_tag(wanted.tag)),
            "sentence": done.sentence,
            "builds": list(done.builds),
        }
        return Done(body, builds=done.builds)

    return write(request, caller, key, act, wanted)


@router.post("/builds/{build_id}/retry", response_model=shapes.BuildAsked, status_code=202, tags=["builds"])
def retry_build(
    request: Request,
    context: Context,
    caller: ForBuilds,
    build_id: BuildId,
    wanted: Annotated[shapes.RetryBody | None, Body()] = None,
    key: IdempotencyKey = None,
) -> Response:
    """A new attempt at the cell of an ended build, with another strategy if one is named."""
    strategy = wanted.strategy if wanted else None

    def act(db: Database) -> Done:
        commands.check_retry(db, context.catalog, build_id, strategy)
        done = commands.request_build(
            db, context.catalog, build_id, by=caller.name, strategy=strategy, address=caller.address
        )
        return _build(done)

    return write(request, caller, key, act, wanted)


@router.post("/builds/{build_id}/cancel", response_model=shapes.BuildAsked, status_code=202, tags=["builds"])
def cancel_build(
    request: Request, caller: ForBuilds, build_id: BuildId, key: IdempotencyKey = None
) -> Response:
    """Ask for a build's end; the next step or poll carries it out."""
    return write(
        request, caller, key,
        lambda db: _build(commands.request_cancel(db, build_id, by=caller.name, address=caller.address)),
    )  # fmt: skip


@router.post("/builds/{build_id}/resume", response_model=shapes.BuildAsked, status_code=202, tags=["builds"])
def resume_build(
    request: Request, context: Context, caller: ForBuilds, build_id: BuildId, key: IdempotencyKey = None
) -> Response:
    """Let a held build go on, with its target's whole time anew."""

    def act(db: Database) -> Done:
        done = commands.resume_build(db, context.catalog, build_id, by=caller.name, address=caller.address)
        return _build(done)

    return write(request, caller, key, act)


@router.post("/builds/{build_id}/resolve", response_model=shapes.BuildAsked, status_code=202, tags=["builds"])
def resolve_build(
    request: Request,
    context: Context,
    caller: ForBuilds,
    build_id: BuildId,
    wanted: shapes.HowResolved,
    key: IdempotencyKey = None,
) -> Response:
    """Settle a conflict in dist-git, for the lines in conflict only, and let the held build go on."""

    def act(db: Database) -> Done:
        how = Resolution(wanted.how)
        done = resolve_conflict(db, context.catalog, build_id, how, by=caller.name, address=caller.address)
        return _build(done)

    return write(request, caller, key, act, wanted)


@router.post("/builds/{build_id}/give-up", response_model=shapes.BuildAsked, status_code=202, tags=["builds"])
def give_up_build(
    request: Request,
    context: Context,
    caller: ForBuilds,
    build_id: BuildId,
    wanted: shapes.Reason,
    key: IdempotencyKey = None,
) -> Response:
    """End a build whose build system may never answer. What it may hold of it is looked for later, and cancelled."""

    def act(db: Database) -> Done:
        done = commands.give_up_build(
            db, build_id, by=caller.name, why=wanted.why, address=caller.address,
            surplus_seconds=2 * context.settings.submit_doubt_seconds,
        )  # fmt: skip
        return _build(done)

    return write(request, caller, key, act, wanted)


@router.post("/rebuilds", response_model=shapes.Rebuilt, status_code=202, tags=["builds"],
             responses={200: {"model": shapes.Rebuilt, "description": "A dry run: nothing was done."}})  # fmt: skip
def rebuild(
    request: Request,
    context: Context,
    caller: ForBuilds,
    wanted: shapes.RebuildBody,
    key: IdempotencyKey = None,
) -> Response:
    """Build many cells again: one cell, a branch, a stream, or everything failed of a release.

    A cell with a build under way is left alone. 409 where no cell can be built again.
    """
    wish = commands.RebuildRequest(
        family=wanted.family,
        stream=wanted.stream,
        version=wanted.version,
        branch=wanted.branch,
        system=wanted.system,
        target=wanted.target,
        failed_only=wanted.only == "failed",
        strategy=wanted.strategy,
    )
    if wanted.dry_run:
        try:
            found = commands.preview_rebuild(context.db, context.catalog, wish)
        except Exception as error:
            raise refused(error) from error
        return JSONResponse(_rebuilt(found, dry_run=True))

    def act(db: Database) -> Done:
        done = commands.request_rebuild(db, context.catalog, wish, by=caller.name, address=caller.address)
        return Done(_rebuilt(done, dry_run=False), builds=done.builds)

    return write(request, caller, key, act, wanted)


@router.post(
    "/deliveries/{guid}/replay", response_model=shapes.DeliveryAsked, status_code=202, tags=["deliveries"]
)
def replay_delivery(
    request: Request, caller: ForReleases, guid: WordInPath, key: IdempotencyKey = None
) -> Response:
    """Process an ignored or errored delivery again."""

    def act(db: Database) -> Done:
        row = commands.replay_delivery(db, guid, by=caller.name, address=caller.address)
        return Done({"delivery": guid, "sentence": f"delivery {guid} is due again"}, deliveries=(row,))

    return write(request, caller, key, act)


def _build(done: commands.Requested) -> Done:
    return Done({"build": done.build_id, "sentence": done.sentence}, builds=(done.build_id,))


def _rebuilt(done: commands.Rebuilt, *, dry_run: bool) -> dict[str, Any]:
    cells = [shapes.RebuildCell.model_validate(cell).model_dump() for cell in done.cells]
    return {"dry_run": dry_run, "builds": list(done.builds), "cells": cells}
