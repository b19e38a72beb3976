"""``/api/v1/builds/{id}/checks``: what verification found in the RPMs of a build."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from service import board
from service.board.checks import build_checks
from service.web.auth import needs
from service.web.errors import Problem
from service.web.parameters import BuildId, Context
from service.web.problems import problems

router = APIRouter(
    prefix="/api/v1", dependencies=[needs("read")], responses=problems(401, 403, 404, 422, 503)
)
Word = Literal["unknown", "sound", "degraded"]


class _Row(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class CheckShape(_Row):
    """One chroot's verdict."""

    chroot: str
    soundness: Word
    text: str
    checked_at: datetime


class RpmShape(_Row):
    """One RPM that was looked at; ``size`` in bytes, ``binaries`` counts its programs."""

    chroot: str
    nvra: str
    size: int
    sha256: str
    binaries: int
    go: str


class FindingShape(_Row):
    """One finding; ``rule`` is a stable id, and a ``note`` makes no build degraded."""

    chroot: str
    rpm: str
    file: str
    rule: str
    grade: Literal["unsound", "weak", "note"]
    text: str


class ChecksShape(BaseModel):
    """Everything that verification found in a build, worst first."""

    soundness: Word
    chroots: list[CheckShape]
    rpms: list[RpmShape]
    findings: list[FindingShape]


@router.get("/builds/{build_id}/checks", response_model=ChecksShape, tags=["builds"])
def get_checks(context: Context, build_id: BuildId) -> Any:
    """The soundness of a build, its RPMs and what was found in them."""
    with context.db.reader() as session:
        detail = board.build_detail(session, build_id)
        if detail is None:
            raise Problem(404, f"There is no build {build_id}.")
        found = build_checks(session, build_id)
    return ChecksShape(
        soundness=detail.build.soundness,  # type: ignore[arg-type]
        chroots=[CheckShape.model_validate(row) for row in found.chroots],
        rpms=[RpmShape.model_validate(row) for row in found.rpms],
        findings=[FindingShape.model_validate(row) for row in found.findings],
    )
