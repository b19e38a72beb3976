"""The shapes of the audit trail's answers."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from service.web.schemas import Shape


class AuditEntryShape(Shape):
    """One thing that a person asked for, and what it was done to."""

    id: int
    at: datetime
    actor: str
    action: str = Field(description="release.add, build.retry, build.cancel, build.resume or delivery.replay")
    subject: str
    detail: str


class AuditPage(Shape):
    """Newest first."""

    items: list[AuditEntryShape]
    next: str | None = Field(description="The cursor of the next page; null at the end.")
