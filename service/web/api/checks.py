"""``/api/v1/builds/{id}/checks`` and ``/changes``: what was found in its RPMs, what differs from the last good one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from service import board
from service.board.changes import changes_since_good
from service.board.checks import build_checks
from service.web.access.auth import needs
from service.web.base.parameters import BuildId, Context
from service.web.base.problem import Problem
from service.web.base.problems import problems

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


class DifferenceShape(_Row):
    """One thing before and now; empty where it was not there or is not known."""

    what: str
    before: str
    now: str


class ChangesShape(_Row):
    """A build beside the last good one. ``modules`` and ``tools`` list only what differs."""

    build_id: int
    last_good_id: int
    facts: list[DifferenceShape]
    modules: list[DifferenceShape]
    tools: list[DifferenceShape]
    spec: list[str]
    modules_known: bool
    tools_known: bool


@router.get("/builds/{build_id}/changes", response_model=ChangesShape, tags=["builds"])
def get_changes(context: Context, build_id: BuildId) -> Any:
    """What changed since the last good build of the same package and target: spec, source, modules, tools."""
    with context.db.reader() as session:
        detail = board.build_detail(session, build_id)
        if detail is None:
            raise Problem(404, f"There is no build {build_id}.")
        found = changes_since_good(session, detail)
    if found is None:
        where = f"{detail.build.package} on {detail.build.target}"
        raise Problem(404, f"{where} has not succeeded before build {build_id}.")
    return ChangesShape.model_validate(found)
