"""What changed since the last good build of the same cell: spec, sources, modules, tools. Reads only."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.board.builds import BuildDetail
from service.board.specs import spec_of
from service.store.schema import Buildroot, PackageBuild, UpstreamRelease, VendoredModules

SOURCE_FACTS = (("go", "Go that go.mod asks for"), ("commit", "Commit"), ("sha256", "Source archive, sha256"))
CONTEXT_LINES = 2


@dataclass(frozen=True)
class Difference:
    """One thing before and now; empty text where it was not there, or is not known."""

    what: str
    before: str
    now: str

    @property
    def same(self) -> bool:
        return self.before == self.now


@dataclass(frozen=True)
class Changes:
    """A build beside the last good one. ``modules`` and ``tools`` hold what differs only; ``known`` what could be told.

    ``tools`` are by chroot and tool. ``spec`` is a unified diff.
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
    """The build beside the last good one; None where there is none."""
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
            old.text.splitlines(), new.text.splitlines(), lineterm="", n=CONTEXT_LINES,
            fromfile=f"build {old_id}", tofile=f"build {new_id}",
        )
    )  # fmt: skip
