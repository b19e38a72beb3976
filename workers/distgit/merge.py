"""Bringing together what was generated before, what is in dist-git and what is generated now."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from service.distgit.changes import Change
from service.domain.distgit import (
    SOURCES,
    Decision,
    FilePiece,
    Resolution,
    SpecEvr,
    decide,
    merge_sources,
    push_refusal,
    settle,
)
from service.domain.errors import BadName
from service.domain.fedora import Branch
from service.domain.specs import SpecFile
from workers.distgit.git import Repository, merge_lines
from workers.packaging.spec_check import SpecRefused, check_merged

CONFLICT_SHOWN = 60_000
FAVOUR: Mapping[Resolution, str] = {
    Resolution.NONE: "",
    Resolution.GENERATED: "theirs",
    Resolution.DIST_GIT: "ours",
}


@dataclass(frozen=True)
class Merged:
    """What would be written, by file name (None removes it), and the diff of what is in conflict."""

    decision: Decision
    files: Mapping[str, str | None]
    conflict: str


def merge_files(
    repository: Repository,
    head: str,
    base: Mapping[str, str],
    generated: Mapping[str, str],
    resolution: Resolution,
) -> Merged:
    """Bring generated files and dist-git's together. ``done``: what is in dist-git is taken as it is."""
    pieces = [
        FilePiece(name, base.get(name), repository.read(head, name), generated.get(name))
        for name in sorted({*base, *generated})
    ]
    merged: dict[str, str | None] = {}
    conflicts: list[str] = []
    for piece in pieces:
        if piece.name == SOURCES:
            merged[SOURCES] = merge_sources(piece.base, piece.now, piece.new or "")
            continue
        settled, text = settle(piece)
        if settled:
            merged[piece.name] = text
        elif resolution is Resolution.DONE:
            merged[piece.name] = piece.now
        elif piece.now is None or piece.new is None:
            chosen = {Resolution.GENERATED: piece.new, Resolution.DIST_GIT: piece.now}
            merged[piece.name] = chosen.get(resolution)
            if resolution not in chosen:
                conflicts.append(_deleted(piece))
        else:
            text, marked = merge_lines(piece.base or "", piece.now, piece.new, favour=FAVOUR[resolution])
            merged[piece.name] = text
            if marked:
                conflicts.append(_diff(piece.name, piece.now, text))
    return Merged(decide(pieces, merged, conflicts), merged, "\n".join(conflicts))


def merge_settled(
    repository: Repository,
    head: str,
    base: Mapping[str, str],
    generated: Mapping[str, str],
    change: Change,
) -> Merged:
    """As ``merge_files``, with what a person settled. It settles the conflict that was shown and no other.

    What came to dist-git since may be in conflict, too, and nobody has looked at that. ``done`` is about what is there.
    """
    chosen = change.resolution not in (Resolution.NONE, Resolution.DONE)
    if chosen and change.pull_base and head != change.pull_base:
        unsettled = merge_files(repository, head, base, generated, Resolution.NONE)
        if unsettled.conflict[:CONFLICT_SHOWN] != change.conflict:
            return unsettled
    return merge_files(repository, head, base, generated, change.resolution)


def _diff(name: str, now: str, marked: str) -> str:
    lines = difflib.unified_diff(
        now.splitlines(), marked.splitlines(), f"dist-git/{name}", f"merged/{name}", lineterm="", n=3
    )
    return "\n".join(lines) + "\n"


def _deleted(piece: FilePiece) -> str:
    side, other = (
        ("dist-git", "we generate it anew") if piece.now is None else ("we", "dist-git has changed it")
    )
    return f"{piece.name}: {side} removed it, and {other}\n"


def refusal(spec: SpecFile, repository: Repository, head: str, merged: Merged) -> str:
    """Why the merged spec must not be pushed: not what was planned, or not higher than what is there."""
    text, there = merged.files[spec.name], repository.read(head, spec.name)
    if text is None:
        return f"dist-git has no {spec.name} any more: a maintainer removed it"
    new = SpecEvr.read(text)
    refused = push_refusal(SpecEvr.read(there) if there is not None else None, new) if text != there else ""
    if refused:
        return refused
    if new.version != spec.version:
        return (
            f"the spec in dist-git makes version {new.version or 'nothing'}, and {spec.version} was planned"
        )
    return ""


def refuse_unparsed(spec: SpecFile, merged: Merged, branch: Branch) -> None:
    """Have rpmspec parse a spec that holds more than what we generated, which was parsed before. Raises BadName."""
    text = merged.files[spec.name]
    if text is None or text == spec.text:
        return
    try:
        check_merged(spec.name, text, package=spec.package, branch=branch)
    except SpecRefused as error:
        raise BadName(f"with this change, the spec in dist-git does not parse: {error}") from None
