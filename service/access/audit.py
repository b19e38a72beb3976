"""Write entries of the audit trail: who asked for what, from where, with the state before and after."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from service.store.schema import AuditEntry


def note_audit(
    session: Session,
    *,
    at: datetime,
    by: str,
    action: str,
    subject: str,
    detail: str,
    address: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add one entry in the transaction that carries the action out; the caller commits.

    ``address`` is the caller's network address, empty for a command on this machine. ``before`` and ``after`` are what
    the action changed, as JSON objects; None where there was nothing before, or is nothing left.
    """
    session.add(
        AuditEntry(
            at=at,
            actor=by[:100],
            action=action,
            subject=subject[:200],
            detail=detail,
            address=address[:100],
            before=dict(before) if before is not None else None,
            after=dict(after) if after is not None else None,
        )
    )
