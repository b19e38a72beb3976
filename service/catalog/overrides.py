"""Lays what maintainers changed over the catalogue's files, and checks the outcome like the files. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from service.catalog.files import validate
from service.catalog.model import Catalog
from service.catalog.tables import Table
from service.catalog.targets import DEADLINE_HOURS_MOST
from service.domain.errors import BadCatalog, BadName
from service.domain.planning import BranchPolicy, BuildTarget, Family, StreamPolicy
from service.domain.versions import Stream

# The keys that may be overridden. What a target, branch or stream is (branch, system, facts) stays in the files.
EDITABLE: Mapping[str, tuple[str, ...]] = {
    "target": ("enabled", "project", "chroots", "strategy", "first_stream", "last_stream", "deadline_hours"),
    "branch": ("eol",),
    "stream": ("build", "confirmed", "eol"),
}


@dataclass(frozen=True)
class Override:
    """Changed keys of one target (``f44-copr``), branch (``f44``) or stream (``cri-o/1.38``), as JSON values."""

    kind: str
    subject: str
    changes: Mapping[str, Any]
    why: str = ""
    actor: str = ""
    at: datetime.datetime | None = None
    id: int = 0


@dataclass(frozen=True)
class Effective:
    """The catalogue with its overrides, and those that do not fit the files any more, each with the error."""

    catalog: Catalog
    refused: Mapping[tuple[str, str], str]


def effective(files: Catalog, overrides: Iterable[Override]) -> Effective:
    """Lay the overrides over the files one by one. One that does not fit is left out and named, never fatal."""
    catalog, refused = files, {}
    for override in sorted(overrides, key=lambda each: (each.kind, each.subject)):
        try:
            catalog = apply(catalog, override)
        except BadCatalog as error:
            refused[override.kind, override.subject] = str(error)
    return Effective(catalog, refused)


def apply(catalog: Catalog, override: Override) -> Catalog:
    """Return the catalogue with one override. Raises BadCatalog for a key or value that its checks refuse."""
    table = Table(f"override of {override.kind} {override.subject}", "", override.changes)
    if override.kind == "target":
        old = _target(catalog, override.subject)
        new = _changed_target(old, override.changes, table)
        changed = replace(catalog, targets=tuple(new if t.id == old.id else t for t in catalog.targets))
    elif override.kind == "branch":
        policy = _branch(catalog, override.subject)
        policy = BranchPolicy(policy.branch, _day(table, "eol", override.changes, policy.eol))
        changed = replace(catalog, branches={**catalog.branches, override.subject: policy})
    elif override.kind == "stream":
        family, stream_policy = _stream(catalog, override.subject)
        stream_policy = replace(
            stream_policy,
            build=table.flag("build", stream_policy.build),
            confirmed=table.flag("confirmed", stream_policy.confirmed),
            eol=_day(table, "eol", override.changes, stream_policy.eol),
        )
        changed = replace(
            catalog, families={**catalog.families, family.name: family.with_policy(stream_policy)}
        )
    else:
        raise BadCatalog(f"there is no override of a {override.kind[:20]}")
    table.done()
    validate(changed)
    return changed


def values_of(catalog: Catalog, kind: str, subject: str) -> dict[str, Any]:
    """Return the editable keys of a target, branch or stream as JSON values. Raises BadCatalog where it is unknown."""
    if kind == "target":
        target = _target(catalog, subject)
        return {
            "enabled": target.enabled,
            "project": target.project,
            "chroots": list(target.chroots),
            "strategy": target.strategy,
            "first_stream": str(target.first_stream) if target.first_stream else None,
            "last_stream": str(target.last_stream) if target.last_stream else None,
            "deadline_hours": int(target.deadline.total_seconds() // 3600),
        }
    if kind == "branch":
        return {"eol": _text(_branch(catalog, subject).eol)}
    _, policy = _stream(catalog, subject)
    return {"build": policy.build, "confirmed": policy.confirmed, "eol": _text(policy.eol)}


def _changed_target(old: BuildTarget, changes: Mapping[str, Any], table: Table) -> BuildTarget:
    hours = int(old.deadline.total_seconds() // 3600)
    project = table.text("project", old.project)
    if not project.isascii() or not project.isprintable() or " " in project or len(project) > 200:
        raise table.wrong("project", "must be one word of at most 200 characters")
    return replace(
        old,
        enabled=table.flag("enabled", old.enabled),
        project=project,
        chroots=table.texts("chroots", old.chroots),
        strategy=table.text("strategy", old.strategy),
        first_stream=_stream_end(table, "first_stream", changes, old.first_stream),
        last_stream=_stream_end(table, "last_stream", changes, old.last_stream),
        deadline=datetime.timedelta(
            hours=table.number("deadline_hours", low=1, high=DEADLINE_HOURS_MOST, default=hours)
        ),
    )


def _target(catalog: Catalog, target_id: str) -> BuildTarget:
    target = catalog.target(target_id)
    if target is None:
        raise BadCatalog(f"the catalogue has no target {target_id[:40]}")
    return target


def _branch(catalog: Catalog, name: str) -> BranchPolicy:
    if name not in catalog.branches:
        raise BadCatalog(f"the catalogue has no branch {name[:40]}")
    return catalog.branches[name]


def _stream(catalog: Catalog, subject: str) -> tuple[Family, StreamPolicy]:
    name, _, text = subject.partition("/")
    family = catalog.families.get(name)
    if family is None:
        raise BadCatalog(f"the catalogue has no family {name[:40]}")
    try:
        policy = family.policy(Stream.parse(text))
    except BadName as error:
        raise BadCatalog(str(error)) from error
    if policy is None:
        raise BadCatalog(f"{name} has no stream {text}: it is neither in the catalogue nor newer than it")
    return family, policy


def _stream_end(table: Table, key: str, changes: Mapping[str, Any], default: Stream | None) -> Stream | None:
    """Return the changed end of a range of streams; null opens it, and a missing key leaves it as it was."""
    if key in changes and changes[key] is None:
        table.drop(key)
        return None
    return table.stream(key) if key in changes else default


def _day(
    table: Table, key: str, changes: Mapping[str, Any], default: datetime.date | None
) -> datetime.date | None:
    if key not in changes:
        return default
    table.drop(key)
    value = changes[key]
    if value is None:
        return None
    try:
        return datetime.date.fromisoformat(value)
    except (TypeError, ValueError):
        raise table.wrong(key, "must be a day such as 2026-05-28, or null") from None


def _text(day: datetime.date | None) -> str | None:
    return day.isoformat() if day else None
