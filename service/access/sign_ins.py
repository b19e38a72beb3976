"""Begin, look up and end the dashboard's sessions.

A session is a row, so that it can be ended; the cookie holds a random text and nothing else.
"""

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
    """The person behind a session's cookie, their scopes, and the CSRF word that each of their forms must carry."""

    actor: str
    scopes: frozenset[str]
    form_word: str


def sign_in(
    db: Database, actor: str, scopes: Iterable[str], *, seconds: float, token_id: int | None = None
) -> str:
    """Begin a session of ``seconds`` and return the cookie's text; expired sessions are deleted. Commits.

    A session that was begun with a token (``token_id``) has that token's scopes and ends with it.
    """
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
    """Return who a session's cookie belongs to; None if the session is over or its token not active. Reads only."""
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
    """End the session of a cookie and commit; does nothing where there is none."""
    with db.transaction() as session:
        session.execute(delete(SignIn).where(SignIn.digest == _digest(text)))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
