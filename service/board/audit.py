"""What people asked for, newest first. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.board.pages import LIMIT, Page, cut, read_cursor
from service.store.schema import AuditEntry


@dataclass(frozen=True)
class AuditRow:
    """Who asked for what: ``action`` is a word such as ``build.retry``, ``subject`` the row that it was done to."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: str


def list_audit(session: Session, *, cursor: str | None = None, limit: int = LIMIT) -> Page[AuditRow]:
    """Audit entries, newest first. Raises BadCursor."""
    e = AuditEntry
    statement = select(e.id, e.at, e.actor, e.action, e.subject, e.detail)
    after = read_cursor(cursor)
    if after is not None:
        statement = statement.where(e.id < after)
    rows = [AuditRow(*row) for row in session.execute(statement.order_by(e.id.desc()).limit(limit + 1))]
    return cut(rows, [row.id for row in rows], limit)
