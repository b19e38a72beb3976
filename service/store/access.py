"""Who may ask for what: tokens, sign-ins of the dashboard, and the answers that a repeated request gets again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.store.base import Base, Id, Json
from service.store.columns import UtcTime, Words


class AccessToken(Base):
    """A bearer token. Its text is shown once; ``public_id`` finds the row, ``digest`` is the SHA-256 of all of it."""

    __tablename__ = "access_tokens"
    __table_args__ = (CheckConstraint("revoked_at IS NULL OR revoked_by IS NOT NULL", name="revoked_by"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(60), unique=True)
    public_id: Mapped[str] = mapped_column(String(16), unique=True)
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    created_by: Mapped[str] = mapped_column(String(100))
    expires_at: Mapped[datetime | None] = mapped_column(UtcTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcTime)
    revoked_by: Mapped[str | None] = mapped_column(String(100))


class SignIn(Base):
    """One browser's session, found by the SHA-256 of its cookie. ``token_id``: it ends when that token does."""

    __tablename__ = "sign_ins"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    actor: Mapped[str] = mapped_column(String(100))
    scopes: Mapped[list[str]] = mapped_column(Json)
    token_id: Mapped[int | None] = mapped_column(ForeignKey("access_tokens.id"))
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    expires_at: Mapped[datetime] = mapped_column(UtcTime, index=True)


class KeptAnswer(Base):
    """The answer to a request with an Idempotency-Key, stored in the transaction that did what it asked."""

    __tablename__ = "kept_answers"
    __table_args__ = (
        UniqueConstraint("actor", "request_key"),
        Index("ix_kept_answers_at", "at"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    actor: Mapped[str] = mapped_column(String(100))
    request_key: Mapped[str] = mapped_column(String(100))
    request_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int] = mapped_column(Integer, default=0)
    body: Mapped[str] = mapped_column(Words, default="")
    at: Mapped[datetime] = mapped_column(UtcTime)
