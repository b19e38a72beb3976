"""The spec of a build, and how it differs from the one before it in the same cell. Reads only."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from service.store.schema import PackageBuild

CONTEXT_LINES = 3


@dataclass(frozen=True)
class Spec:
    """A rendered spec as it was submitted."""

    build_id: int
    package: str
    version: str
    target: str
    attempt: int
    sha256: str
    text: str


@dataclass(frozen=True)
class SpecChange:
    """A spec and its unified diff to the one before it in the same cell; None and empty for the first."""

    spec: Spec
    previous: Spec | None
    diff: tuple[str, ...]


def spec_of(session: Session, build_id: int) -> Spec | None:
    """The spec of a build; None while it has none, or where there is no such build."""
    b = PackageBuild
    row = session.execute(
        select(b.id, b.package, b.version, b.target, b.attempt, b.spec_sha256, b.spec_text).where(
            b.id == build_id, b.spec_text.is_not(None)
        )
    ).one_or_none()
    return _spec(tuple(row)) if row is not None else None


def spec_change(session: Session, build_id: int) -> SpecChange | None:
    """The spec of a build beside the one before it; None while it has none."""
    spec = spec_of(session, build_id)
    if spec is None:
        return None
    b = PackageBuild
    sort_key = session.scalar(select(b.sort_key).where(b.id == build_id))
    row = session.execute(
        select(b.id, b.package, b.version, b.target, b.attempt, b.spec_sha256, b.spec_text)
        .where(
            b.package == spec.package,
            b.target == spec.target,
            or_(b.sort_key < sort_key, and_(b.sort_key == sort_key, b.attempt < spec.attempt)),
            b.spec_text.is_not(None),
        )
        .order_by(b.sort_key.desc(), b.attempt.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return SpecChange(spec, None, ())
    previous = _spec(tuple(row))
    diff = difflib.unified_diff(
        previous.text.splitlines(),
        spec.text.splitlines(),
        fromfile=f"{spec.package}.spec ({previous.version}, build {previous.build_id})",
        tofile=f"{spec.package}.spec ({spec.version}, build {spec.build_id})",
        lineterm="",
        n=CONTEXT_LINES,
    )
    return SpecChange(spec, previous, tuple(diff))


def _spec(values: Sequence[Any]) -> Spec:
    return Spec(*values)
