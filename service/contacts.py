"""Records when other servers were last reached, and keeps their answers for conditional requests (ETag).

Each function that writes commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from service.store.schema import Contact
from service.store.session import Database, database_now, insert_if_absent


@dataclass(frozen=True)
class StoredAnswer:
    """The last full answer of an address: its ETag, and what we kept of its body (JSON-able)."""

    etag: str
    body: Any


def record_contact(db: Database, name: str, problem: str = "") -> None:
    """Record that a server was reached now (empty ``problem``) or was not, for the health page. Commits."""
    with db.transaction() as session:
        now = database_now(session)
        contact = _locked(session, name)
        if problem:
            contact.failed_at = now
            contact.problem = problem[:500]
        else:
            contact.ok_at = now
            contact.problem = ""


def stored_answer(db: Database, name: str) -> StoredAnswer | None:
    """Return the last answer kept under ``name``, or None. Reads only."""
    with db.reader() as session:
        contact = session.get(Contact, name)
        if contact is None or not contact.etag:
            return None
        return StoredAnswer(contact.etag, contact.body)


def store_answer(db: Database, name: str, etag: str, body: Any) -> None:
    """Keep an answer under ``name``, and record that the server was reached. ``body`` must be JSON-able. Commits."""
    with db.transaction() as session:
        contact = _locked(session, name)
        contact.ok_at = database_now(session)
        contact.problem = ""
        contact.etag = etag
        contact.body = body


def _locked(session: Session, name: str) -> Contact:
    """Return the row of ``name``, locked; made if needed: two workers may reach a new server together."""
    insert_if_absent(session, Contact, {"name": name, "problem": "", "etag": ""}, unique=["name"])
    return session.get_one(Contact, name, with_for_update=True)
