"""The API's tokens: list, make and revoke them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.responses import JSONResponse, Response

from service.access import tokens
from service.web.access.auth import Caller, needs
from service.web.api.schemas import Body, Name, Shape
from service.web.api.writes import refused
from service.web.base.parameters import Context, WordInPath
from service.web.base.problems import WRITE_PROBLEMS, problems

Admin = Annotated[Caller, needs("admin")]

router = APIRouter(prefix="/api/v1")


class NewTokenBody(Body):
    """A token to make."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "ci", "scopes": ["builds:write"], "days": 90}]}
    )

    name: Name
    scopes: Annotated[
        list[Literal["read", "builds:write", "releases:write", "catalog:write", "admin"]],
        Field(min_length=1, max_length=5),
    ]
    days: Annotated[int, Field(ge=1, le=3660)] | None = Field(90, description="null: it never expires.")


class TokenShape(Shape):
    """A token without its text. ``state`` is active, expired or revoked."""

    name: str
    scopes: list[str]
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


class TokenMade(Shape):
    """A new token. ``text`` is shown this once."""

    text: str
    token: TokenShape


class Tokens(Shape):
    items: list[TokenShape]
    next: str | None = None


@router.get("/tokens", response_model=Tokens, tags=["tokens"], dependencies=[needs("admin")],
            responses=problems(401, 403, 503))  # fmt: skip
def list_tokens(context: Context) -> Any:
    """Every token that was ever made, newest first; never their texts."""
    return {"items": tokens.list_tokens(context.db), "next": None}


@router.post("/tokens", response_model=TokenMade, status_code=201, tags=["tokens"],
             responses=WRITE_PROBLEMS)  # fmt: skip
def create_token(context: Context, caller: Admin, wanted: NewTokenBody) -> Response:
    """Make a token. Its text is in this answer and nowhere else, so there is no Idempotency-Key here."""
    try:
        made = tokens.create_token(
            context.db, wanted.name, wanted.scopes,
            expires_in=timedelta(days=wanted.days) if wanted.days else None,
            **caller.by,
        )  # fmt: skip
    except Exception as error:
        raise refused(error) from error
    shown = TokenShape.model_validate(made.row).model_dump(mode="json")
    return JSONResponse({"text": made.text, "token": shown}, 201, headers={"Cache-Control": "no-store"})


@router.post("/tokens/{name}/revoke", response_model=TokenShape, tags=["tokens"],
             responses=WRITE_PROBLEMS)  # fmt: skip
def revoke_token(context: Context, caller: Admin, name: WordInPath) -> Any:
    """End a token, and the sign-ins that stand on it, at once."""
    try:
        return tokens.revoke_token(context.db, name, **caller.by)
    except Exception as error:
        raise refused(error) from error
