"""The tables of verification: which built RPMs were looked at, and what was found."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.domain.states import Soundness
from service.store.base import Base, Id, Json, in_sql
from service.store.columns import UtcTime, Words

GRADES = ("unsound", "weak", "note")


class ChrootCheck(Base):
    """One succeeded chroot whose RPMs were looked at, and the verdict."""

    __tablename__ = "chroot_checks"
    __table_args__ = (
        UniqueConstraint("build_id", "chroot"),
        CheckConstraint(in_sql("soundness", Soundness), name="soundness"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    soundness: Mapped[str] = mapped_column(String(10))
    text: Mapped[str] = mapped_column(Words, default="")
    checked_at: Mapped[datetime] = mapped_column(UtcTime)


class BuiltRpm(Base):
    """One built RPM: what it is called, how large, and its files. ``go`` is the toolchain of its programs."""

    __tablename__ = "built_rpms"
    __table_args__ = (UniqueConstraint("build_id", "chroot", "nvra"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    name: Mapped[str] = mapped_column(String(120))
    nvra: Mapped[str] = mapped_column(String(250))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    binaries: Mapped[int] = mapped_column(Integer, default=0)
    go: Mapped[str] = mapped_column(String(40), default="")
    files: Mapped[list[Any]] = mapped_column(Json, default=list, deferred=True)


class CheckFinding(Base):
    """One thing that was found in a built RPM. ``rule`` is a stable id, ``file`` empty for the RPM's header."""

    __tablename__ = "check_findings"
    __table_args__ = (
        CheckConstraint(in_sql("grade", GRADES), name="grade"),
        Index("ix_check_findings_build", "build_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    rpm: Mapped[str] = mapped_column(String(250))
    file: Mapped[str] = mapped_column(Words, default="")
    rule: Mapped[str] = mapped_column(String(40))
    grade: Mapped[str] = mapped_column(String(10))
    text: Mapped[str] = mapped_column(Words)
