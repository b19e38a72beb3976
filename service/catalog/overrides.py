"""The catalogue as it holds: the files with what maintainers changed meanwhile. Pure, and checked like the files."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from service.catalog.checks import validate
from service.catalog.model import Catalog
from service.catalog.tables import Table
from service.domain.errors import BadCatalog, BadName
from service.domain.planning import BranchPolicy, BuildTarget, Family, StreamPolicy
from service.domain.versions import Stream

# What may be changed without touching a file. What a thing is (its branch, its system, its facts) stays in the files.
EDITABLE: Mapping[str, tuple[str, ...]] = {
    "target": ("enabled", "project", "chroots", "strategy", "first_stream", "last_stream", "deadline_hours"),
    "branch": ("eol",),
    "stream": ("build", "confirmed", "eol"),
}


@dataclass(frozen=True)
class Override:
    """Some keys of one target (``f44-copr``), branch (``f44``) or stream (``cri-o/1.38``), as JSON values."""

    kind: str
    subject: str
    changes: Mapping[str, Any]
    why: str = ""
    actor: str = ""
    at: datetime.datetime | None = None
    id: int = 0


@dataclass(frozen=True)
class Effective:
    """What holds now, and the overrides that do not fit the files any more, each with the complaint."""

    catalog: Catalog
    refused: Mapping[tuple[str, str], str]


def effective(files: Catalog, overrides: Iterable[Override]) -> Effective:
    """Lay the overrides over the files one by one; one that does not fit is left out and named, never fatal."""
    catalog, refused = files, {}
    for override in sorted(overrides, key=lambda each: (each.kind, each.subject)):
        try:
            catalog = apply(catalog, override)
        except BadCatalog as error:
            refused[override.kind, override.subject] = str(error)
    return Effective(catalog, refused)


def apply(catalog: Catalog, override: Override) -> Catalog:
    """The catalogue with one override. Raises BadCatalog for a key or value that the catalogue's checks refuse."""
    table = Table(f"override of {override.kind} {override.subject}", "", override.changes)
    if override.kind == "target":
        old = _target(catalog, override.subject)
        new = _changed_target(old, override.changes, table)
        changed = replace(catalog, targets=tuple(new if t.id == old.id else t for t in catalog.targets))
    elif override.kind == "branch":
        if override.subject not in catalog.branches:
            raise BadCatalog(f"the catalogue has no branch {override.subject[:40]}")
        policy = catalog.branches[override.subject]
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
    """What the catalogue says of the editable keys, as JSON values. Raises BadCatalog where there is no such thing."""
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
        if subject not in catalog.branches:
            raise BadCatalog(f"the catalogue has no branch {subject[:40]}")
        return {"eol": _text(catalog.branches[subject].eol)}
    _, policy = _stream(catalog, subject)
    return {"build": policy.build, "confirmed": policy.confirmed, "eol": _text(policy.eol)}


def _changed_target(old: BuildTarget, changes: Mapping[str, Any], table: Table) -> BuildTarget:
    hours = int(old.deadline.total_seconds() // 3600)
    given = Table(table.file, "", {key: changes[key] for key in ("first_stream", "last_stream")
                                   if changes.get(key) is not None})  # fmt: skip
    for key in ("first_stream", "last_stream"):
        if table.has(key):
            table.drop(key)
    project = table.text("project", old.project)
    if not project.isascii() or not project.isprintable() or " " in project or len(project) > 200:
        raise table.wrong("project", "must be one word of at most 200 characters")
    return replace(
        old,
        enabled=table.flag("enabled", old.enabled),
        project=project,
        chroots=table.texts("chroots", old.chroots),
        strategy=table.text("strategy", old.strategy),
        first_stream=given.optional_stream("first_stream") if "first_stream" in changes else old.first_stream,
        last_stream=given.optional_stream("last_stream") if "last_stream" in changes else old.last_stream,
        deadline=datetime.timedelta(hours=table.number("deadline_hours", low=1, high=24 * 30, default=hours)),
    )


def _target(catalog: Catalog, target_id: str) -> BuildTarget:
    target = catalog.target(target_id)
    if target is None:
        raise BadCatalog(f"the catalogue has no target {target_id[:40]}")
    return target


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
