"""Reads what verification found in a build's RPMs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from service.store.schema import GRADES, BuiltRpm, CheckFinding, ChrootCheck


@dataclass(frozen=True)
class FindingRow:
    """One finding. ``grade`` is unsound, weak or note; ``file`` is empty for an RPM's header."""

    chroot: str
    rpm: str
    file: str
    rule: str
    grade: str
    text: str


@dataclass(frozen=True)
class CheckRow:
    """One chroot's verdict in a word and a line."""

    chroot: str
    soundness: str
    text: str
    checked_at: datetime


@dataclass(frozen=True)
class RpmRow:
    """One RPM that was looked at; ``go`` is the toolchain of its programs."""

    chroot: str
    nvra: str
    size: int
    sha256: str
    binaries: int
    go: str


@dataclass(frozen=True)
class BuildChecks:
    """All results of verification for a build; findings worst first."""

    chroots: tuple[CheckRow, ...]
    rpms: tuple[RpmRow, ...]
    findings: tuple[FindingRow, ...]


def build_checks(session: Session, build_id: int) -> BuildChecks:
    """Return the verdicts, RPMs and findings of a build; empty where nothing was looked at (yet)."""
    c, r, f = ChrootCheck, BuiltRpm, CheckFinding
    worst = case({grade: rank for rank, grade in enumerate(GRADES)}, value=f.grade)
    checks = session.execute(
        select(c.chroot, c.soundness, c.text, c.checked_at).where(c.build_id == build_id).order_by(c.chroot)
    )
    rpms = session.execute(
        select(r.chroot, r.nvra, r.size, r.sha256, r.binaries, r.go)
        .where(r.build_id == build_id)
        .order_by(r.chroot, r.nvra)
    )
    found = session.execute(
        select(f.chroot, f.rpm, f.file, f.rule, f.grade, f.text)
        .where(f.build_id == build_id)
        .order_by(worst, f.chroot, f.id)
    )
    return BuildChecks(
        tuple(CheckRow(*row) for row in checks),
        tuple(RpmRow(*row) for row in rpms),
        tuple(FindingRow(*row) for row in found),
    )
