"""The tables of logs: what is stored of each, and the last lines of logs that still grow."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from service.store.base import Base, Id, Json, in_sql
from service.store.columns import UtcTime, Words

LOG_KINDS = ("builder", "root", "backend", "source")


class BuildLog(Base):
    """One log of one chroot (or of the source step), as we stored it, or why we have none.

    ``blocks`` is the index of service/logs/blocks.py: ``[stored, plain, line]`` of each. A log whose file was
    removed keeps its row, with ``removed_at`` and the reason in ``problem``.
    """

    __tablename__ = "build_logs"
    __table_args__ = (
        UniqueConstraint("build_id", "chroot", "kind"),
        CheckConstraint(in_sql("kind", LOG_KINDS), name="kind"),
        CheckConstraint("sha256 <> '' OR problem <> ''", name="stored_or_why_not"),
        CheckConstraint("removed_at IS NULL OR problem <> ''", name="removed_says_why"),
        Index("ix_build_logs_kept", "stored_at", postgresql_where=text("removed_at IS NULL AND sha256 <> ''"),
              sqlite_where=text("removed_at IS NULL AND sha256 <> ''")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    kind: Mapped[str] = mapped_column(String(12))
    url: Mapped[str] = mapped_column(Words, default="")
    sha256: Mapped[str] = mapped_column(String(64), default="")
    plain_size: Mapped[int] = mapped_column(BigInteger, default=0)
    stored_size: Mapped[int] = mapped_column(BigInteger, default=0)
    lines: Mapped[int] = mapped_column(Integer, default=0)
    left_out: Mapped[int] = mapped_column(BigInteger, default=0)
    blocks: Mapped[list[Any]] = mapped_column(Json, default=list, deferred=True)
    stored_at: Mapped[datetime] = mapped_column(UtcTime)
    removed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    problem: Mapped[str] = mapped_column(Words, default="")


class LogTail(Base):
    """The last bytes of a log that still grows, as last fetched because somebody looked at it."""

    __tablename__ = "log_tails"
    __table_args__ = (UniqueConstraint("build_id", "chroot"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    tail: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    problem: Mapped[str] = mapped_column(Words, default="")
    fetched_at: Mapped[datetime | None] = mapped_column(UtcTime)
    lease_token: Mapped[str | None] = mapped_column(String(40))
    lease_until: Mapped[datetime | None] = mapped_column(UtcTime)
