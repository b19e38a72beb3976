"""The shapes of the audit trail's answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from service.web.api.schemas import Shape


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
    next: str | None = Field(description="The cursor of the next page; null at the end.")
