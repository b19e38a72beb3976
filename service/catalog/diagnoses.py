"""Reading ``diagnoses.toml``: the rules by which logs are read, each checked before it meets a log."""

from __future__ import annotations

import re

from service.catalog.tables import Table
from service.domain.diagnosis import (
    Cause,
    Fault,
    Outcome,
    Pattern,
    Remedy,
    RemedyKind,
    Retry,
    compile_pattern,
)
from service.domain.errors import BadCatalog
from service.domain.patterns import BadPattern

_ID = re.compile(r"[a-z0-9][a-z0-9-]{1,39}", re.ASCII)
_TEXT_LIMIT = 300
MINUTES_MOST = 7 * 24 * 60


def read_causes(table: Table) -> tuple[Cause, ...]:
    """The rows ``[[diagnosis]]`` in their order. Raises BadCatalog with row and key."""
    causes: dict[str, Cause] = {}
    for row in table.rows("diagnosis"):
        cause = _read_cause(row)
        if cause.id in causes:
            raise row.wrong("id", f"'{cause.id}' is there twice")
        causes[cause.id] = cause
    table.done()
    return tuple(causes.values())


def check_remedies(causes: tuple[Cause, ...], strategies: set[str]) -> None:
    """Every strategy that a remedy names must exist. Raises BadCatalog."""
    for cause in causes:
        remedy = cause.remedy
        if remedy is not None and remedy.kind is RemedyKind.STRATEGY and remedy.strategy not in strategies:
            raise BadCatalog(
                f"diagnoses.toml: diagnosis {cause.id}.remedy: unknown strategy {remedy.strategy[:40]!r}"
            )


def _read_cause(row: Table) -> Cause:
    id_ = row.text("id")
    if not _ID.fullmatch(id_):
        raise row.wrong("id", f"{id_[:60]!r} does not have the expected form (lower case, digits, hyphens)")
    cause = Cause(
        id=id_,
        patterns=tuple(_read_pattern(line) for line in row.rows("lines")),
        cause=_line(row, "cause"),
        advice=_line(row, "advice"),
        reference=row.text("reference"),
        fault=row.word("fault", Fault),
        retry=row.word("retry", Retry),
        of=row.word("of", Outcome, Outcome.FAILED),
        anywhere=row.flag("anywhere", False),
        remedy=_read_remedy(row.table("remedy")) if row.has("remedy") else None,
    )
    row.done()
    if not cause.patterns:
        raise row.wrong("lines", "must name at least one pattern")
    if not cause.reference.startswith(("https://", "http://")):
        raise row.wrong("reference", "must be an address that begins with https://")
    for key, text in (("cause", cause.cause), ("advice", cause.advice)):
        _check_groups(row, key, text, cause)
    return cause


def _check_groups(row: Table, key: str, text: str, cause: Cause) -> None:
    """A group in the open must be set by every pattern, one in square brackets by some."""
    sets = [set(p.match.groupindex if p.match else ()) for p in cause.patterns]
    if missing := cause.groups(text, optional=False) - sets[0].intersection(*sets[1:]):
        name = min(missing)
        raise row.wrong(key, f"names {{{name}}}, which not every pattern sets; put it in square brackets")
    if missing := cause.groups(text, optional=True) - sets[0].union(*sets[1:]):
        raise row.wrong(key, f"names {{{min(missing)}}}, which no pattern sets")


def _read_pattern(line: Table) -> Pattern:
    has, match = line.text("has"), line.text("match", "")
    line.done()
    try:
        return compile_pattern(has, match)
    except BadPattern as error:
        raise line.wrong("match", str(error)) from error


def _read_remedy(table: Table) -> Remedy:
    kind = table.word("kind", RemedyKind)
    strategy = table.text("strategy") if kind is RemedyKind.STRATEGY else ""
    minutes = table.number("minutes", low=1, high=MINUTES_MOST) if kind is RemedyKind.LATER else 0
    table.done()
    return Remedy(kind, strategy, minutes)


def _line(row: Table, key: str) -> str:
    text = row.text(key)
    if len(text) > _TEXT_LIMIT or not text.isprintable():
        raise row.wrong(key, f"must be one line of at most {_TEXT_LIMIT} characters")
    return text
