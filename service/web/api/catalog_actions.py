"""``/api/v1``, to write: the catalogue's overrides, and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service import overrides
from service.access import tokens
from service.catalog.overrides import values_of
from service.domain.errors import BadCatalog
from service.store.session import Database
from service.web.access.auth import Caller, needs
from service.web.api import action_shapes as shapes
from service.web.api.writes import Done, IdempotencyKey, refused, write
from service.web.base.context import WebContext
from service.web.base.parameters import ID_MAX, Context, WordInPath
from service.web.base.problems import problems


@dataclass(frozen=True)
class Asking:
    """Who asks for a change of the catalogue, and how: what every such route is given."""

    request: Request
    context: WebContext
    caller: Caller
    key: str | None


def asking_for_catalog(
    request: Request,
    context: Context,
    caller: Annotated[Caller, needs("catalog:write")],
    key: IdempotencyKey = None,
) -> Asking:
    """The caller's right is asked for here, so that no route of the catalogue can forget it."""
    return Asking(request, context, caller, key)


ForCatalog = Annotated[Asking, Depends(asking_for_catalog)]
Admin = Annotated[Caller, needs("admin")]
WRITE_PROBLEMS = problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503)

router = APIRouter(prefix="/api/v1")


@router.get("/overrides", response_model=shapes.Overrides, tags=["catalogue"],
            dependencies=[needs("read")], responses=problems(401, 403, 422, 503))  # fmt: skip
def list_overrides(context: Context) -> Any:
    """What differs from the catalogue's files, with who wanted it and why."""
    return {"items": overrides_shown(context), "next": None}


@router.post("/streams/{family}/{stream}/confirm", response_model=shapes.CatalogChanged, status_code=202,
             tags=["catalogue"], responses=WRITE_PROBLEMS)  # fmt: skip
def confirm_stream(
    asking: ForCatalog,
    family: WordInPath,
    stream: WordInPath,
    wanted: shapes.Reason,
) -> Response:
    """Say that a person has looked at a new stream: it is built, and no longer marked as unconfirmed."""
    changes = {"confirmed": True, "build": True}
    return _change(asking, wanted, "stream", f"{family}/{stream}", changes, "stream.confirm")


@router.post("/streams/{family}/{stream}/end-of-life", response_model=shapes.CatalogChanged, status_code=202,
             tags=["catalogue"], responses=WRITE_PROBLEMS)  # fmt: skip
def end_stream(
    asking: ForCatalog,
    family: WordInPath,
    stream: WordInPath,
    wanted: shapes.EndOfLife,
) -> Response:
    """Mark a stream as end-of-life: nothing new is built of it, and what is built stays."""
    changes = {"build": False, "eol": _day(wanted)}
    return _change(asking, wanted, "stream", f"{family}/{stream}", changes, "stream.end")


@router.post("/branches/{branch}/end-of-life", response_model=shapes.CatalogChanged, status_code=202,
             tags=["catalogue"], responses=WRITE_PROBLEMS)  # fmt: skip
def end_branch(
    asking: ForCatalog,
    branch: WordInPath,
    wanted: shapes.EndOfLife,
) -> Response:
    """Mark a branch as end-of-life: it gets no new builds, and what is built stays."""
    return _change(asking, wanted, "branch", branch, {"eol": _day(wanted)}, "branch.end")


@router.post("/targets/{target}/pause", response_model=shapes.CatalogChanged, status_code=202,
             tags=["catalogue"], responses=WRITE_PROBLEMS)  # fmt: skip
def pause_target(
    asking: ForCatalog,
    target: WordInPath,
    wanted: shapes.Reason,
) -> Response:
    """Plan nothing new for a target; what is under way goes on."""
    return _change(asking, wanted, "target", target, {"enabled": False}, "target.pause")


@router.post("/targets/{target}/resume", response_model=shapes.CatalogChanged, status_code=202,
             tags=["catalogue"], responses=WRITE_PROBLEMS)  # fmt: skip
def resume_target(
    asking: ForCatalog,
    target: WordInPath,
    wanted: shapes.Reason,
) -> Response:
    """Plan for a paused target again; what it missed is planned in a moment."""
    return _change(asking, wanted, "target", target, {"enabled": True}, "target.resume")


@router.patch("/targets/{target}", response_model=shapes.CatalogChanged, status_code=202,
              tags=["catalogue"], responses=WRITE_PROBLEMS)  # fmt: skip
def edit_target(
    asking: ForCatalog,
    target: WordInPath,
    wanted: shapes.TargetChanges,
) -> Response:
    """Change a target without a restart. The catalogue's own checks judge it; builds under way keep what they had."""
    return _change(asking, wanted, "target", target, wanted.changes(), "target.edit")


@router.delete("/overrides/{override_id}", response_model=shapes.CatalogChanged, status_code=202,
               tags=["catalogue"], responses=WRITE_PROBLEMS)  # fmt: skip
def drop_override(
    asking: ForCatalog,
    override_id: Annotated[int, Path(ge=1, le=ID_MAX)],
    wanted: shapes.Reason,
) -> Response:
    """Go back to what the catalogue's files say."""

    def act(db: Database) -> Done:
        done = overrides.drop_override(
            db, asking.context.live_catalog.files, override_id, why=wanted.why, by=asking.caller.name,
            address=asking.caller.address,
        )  # fmt: skip
        return _changed(done)

    return write(asking.request, asking.caller, asking.key, act, wanted)


@router.get("/tokens", response_model=shapes.Tokens, tags=["tokens"], dependencies=[needs("admin")],
            responses=problems(401, 403, 503))  # fmt: skip
def list_tokens(context: Context) -> Any:
    """Every token that was ever made, newest first; never their texts."""
    return {"items": tokens.list_tokens(context.db), "next": None}


@router.post("/tokens", response_model=shapes.TokenMade, status_code=201, tags=["tokens"],
             responses=WRITE_PROBLEMS)  # fmt: skip
def create_token(context: Context, caller: Admin, wanted: shapes.NewTokenBody) -> Response:
    """Make a token. Its text is in this answer and nowhere else, so there is no Idempotency-Key here."""
    try:
        made = tokens.create_token(
            context.db, wanted.name, wanted.scopes, by=caller.name, address=caller.address,
            expires_in=timedelta(days=wanted.days) if wanted.days else None,
        )  # fmt: skip
    except Exception as error:
        raise refused(error) from error
    shown = shapes.TokenShape.model_validate(made.row).model_dump(mode="json")
    return JSONResponse({"text": made.text, "token": shown}, 201, headers={"Cache-Control": "no-store"})


@router.post("/tokens/{name}/revoke", response_model=shapes.TokenShape, tags=["tokens"],
             responses=WRITE_PROBLEMS)  # fmt: skip
def revoke_token(context: Context, caller: Admin, name: WordInPath) -> Any:
    """End a token, and the sign-ins that stand on it, at once."""
    try:
        return tokens.revoke_token(context.db, name, by=caller.name, address=caller.address)
    except Exception as error:
        raise refused(error) from error


def overrides_shown(context: WebContext) -> list[shapes.OverrideShape]:
    """The overrides beside what the files say, for the API and the catalogue's page."""
    with context.db.reader() as session:
        rows = overrides.read_overrides(session)
    found = context.live_catalog.look()
    return [
        shapes.OverrideShape(
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
    asking: Asking,
    wanted: shapes.Reason | shapes.EndOfLife | shapes.TargetChanges,
    kind: str,
    subject: str,
    changes: Mapping[str, Any],
    action: str,
) -> Response:
    def act(db: Database) -> Done:
        done = overrides.change_catalog(
            db, asking.context.live_catalog.files, kind, subject, changes, why=wanted.why,
            by=asking.caller.name, address=asking.caller.address, action=action,
        )  # fmt: skip
        return _changed(done)

    return write(asking.request, asking.caller, asking.key, act, wanted)


def _changed(done: overrides.Changed) -> Done:
    body = {
        "kind": done.kind, "subject": done.subject, "before": dict(done.before), "after": dict(done.after),
        "sentence": done.sentence,
    }  # fmt: skip
    return Done(body, replan=True)


def _day(wanted: shapes.EndOfLife) -> str:
    return (wanted.eol or datetime.now(UTC).date()).isoformat()
