"""Print a command's output: tables for people, JSON for programs, one line on stderr for a failure."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def fail(reason: str) -> NoReturn:
    """Print the reason in one line on stderr and exit with status 1."""
    typer.echo(f"cryopack: {' '.join(reason.split())}", err=True)
    raise typer.Exit(1)


def plain(value: Any) -> Any:
    """Convert a value, such as a dataclass, to what JSON knows; times become RFC 3339 in UTC."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    json.dump(plain(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in aligned columns; the last column is not padded."""
    texts = [[str(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(len(row[i]) for row in texts) for i in range(len(heads))]
    for row in texts:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        typer.echo("  ".join([*cells, row[-1]]).rstrip())


def read_time(text: str) -> datetime:
    """Parse a time in RFC 3339, as answers have it."""
    return datetime.fromisoformat(text)


def age(then: datetime | None, now: datetime) -> str:
    """Return a time's age such as ``3 min``, ``5 h`` or ``12 d``; a dash for no time."""
    if then is None:
        return "-"
    seconds = max((now - then).total_seconds(), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def existing_file(path: Path) -> Path:
    """Return a path that is a file; exit with status 1 if it is not."""
    if not path.is_file():
        fail(f"there is no file {path}")
    return path
