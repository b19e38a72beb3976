"""Reads the audit trail: who asked for what, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.board.pagination import LIMIT, Page, newest_first
from service.store.schema import AuditEntry


@dataclass(frozen=True)
class AuditRow:
    """One entry of the audit trail.

    ``action`` is a word such as ``build.retry``, ``subject`` the row that it was done to.

    ``address`` is empty for what was asked on this machine.
    """

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: str
    address: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


def list_audit(
    session: Session,
    *,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
    since: datetime | None = None,
    cursor: str | None = None,
    limit: int = LIMIT,
) -> Page[AuditRow]:
    """Return a page of audit entries, newest first; the filters compose. Raises BadCursor."""
    e = AuditEntry
    statement = select(e.id, e.at, e.actor, e.action, e.subject, e.detail, e.address, e.before, e.after)
    for column, value in ((e.actor, actor), (e.action, action), (e.subject, subject)):
        if value is not None:
            statement = statement.where(column == value)
    if since is not None:
        statement = statement.where(e.at >= since)
    page = newest_first(session, statement, e.id, cursor, limit)
    return Page(tuple(AuditRow(*row) for row in page.items), page.next)
