"""Create, list, revoke and check the bearer tokens of the API.

A token's text exists only in the answer to its creation; the database keeps a digest.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.access.audit import note_audit
from service.domain.errors import CommandRefused, NotFound
from service.store.schema import AccessToken
from service.store.session import Database, database_now

SCOPES = ("read", "builds:write", "releases:write", "catalog:write", "admin")
# Written at most this often: a token that is used a hundred times a second must not write a hundred times.
LAST_USE_EVERY = timedelta(minutes=1)
LONGEST = timedelta(days=3660)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,59}", re.ASCII)
_TEXT = re.compile(r"cryopack_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)


@dataclass(frozen=True)
class TokenRow:
    """A token without its text, as it may be shown. ``state`` is active, expired or revoked."""

    id: int
    name: str
    scopes: tuple[str, ...]
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


@dataclass(frozen=True)
class NewToken:
    """A token that was just created; ``text`` is shown this once."""

    row: TokenRow
    text: str


def check_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes in their fixed order, each once. Raises CommandRefused for an unknown scope, or for none."""
    wanted = set(scopes)
    unknown = sorted(wanted - set(SCOPES))
    if unknown or not wanted:
        what = f"there is no scope {unknown[0][:40]!r}" if unknown else "a token needs a scope"
        raise CommandRefused(f"{what}; the scopes are {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in wanted)


def implied(scopes: Iterable[str]) -> frozenset[str]:
    """Return every scope that these scopes allow: ``admin`` allows all, a scope that writes also allows to read."""
    given = frozenset(scopes) & frozenset(SCOPES)
    if "admin" in given:
        return frozenset(SCOPES)
    return given | {"read"} if given else given


def create_token(
    db: Database,
    name: str,
    scopes: Iterable[str],
    *,
    by: str,
    expires_in: timedelta | None = None,
    address: str = "",
) -> NewToken:
    """Create a token and commit. Raises CommandRefused for a name that is taken or ill-formed, and for a bad expiry.

    SHA-256 without salt or stretching is right here: the secret is 256 random bits, which nobody can guess from
    its digest, unlike a password; and a slow hash would be paid by every request.
    """
    if not _NAME.fullmatch(name):
        raise CommandRefused(
            "a token's name is 1 to 60 letters, digits and . _ @ -, and begins with a letter or digit"
        )
    if expires_in is not None and not timedelta() < expires_in <= LONGEST:
        raise CommandRefused(f"a token lasts from a moment up to {LONGEST.days} days")
    chosen = check_scopes(scopes)
    public_id = secrets.token_hex(8)
    text = f"cryopack_{public_id}_{secrets.token_urlsafe(32)}"
    try:
        with db.transaction() as session:
            at = database_now(session)
            row = AccessToken(
                name=name,
                public_id=public_id,
                digest=_digest(text),
                scopes=list(chosen),
                created_at=at,
                created_by=by[:100],
                expires_at=at + expires_in if expires_in else None,
            )
            session.add(row)
            session.flush()
            shown = _row(row, at)
            note_audit(
                session, at=at, by=by, address=address, action="token.create", subject=f"token {name}",
                detail=f"scopes {', '.join(chosen)}", after=_audited(shown),
            )  # fmt: skip
    except IntegrityError:
        raise CommandRefused(f"there is a token {name} already; names are never used twice") from None
    return NewToken(shown, text)


def list_tokens(db: Database) -> tuple[TokenRow, ...]:
    """Return every token ever created, newest first. Reads only."""
    with db.reader() as session:
        at = database_now(session)
        return tuple(
            _row(row, at) for row in session.scalars(select(AccessToken).order_by(AccessToken.id.desc()))
        )


def revoke_token(db: Database, name: str, *, by: str, address: str = "") -> TokenRow:
    """Revoke a token and commit. Raises NotFound, and CommandRefused where it is revoked already."""
    with db.transaction() as session:
        row = session.scalars(
            select(AccessToken).where(AccessToken.name == name).with_for_update()
        ).one_or_none()
        if row is None:
            raise NotFound(f"there is no token {name[:60]}")
        if row.revoked_at is not None:
            raise CommandRefused(f"token {name} was revoked by {row.revoked_by} already")
        at = database_now(session)
        before = _audited(_row(row, at))
        row.revoked_at, row.revoked_by = at, by[:100]
        shown = _row(row, at)
        note_audit(
            session, at=at, by=by, address=address, action="token.revoke", subject=f"token {name}",
            detail=f"was {before['state']}", before=before, after=_audited(shown),
        )  # fmt: skip
        return shown


def recognise(db: Database, text: str) -> TokenRow | None:
    """Return the active token with this text, or None if there is no such token, or it is expired or revoked.

    Records the time of use at most once a minute, in a transaction of its own.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    with db.reader() as session:
        at = database_now(session)
        row = session.scalars(select(AccessToken).where(AccessToken.public_id == match[1])).one_or_none()
        # Compared also where there is no such row: the time must not tell which ids exist.
        fits = hmac.compare_digest(row.digest if row else "0" * 64, _digest(text))
        if row is None or not fits:
            return None
        shown = _row(row, at)
    if shown.state != "active":
        return None
    if shown.last_used_at is None or at - shown.last_used_at >= LAST_USE_EVERY:
        with db.transaction() as session:
            session.get_one(AccessToken, shown.id).last_used_at = at
    return shown


def active_token(session: Session, token_id: int) -> TokenRow | None:
    """Return a token by id, or None if it is expired or revoked. A sign-in by token is valid as long as its token."""
    row = session.get(AccessToken, token_id)
    shown = _row(row, database_now(session)) if row else None
    return shown if shown and shown.state == "active" else None


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _row(row: AccessToken, now: datetime) -> TokenRow:
    expired = row.expires_at is not None and row.expires_at <= now
    return TokenRow(
        id=row.id,
        name=row.name,
        scopes=tuple(row.scopes),
        state="revoked" if row.revoked_at else "expired" if expired else "active",
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        revoked_by=row.revoked_by,
    )


def _audited(row: TokenRow) -> dict[str, object]:
    expiry = row.expires_at.isoformat() if row.expires_at else None
    return {"scopes": list(row.scopes), "state": row.state, "expires_at": expiry}
