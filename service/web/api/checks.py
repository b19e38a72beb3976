"""The API's checks of a build's RPMs, and its differences from the last good build."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from service.board.changes import changes_since_good
from service.board.checks import build_checks
from service.web.access.auth import needs
from service.web.api.builds import known_build
from service.web.api.schemas import Shape
from service.web.base.parameters import Context, IdInPath
from service.web.base.problems import READ_PROBLEMS, Problem

router = APIRouter(prefix="/api/v1", dependencies=[needs("read")], responses=READ_PROBLEMS)
Word = Literal["unknown", "sound", "degraded"]


class CheckShape(Shape):
    """One chroot's verdict."""

    chroot: str
    soundness: Word
    text: str
    checked_at: datetime


class RpmShape(Shape):
    """One RPM that was looked at; ``size`` in bytes, ``binaries`` counts its programs."""

    chroot: str
    nvra: str
    size: int
    sha256: str
    binaries: int
    go: str


class FindingShape(Shape):
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
def get_checks(context: Context, build_id: IdInPath) -> Any:
    """The soundness of a build, its RPMs and what was found in them."""
    with context.db.reader() as session:
        detail = known_build(session, build_id)
        found = build_checks(session, build_id)
    return ChecksShape(
        soundness=detail.build.soundness,  # type: ignore[arg-type]
        chroots=[CheckShape.model_validate(row) for row in found.chroots],
        rpms=[RpmShape.model_validate(row) for row in found.rpms],
        findings=[FindingShape.model_validate(row) for row in found.findings],
    )


class DifferenceShape(Shape):
    """One thing before and now; empty where it was not there or is not known."""

    what: str
    before: str
    now: str


class ChangesShape(Shape):
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
def get_changes(context: Context, build_id: IdInPath) -> Any:
    """What changed since the last good build of the same package and target: spec, source, modules, tools."""
    with context.db.reader() as session:
        detail = known_build(session, build_id)
        found = changes_since_good(session, detail)
    if found is None:
        where = f"{detail.build.package} on {detail.build.target}"
        raise Problem(404, f"{where} has not succeeded before build {build_id}.")
    return ChangesShape.model_validate(found)
