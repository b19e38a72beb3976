"""The API's catalogue: read streams, targets and overrides, and change them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.responses import Response

from service import board, overrides
from service.catalog.overrides import values_of
from service.domain.errors import BadCatalog
from service.store.session import Database
from service.web.access.auth import needs
from service.web.api.matrix import StreamShape, Target
from service.web.api.schemas import Body, Name, Reason, Shape, Why
from service.web.api.writes import Done, WriteRequest, write_needs
from service.web.base.context import WebContext
from service.web.base.parameters import Context, IdInPath, WordInPath
from service.web.base.problems import READ_PROBLEMS, WRITE_PROBLEMS, problems

reading = APIRouter(
    prefix="/api/v1", tags=["catalogue"], dependencies=[needs("read")], responses=READ_PROBLEMS
)
# Apart from the others because its place in the document is beside what changes the overrides, and it has no 404.
listing = APIRouter(
    prefix="/api/v1", tags=["catalogue"], dependencies=[needs("read")], responses=problems(401, 403, 422, 503)
)
writing = APIRouter(prefix="/api/v1", tags=["catalogue"], responses=WRITE_PROBLEMS)

ForCatalog = Annotated[WriteRequest, write_needs("catalog:write")]


class Streams(Shape):
    items: list[StreamShape]
    next: str | None = None


class Targets(Shape):
    items: list[Target]
    next: str | None = None


class EndOfLife(Body):
    """Why, and since which day; today where it is not given."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"why": "upstream announced it", "eol": "2026-11-25"}]}
    )

    why: Why
    eol: date | None = None


class TargetChanges(Body):
    """What to change of a target, and why. What is not named stays; null opens the range of streams."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"strategy": "compat", "first_stream": "1.32", "why": "f44's linker"}]
        }
    )

    why: Why
    enabled: bool | None = None
    project: Annotated[str, Field(pattern=r"^[!-~]{1,200}$")] | None = None
    chroots: Annotated[list[Name], Field(max_length=50)] | None = None
    strategy: Name | None = None
    first_stream: Name | None = None
    last_stream: Name | None = None
    deadline_hours: Annotated[int, Field(ge=1, le=720)] | None = None

    def changes(self) -> dict[str, Any]:
        """Return the changes that were given; null counts for the ends of the range of streams only."""
        given = self.model_dump(exclude_unset=True, exclude={"why"})
        return {
            key: value
            for key, value in given.items()
            if value is not None or key in ("first_stream", "last_stream")
        }


class CatalogChanged(Shape):
    """What a change of the catalogue changed. The next planning, in a moment, follows it."""

    kind: str
    subject: str
    before: dict[str, Any]
    after: dict[str, Any]
    sentence: str


class OverrideShape(Shape):
    """What differs from the catalogue's files, and who wanted it, when and why."""

    id: int
    kind: str
    subject: str
    changes: dict[str, Any]
    files: dict[str, Any] = Field(description="What the files say of the same keys.")
    why: str
    actor: str
    at: datetime
    refused: str = Field(
        description="Why it is not in force: it does not fit the files any more. Empty: it is."
    )


class Overrides(Shape):
    items: list[OverrideShape]
    next: str | None = None


@reading.get("/streams", response_model=Streams)
def list_streams(context: Context) -> Any:
    """The streams that have releases or that are built, newest first."""
    with context.db.reader() as session:
        return {"items": board.streams(session, context.catalog, datetime.now(UTC)), "next": None}


@reading.get("/targets", response_model=Targets)
def list_targets(context: Context) -> Any:
    """Which branch is built on which system."""
    return {"items": board.columns_of(context.catalog, datetime.now(UTC).date()), "next": None}


@listing.get("/overrides", response_model=Overrides)
def list_overrides(context: Context) -> Any:
    """What differs from the catalogue's files, with who wanted it and why."""
    return {"items": overrides_shown(context), "next": None}


@writing.post("/streams/{family}/{stream}/confirm", response_model=CatalogChanged, status_code=202)
def confirm_stream(write: ForCatalog, family: WordInPath, stream: WordInPath, wanted: Reason) -> Response:
    """Say that a person has looked at a new stream: it is built, and no longer marked as unconfirmed."""
    changes = {"confirmed": True, "build": True}
    return _change(write, wanted, "stream", f"{family}/{stream}", changes, "stream.confirm")


@writing.post("/streams/{family}/{stream}/end-of-life", response_model=CatalogChanged, status_code=202)
def end_stream(write: ForCatalog, family: WordInPath, stream: WordInPath, wanted: EndOfLife) -> Response:
    """Mark a stream as end-of-life: nothing new is built of it, and what is built stays."""
    changes = {"build": False, "eol": _day(wanted)}
    return _change(write, wanted, "stream", f"{family}/{stream}", changes, "stream.end")


@writing.post("/branches/{branch}/end-of-life", response_model=CatalogChanged, status_code=202)
def end_branch(write: ForCatalog, branch: WordInPath, wanted: EndOfLife) -> Response:
    """Mark a branch as end-of-life: it gets no new builds, and what is built stays."""
    return _change(write, wanted, "branch", branch, {"eol": _day(wanted)}, "branch.end")


@writing.post("/targets/{target}/pause", response_model=CatalogChanged, status_code=202)
def pause_target(write: ForCatalog, target: WordInPath, wanted: Reason) -> Response:
    """Plan nothing new for a target; what is under way goes on."""
    return _change(write, wanted, "target", target, {"enabled": False}, "target.pause")


@writing.post("/targets/{target}/resume", response_model=CatalogChanged, status_code=202)
def resume_target(write: ForCatalog, target: WordInPath, wanted: Reason) -> Response:
    """Plan for a paused target again; what it missed is planned in a moment."""
    return _change(write, wanted, "target", target, {"enabled": True}, "target.resume")


@writing.patch("/targets/{target}", response_model=CatalogChanged, status_code=202)
def edit_target(write: ForCatalog, target: WordInPath, wanted: TargetChanges) -> Response:
    """Change a target without a restart. The catalogue's own checks judge it; builds under way keep what they had."""
    return _change(write, wanted, "target", target, wanted.changes(), "target.edit")


@writing.delete("/overrides/{override_id}", response_model=CatalogChanged, status_code=202)
def drop_override(write: ForCatalog, override_id: IdInPath, wanted: Reason) -> Response:
    """Go back to what the catalogue's files say."""

    def act(db: Database) -> Done:
        done = overrides.drop_override(
            db, write.context.live_catalog.files, override_id, why=wanted.why, **write.caller.by,
        )  # fmt: skip
        return _changed(done)

    return write.do(act, wanted)


def overrides_shown(context: WebContext) -> list[OverrideShape]:
    """Return the overrides beside what the files say, for the API and the catalogue's page."""
    with context.db.reader() as session:
        rows = overrides.read_overrides(session)
    found = context.live_catalog.look()
    return [
        OverrideShape(
            id=row.id, kind=row.kind, subject=row.subject, changes=dict(row.changes),
            files=_of_files(context, row.kind, row.subject, row.changes),
            why=row.why, actor=row.actor, at=row.at or datetime.now(UTC),
            refused=found.refused.get((row.kind, row.subject), ""),
        )
        for row in rows
    ]  # fmt: skip


def _of_files(context: WebContext, kind: str, subject: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    try:
        own = values_of(context.live_catalog.files, kind, subject)
    except BadCatalog:
        return {}
    return {key: own.get(key) for key in changes}


def _change(
    write: WriteRequest,
    wanted: Reason | EndOfLife | TargetChanges,
    kind: str,
    subject: str,
    changes: Mapping[str, Any],
    action: str,
) -> Response:
    def act(db: Database) -> Done:
        done = overrides.change_catalog(
            db, write.context.live_catalog.files, kind, subject, changes, why=wanted.why, action=action,
            **write.caller.by,
        )  # fmt: skip
        return _changed(done)

    return write.do(act, wanted)


def _changed(done: overrides.Changed) -> Done:
    body = {
        "kind": done.kind, "subject": done.subject, "before": dict(done.before), "after": dict(done.after),
        "sentence": done.sentence,
    }  # fmt: skip
    return Done(body, replan=True)


def _day(wanted: EndOfLife) -> str:
    return (wanted.eol or datetime.now(UTC).date()).isoformat()
