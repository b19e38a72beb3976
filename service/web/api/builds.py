"""The API's builds: read them, retry, cancel, resume, resolve or give one up, and rebuild many."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi import Body as InBody
from pydantic import ConfigDict, Field, model_validator
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from service import board
from service.builds import commands
from service.distgit.changes import resolve_conflict
from service.domain.distgit import Resolution
from service.domain.states import BuildState
from service.domain.versions import Stream
from service.store.session import Database
from service.web.access.auth import needs
from service.web.api.schemas import Body, Name, Next, Reason, Shape
from service.web.api.writes import Done, WriteRequest, refused, write_needs
from service.web.base.context import WebContext
from service.web.base.parameters import (
    DEFAULT_LIMIT,
    Context,
    Cursor,
    IdInPath,
    Limit,
    Since,
    Word,
)
from service.web.base.problems import READ_PROBLEMS, WRITE_PROBLEMS, Problem

reading = APIRouter(prefix="/api/v1", dependencies=[needs("read")], responses=READ_PROBLEMS)
writing = APIRouter(prefix="/api/v1", responses=WRITE_PROBLEMS)

ForBuilds = Annotated[WriteRequest, write_needs("builds:write")]


class Chroot(Shape):
    """One chroot of a build: pending, running, succeeded, failed, canceled or skipped."""

    chroot: str
    arch: str
    state: str
    reason: str
    started_at: datetime | None
    ended_at: datetime | None
    result_url: str
    log_url: str


class Build(Shape):
    """One attempt to build one release for one target. 'failed' is the package's fault, 'errored' is not."""

    id: int
    family: str
    stream: str
    package: str
    version: str
    nvr: str = Field(
        description="As the build system calls the build, or our SRPM; empty while neither is known."
    )
    target: str
    branch: str
    system: str
    project: str
    attempt: int
    state: str
    reason: str
    note: str
    cause: str = Field(description="What the logs say went wrong, in one line; empty where nothing was read.")
    soundness: str
    shipped: str = Field(description="How far the build is on its way to users: candidate, testing, stable.")
    shipped_at: datetime | None
    external_id: str | None
    web_url: str
    requested_by: str | None
    created_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None
    spec_sha256: str | None
    srpm_name: str | None
    srpm_sha256: str | None
    chroots: list[Chroot]


class Event(Shape):
    """One line of a build's history."""

    id: int
    at: datetime
    kind: str
    old_state: str
    new_state: str
    text: str
    chroot: str


class DistGitShape(Shape):
    """What a build changed in its package's dist-git branch, or is going to."""

    package: str
    branch: str
    repository: str
    decision: str
    resolution: str
    evr: str
    commit: str = Field(description="The commit that was made; empty before that.")
    landed_commit: str = Field(description="The commit of the branch that is built; empty before that.")
    open_conflict: bool = Field(description="Whether a person must settle a conflict now.")
    conflict: str
    pull_number: int | None = Field(description="The pull request's number at its forge.")
    pull_url: str
    pull_state: Literal["", "open", "merged", "closed"]
    pull_opened_at: datetime | None


class BuildWithHistory(Build):
    """A build with how it was made; its history has an address of its own."""

    strategy: str
    workarounds: list[str]
    source_log_url: str
    submissions: int
    observed_at: datetime | None
    deadline_at: datetime
    due_at: datetime | None
    tries: int
    cancel_requested: str | None
    attempts: list[int] = Field(description="Ids of all attempts at this cell, newest first.")
    last_good: int | None = Field(description="The build that succeeded here before this one.")
    partial: str = Field(description="What the source archive lacks; empty for a whole one.")
    confirmed: bool = Field(description="False until a person has looked at the stream.")
    dist_git: DistGitShape | None = Field(description="Null for a build that is made from an SRPM.")


class SpecShape(Shape):
    """A rendered spec, and its unified diff to the one before it in the same cell."""

    build_id: int
    package: str
    version: str
    target: str
    sha256: str
    text: str
    previous_build_id: int | None
    diff: list[str]


class Builds(Shape):
    items: list[Build]
    next: Next


class Events(Shape):
    items: list[Event]
    next: Next


class RetryBody(Body):
    """How to build again. ``strategy`` null: as before."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"strategy": "compat"}, {}]})

    strategy: Name | None = None


class RebuildBody(Body):
    """Cells to build again. At least one of stream, version, branch and target; what is given composes.

    Without a version it is each stream's newest planned release.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"family": "cri-o", "version": "1.35.6", "only": "failed"},
                {"family": "cri-o", "branch": "f44", "dry_run": True},
                {"family": "cri-o", "stream": "1.34", "system": "copr", "strategy": "compat"},
            ]
        }
    )

    family: Name
    stream: Name | None = None
    version: Name | None = None
    branch: Name | None = None
    system: Name | None = None
    target: Name | None = None
    only: Literal["all", "failed"] = Field("all", description="failed: what failed or errored last.")
    strategy: Name | None = Field(None, description="Instead of the targets' own.")
    dry_run: bool = Field(False, description="Only say what would be done.")

    @model_validator(mode="after")
    def _says_which(self) -> RebuildBody:
        if not (self.stream or self.version or self.branch or self.target):
            raise ValueError("say which cells: a stream, a version, a branch or a target")
        return self


class HowResolved(Body):
    """Whose lines win in a conflict of dist-git, or ``done`` where it was edited there."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"how": "dist-git"}]})

    how: Literal["generated", "dist-git", "done"]


class BuildAsked(Shape):
    """The build that was made or touched, and what becomes of it."""

    build: int
    sentence: str


class RebuildCell(Shape):
    """One cell of the wish: its last attempt, the new one, or why there is none."""

    package: str
    version: str
    target: str
    branch: str
    system: str
    last_build: int | None
    last_state: str
    refusal: str
    build: int | None


class Rebuilt(Shape):
    """What became of each cell, or would."""

    dry_run: bool
    builds: list[int]
    cells: list[RebuildCell]


@reading.get("/builds", response_model=Builds, tags=["builds"])
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


@reading.get("/builds/{build_id}", response_model=BuildWithHistory, tags=["builds"])
def get_build(context: Context, build_id: IdInPath) -> Any:
    """One build with how it was made."""
    detail = _known_build(context, build_id)
    stream = Stream.parse(detail.build.stream)
    return build_shape(detail, confirmed=context.catalog.is_confirmed(detail.build.family, stream))


@reading.get("/builds/{build_id}/events", response_model=Events, tags=["builds"])
def list_events(
    context: Context, build_id: IdInPath, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Any:
    """A build's history, oldest first."""
    with context.db.reader() as session:
        page = board.list_events(session, build_id, cursor=cursor, limit=limit)
    if not page.items:
        _known_build(context, build_id)
    return page


@reading.get(
    "/builds/{build_id}/spec",
    tags=["builds"],
    response_class=PlainTextResponse,
    responses={200: {"model": SpecShape, "content": {"text/plain": {}}}},
)
def get_spec(request: Request, context: Context, build_id: IdInPath) -> Response:
    """The spec as it was submitted: plain text, or JSON with its diff for 'Accept: application/json'."""
    with context.db.reader() as session:
        change = board.spec_change(session, build_id)
    if change is None:
        _known_build(context, build_id)
        raise Problem(404, f"Build {build_id} has no spec yet.")
    if _wants_json(request):
        return JSONResponse(spec_shape(change).model_dump(mode="json"))
    return PlainTextResponse(change.spec.text)


@writing.post("/builds/{build_id}/retry", response_model=BuildAsked, status_code=202, tags=["builds"])
def retry_build(
    write: ForBuilds, build_id: IdInPath, wanted: Annotated[RetryBody | None, InBody()] = None
) -> Response:
    """A new attempt at the cell of an ended build, with another strategy if one is named."""
    strategy = wanted.strategy if wanted else None
    catalog = write.context.catalog

    def act(db: Database) -> Done:
        commands.check_retry(db, catalog, build_id, strategy)
        return _asked(commands.request_build(db, catalog, build_id, strategy=strategy, **write.caller.by))

    return write.do(act, wanted)


@writing.post("/builds/{build_id}/cancel", response_model=BuildAsked, status_code=202, tags=["builds"])
def cancel_build(write: ForBuilds, build_id: IdInPath) -> Response:
    """Ask for a build's end; the next step or poll carries it out."""
    return write.do(lambda db: _asked(commands.request_cancel(db, build_id, **write.caller.by)))


@writing.post("/builds/{build_id}/resume", response_model=BuildAsked, status_code=202, tags=["builds"])
def resume_build(write: ForBuilds, build_id: IdInPath) -> Response:
    """Let a held build go on, with its target's whole time anew."""
    catalog = write.context.catalog
    return write.do(lambda db: _asked(commands.resume_build(db, catalog, build_id, **write.caller.by)))


@writing.post("/builds/{build_id}/resolve", response_model=BuildAsked, status_code=202, tags=["builds"])
def resolve_build(write: ForBuilds, build_id: IdInPath, wanted: HowResolved) -> Response:
    """Settle a conflict in dist-git, for the lines in conflict only, and let the held build go on."""
    catalog, how = write.context.catalog, Resolution(wanted.how)
    return write.do(
        lambda db: _asked(resolve_conflict(db, catalog, build_id, how, **write.caller.by)), wanted
    )


@writing.post("/builds/{build_id}/give-up", response_model=BuildAsked, status_code=202, tags=["builds"])
def give_up_build(write: ForBuilds, build_id: IdInPath, wanted: Reason) -> Response:
    """End a build whose build system may never answer. What it may hold of it is looked for later, and cancelled."""
    seconds = 2 * write.context.settings.submit_doubt_seconds

    def act(db: Database) -> Done:
        return _asked(
            commands.give_up_build(db, build_id, why=wanted.why, surplus_seconds=seconds, **write.caller.by)
        )

    return write.do(act, wanted)


@writing.post("/rebuilds", response_model=Rebuilt, status_code=202, tags=["builds"],
             responses={200: {"model": Rebuilt, "description": "A dry run: nothing was done."}})  # fmt: skip
def rebuild(write: ForBuilds, wanted: RebuildBody) -> Response:
    """Build many cells again: one cell, a branch, a stream, or everything failed of a release.

    A cell with a build under way is left alone. 409 where no cell can be built again.
    """
    context = write.context
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
        done = commands.request_rebuild(db, context.catalog, wish, **write.caller.by)
        return Done(_rebuilt(done, dry_run=False), builds=done.builds)

    return write.do(act, wanted)


def _asked(done: commands.Requested) -> Done:
    return Done({"build": done.build_id, "sentence": done.sentence}, builds=(done.build_id,))


def _rebuilt(done: commands.Rebuilt, *, dry_run: bool) -> dict[str, Any]:
    cells = [RebuildCell.model_validate(cell).model_dump() for cell in done.cells]
    return {"dry_run": dry_run, "builds": list(done.builds), "cells": cells}


def known_build(session: Session, build_id: int) -> board.BuildDetail:
    """Return one build. Raises Problem 404 where there is none of that id."""
    detail = board.build_detail(session, build_id)
    if detail is None:
        raise Problem(404, f"There is no build {build_id}.")
    return detail


def _known_build(context: WebContext, build_id: int) -> board.BuildDetail:
    with context.db.reader() as session:
        return known_build(session, build_id)


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def build_shape(detail: board.BuildDetail, *, confirmed: bool) -> BuildWithHistory:
    """Make the API's build with its history from the board's."""
    own = Build.model_validate(detail.build).model_dump()
    rest: dict[str, Any] = {
        name: getattr(detail, name)
        for name in BuildWithHistory.model_fields
        if name not in own and name not in ("attempts", "last_good", "confirmed", "dist_git")
    }
    return BuildWithHistory(
        **own,
        **rest,
        attempts=[attempt.id for attempt in detail.attempts],
        last_good=detail.last_good.id if detail.last_good else None,
        confirmed=confirmed,
        dist_git=DistGitShape.model_validate(detail.dist_git) if detail.dist_git else None,
    )


def spec_shape(change: board.SpecChange) -> SpecShape:
    """Make the API's spec from the board's."""
    spec = change.spec
    return SpecShape(
        build_id=spec.build_id,
        package=spec.package,
        version=spec.version,
        target=spec.target,
        sha256=spec.sha256,
        text=spec.text,
        previous_build_id=change.previous.build_id if change.previous else None,
        diff=list(change.diff),
    )
