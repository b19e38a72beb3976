"""When we last reached the other sides, and their last answers for conditional requests. Each function commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.store.schema import Contact
from service.store.session import Database, database_now


@dataclass(frozen=True)
class StoredAnswer:
    """The last full answer of an address: its ETag, and what we kept of its body."""

    etag: str
    body: Any


def record_contact(db: Database, name: str, problem: str = "") -> None:
    """Remember when another side was last reached (empty ``problem``) or was not, for the health page."""
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
    """The last answer kept under ``name``, or None. Reads only."""
    with db.reader() as session:
        contact = session.get(Contact, name)
        if contact is None or not contact.etag:
            return None
        return StoredAnswer(contact.etag, contact.body)


def store_answer(db: Database, name: str, etag: str, body: Any) -> None:
    """Keep an answer under ``name``; ``body`` must be JSON-able."""
    with db.transaction() as session:
        contact = _locked(session, name)
        contact.ok_at = database_now(session)
        contact.problem = ""
        contact.etag = etag
        contact.body = body


def _locked(session: Session, name: str) -> Contact:
    """The row of ``name``, made if needed: two workers may reach a new side for the first time together."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    session.execute(
        insert(Contact).values(name=name, problem="", etag="").on_conflict_do_nothing(index_elements=["name"])
    )
    return session.get_one(Contact, name, with_for_update=True)
