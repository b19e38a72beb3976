"""Reads how a build differs from earlier ones: its spec, source, vendored modules and tools."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, or_, select
from sqlalchemy.orm import Session

from service.board.builds import BuildDetail
from service.domain.versions import Stream, Version
from service.store.schema import Buildroot, PackageBuild, UpstreamRelease, VendoredModules

CONTEXT_LINES = 3
CONTEXT_LINES_SINCE_GOOD = 2
SOURCE_FACTS = (("go", "Go that go.mod asks for"), ("commit", "Commit"), ("sha256", "Source archive, sha256"))
_B = PackageBuild
_COLUMNS = (_B.id, _B.package, _B.version, _B.target, _B.attempt, _B.spec_sha256, _B.spec_text)


@dataclass(frozen=True)
class Spec:
    """The rendered spec of a build, as it was submitted."""

    build_id: int
    package: str
    version: str
    target: str
    attempt: int
    sha256: str
    text: str


@dataclass(frozen=True)
class SpecChange:
    """A spec and its unified diff from another one (``previous``); None and empty where there is no other."""

    spec: Spec
    previous: Spec | None
    diff: tuple[str, ...]


def spec_of(session: Session, build_id: int) -> Spec | None:
    """Return the spec of a build, or None while it has none, or where there is no such build."""
    b = PackageBuild
    row = session.execute(select(*_COLUMNS).where(b.id == build_id, b.spec_text.is_not(None))).one_or_none()
    return _spec(tuple(row)) if row is not None else None


def spec_change(session: Session, build_id: int) -> SpecChange | None:
    """Return the spec of a build with its diff from the one before it in its cell, or None while it has none."""
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
    """Return the spec of a build with its diff from that of the same patch in the nearest other stream and target.

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


@dataclass(frozen=True)
class Difference:
    """One value before and now; empty text where it was not there, or is not known."""

    what: str
    before: str
    now: str

    @property
    def same(self) -> bool:
        return self.before == self.now


@dataclass(frozen=True)
class Changes:
    """How a build differs from the last good one. ``modules`` and ``tools`` hold what differs only.

    ``tools`` are by chroot and tool. ``spec`` is a unified diff. ``modules_known`` and ``tools_known`` say whether
    those of both builds are recorded.
    """

    build_id: int
    last_good_id: int
    facts: tuple[Difference, ...]
    modules: tuple[Difference, ...]
    tools: tuple[Difference, ...]
    spec: tuple[str, ...]
    modules_known: bool
    tools_known: bool


def changes_since_good(session: Session, detail: BuildDetail) -> Changes | None:
    """Return how a build differs from the last good one of its cell, or None where there is no good one."""
    good = detail.last_good
    if good is None:
        return None
    b, r = PackageBuild, UpstreamRelease
    rows = {
        row.id: row
        for row in session.execute(
            select(b.id, b.strategy, b.workarounds, b.release_id, r.facts)
            .join(r, r.id == b.release_id)
            .where(b.id.in_((detail.build.id, good.id)))
        )
    }
    old, new = rows[good.id], rows[detail.build.id]
    facts = [
        Difference("Version", good.version, detail.build.version),
        Difference("NVR", good.nvr, detail.build.nvr),
        Difference("Strategy", old.strategy, new.strategy),
        Difference("Workarounds", ", ".join(old.workarounds), ", ".join(new.workarounds)),
        *(
            Difference(what, str(old.facts.get(key, "")), str(new.facts.get(key, "")))
            for key, what in SOURCE_FACTS
        ),
    ]
    modules = {
        release_id: dict(found)
        for release_id, found in session.execute(
            select(VendoredModules.release_id, VendoredModules.modules).where(
                VendoredModules.release_id.in_((old.release_id, new.release_id))
            )
        )
    }
    tools: dict[int, dict[str, str]] = {old.id: {}, new.id: {}}
    for build_id, chroot, found in session.execute(
        select(Buildroot.build_id, Buildroot.chroot, Buildroot.tools).where(Buildroot.build_id.in_(rows))
    ):
        tools[build_id] |= {f"{chroot} {name}": str(version) for name, version in found.items()}
    known = {old.release_id, new.release_id} <= set(modules)
    return Changes(
        build_id=new.id,
        last_good_id=old.id,
        facts=tuple(facts),
        modules=_differences(modules[old.release_id], modules[new.release_id]) if known else (),
        tools=_differences(tools[old.id], tools[new.id]) if tools[old.id] and tools[new.id] else (),
        spec=_spec_diff(session, old.id, new.id),
        modules_known=known,
        tools_known=bool(tools[old.id] and tools[new.id]),
    )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Difference, ...]:
    names = sorted({*before, *now})
    found = (Difference(name, str(before.get(name, "")), str(now.get(name, ""))) for name in names)
    return tuple(one for one in found if not one.same)


def _spec_diff(session: Session, old_id: int, new_id: int) -> tuple[str, ...]:
    old, new = spec_of(session, old_id), spec_of(session, new_id)
    if old is None or new is None:
        return ()
    return tuple(
        difflib.unified_diff(
            old.text.splitlines(), new.text.splitlines(), lineterm="", n=CONTEXT_LINES_SINCE_GOOD,
            fromfile=f"build {old_id}", tofile=f"build {new_id}",
        )
    )  # fmt: skip
