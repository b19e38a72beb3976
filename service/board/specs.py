"""The spec of a build, and how it differs from the one before it and from the next stream's. Reads only."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, or_, select
from sqlalchemy.orm import Session

from service.domain.versions import Stream, Version
from service.store.schema import PackageBuild

CONTEXT_LINES = 3
_B = PackageBuild
_COLUMNS = (_B.id, _B.package, _B.version, _B.target, _B.attempt, _B.spec_sha256, _B.spec_text)


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
    """A spec and its unified diff to another one (``previous``); None and empty where there is no other."""

    spec: Spec
    previous: Spec | None
    diff: tuple[str, ...]


def spec_of(session: Session, build_id: int) -> Spec | None:
    """The spec of a build; None while it has none, or where there is no such build."""
    b = PackageBuild
    row = session.execute(select(*_COLUMNS).where(b.id == build_id, b.spec_text.is_not(None))).one_or_none()
    return _spec(tuple(row)) if row is not None else None


def spec_change(session: Session, build_id: int) -> SpecChange | None:
    """The spec of a build beside the one before it; None while it has none."""
    spec = spec_of(session, build_id)
    if spec is None:
        return None
    b = PackageBuild
    sort_key = session.scalar(select(b.sort_key).where(b.id == build_id))
    row = session.execute(
        select(*_COLUMNS)
        .where(
            b.package == spec.package,
            b.target == spec.target,
            or_(b.sort_key < sort_key, and_(b.sort_key == sort_key, b.attempt < spec.attempt)),
            b.spec_text.is_not(None),
        )
        .order_by(b.sort_key.desc(), b.attempt.desc())
        .limit(1)
    ).one_or_none()
    return _change(spec, _spec(tuple(row)) if row is not None else None)


def spec_beside(session: Session, build_id: int) -> SpecChange | None:
    """The spec of a build beside that of the same patch in the nearest other stream, for the same target.

    The stream before it is preferred to the one after it; where it has no such patch, its newest one with a spec
    is taken. None while the build has no spec, or where no other stream has one.
    """
    spec = spec_of(session, build_id)
    if spec is None:
        return None
    b = PackageBuild
    family, stream = session.execute(select(b.family, b.stream).where(b.id == build_id)).one()
    there = (
        b.family == family,
        b.target == spec.target,
        b.stream != stream,
        b.spec_text.is_not(None),
    )
    own = Stream.parse(stream)
    others = [Stream.parse(text) for text in session.scalars(select(b.stream).where(*there).distinct())]
    older = [other for other in others if other < own]
    if not others:
        return None
    nearest = max(older) if older else min(others)
    patch = Version.parse(spec.version).patch
    row = session.execute(
        select(*_COLUMNS)
        .where(*there, b.stream == str(nearest))
        .order_by(case((b.version == f"{nearest}.{patch}", 0), else_=1), b.sort_key.desc(), b.attempt.desc())
        .limit(1)
    ).one()
    return _change(spec, _spec(tuple(row)))


def _change(spec: Spec, other: Spec | None) -> SpecChange:
    if other is None:
        return SpecChange(spec, None, ())
    diff = difflib.unified_diff(
        other.text.splitlines(),
        spec.text.splitlines(),
        fromfile=f"{other.package}.spec ({other.version}, build {other.build_id})",
        tofile=f"{spec.package}.spec ({spec.version}, build {spec.build_id})",
        lineterm="",
        n=CONTEXT_LINES,
    )
    return SpecChange(spec, other, tuple(diff))


def _spec(values: Sequence[Any]) -> Spec:
    return Spec(*values)
