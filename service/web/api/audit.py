"""The API's audit trail: who asked for what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from service import board
from service.web.access.auth import needs
from service.web.api.schemas import Next, Shape
from service.web.base.parameters import DEFAULT_LIMIT, Context, Cursor, Limit, Since, Word
from service.web.base.problems import READ_PROBLEMS

router = APIRouter(prefix="/api/v1", dependencies=[needs("read")], responses=READ_PROBLEMS)


class AuditEntryShape(Shape):
    """One thing that a person asked for, and what it was done to."""

    id: int
    at: datetime
    actor: str
    action: str = Field(description="What was asked for, such as build.retry or catalog.override.")
    subject: str = Field(description="The row that it was done to, such as 'build 42'.")
    detail: str
    address: str = Field(description="From where; empty for the command line on the service's own machine.")
    before: dict[str, Any] | None = Field(description="What the action changed, as it was.")
    after: dict[str, Any] | None = Field(description="What the action changed, as it is after it.")


class AuditPage(Shape):
    """Newest first."""

    items: list[AuditEntryShape]
    next: Next


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
