"""Sessions of the dashboard: rows, so that they can be ended; the cookie holds a random text and nothing else."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from sqlalchemy import delete, select

from service.access.tokens import active_token, implied
from service.store.schema import SignIn
from service.store.session import Database, database_now

_TEXT = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True)
class SignedIn:
    """Who a cookie stands for, what they may do, and the word that each form of theirs must carry."""

    actor: str
    scopes: frozenset[str]
    form_word: str


def sign_in(
    db: Database, actor: str, scopes: Iterable[str], *, seconds: float, token_id: int | None = None
) -> str:
    """Begin a session and commit; returns the cookie's text. Old sessions are swept out on the way."""
    text = secrets.token_urlsafe(32)
    with db.transaction() as session:
        at = database_now(session)
        session.execute(delete(SignIn).where(SignIn.expires_at <= at))
        session.add(
            SignIn(
                digest=_digest(text),
                actor=actor[:100],
                scopes=sorted(scopes),
                token_id=token_id,
                created_at=at,
                expires_at=at + timedelta(seconds=seconds),
            )
        )
    return text


def who_is(db: Database, text: str) -> SignedIn | None:
    """The session of a cookie, or None where it is over, its token is revoked, or it never was."""
    if not _TEXT.fullmatch(text):
        return None
    with db.reader() as session:
        row = session.scalars(select(SignIn).where(SignIn.digest == _digest(text))).one_or_none()
        if row is None or row.expires_at <= database_now(session):
            return None
        scopes: Iterable[str] = row.scopes
        if row.token_id is not None:
            token = active_token(session, row.token_id)
            if token is None:
                return None
            scopes = token.scopes
        # Another site can make a browser send the cookie, but it cannot read it: so it cannot know this word.
        form_word = sha256(f"form:{text}".encode()).hexdigest()
        return SignedIn(row.actor, implied(scopes), form_word)


def sign_out(db: Database, text: str) -> None:
    """End a session and commit; without effect where there is none."""
    with db.transaction() as session:
        session.execute(delete(SignIn).where(SignIn.digest == _digest(text)))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
