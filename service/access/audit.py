"""The audit trail's one way in: who asked for what, from where, and how the row looked before and after."""

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
    """Write one entry in the transaction that does it; the caller commits. ``address`` is empty for this machine.

    ``before`` and ``after`` are what the action changed, as JSON; None where there was nothing, or is nothing left.
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
