"""How the command line speaks: tables for people, JSON for programs, one line on stderr for a failure."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from sqlalchemy.exc import SQLAlchemyError

from service.domain.errors import CommandRefused, DomainError
from service.settings import SettingsError, load_settings
from workers.cli.failures import RemoteFailed
from workers.context import Context
from workers.machine.bootstrap import running_settings
from workers.packaging.spec_check import SpecRefused
from workers.packaging.srpm import SrpmFailed
from workers.sources.archives import SourceRefused

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def fail(reason: str) -> NoReturn:
    """Say why in one line on stderr and leave with status 1."""
    typer.echo(f"cryopack: {' '.join(reason.split())}", err=True)
    raise typer.Exit(1)


@contextmanager
def told() -> Iterator[None]:
    """Turn what may go wrong into one line and exit status 1."""
    try:
        yield
    except (
        DomainError,
        CommandRefused,
        RemoteFailed,
        SettingsError,
        SourceRefused,
        SpecRefused,
        SrpmFailed,
    ) as error:
        fail(str(error))
    except SQLAlchemyError as error:
        # The texts of database errors hold whole statements, and now and then values.
        fail(
            f"the database does not answer or has no schema ({type(error).__name__}); try 'cryopack migrate'"
        )
    except OSError as error:
        fail(f"{error.strerror or type(error).__name__}: {error.filename or error}")


@contextmanager
def context() -> Iterator[Context]:
    """The context of what ``up`` runs here, else of the environment; closed at the end; errors as in ``told``."""
    with told():
        made = Context.create(running_settings(load_settings()))
        try:
            yield made
        finally:
            made.close()


def plain(value: Any) -> Any:
    """A frozen row as what JSON knows: times as RFC 3339 UTC, mappings and sequences all the way down."""
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
    """Print a value for programs."""
    json.dump(plain(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns; the last one may be as long as it likes."""
    texts = [[str(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(len(row[i]) for row in texts) for i in range(len(heads))]
    for row in texts:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        typer.echo("  ".join([*cells, row[-1]]).rstrip())


def read_time(text: str) -> datetime:
    """RFC 3339 as answers have it, to a time."""
    return datetime.fromisoformat(text)


def age(then: datetime | None, now: datetime) -> str:
    """``3 min``, ``5 h`` or ``12 d``; a dash for no time."""
    if then is None:
        return "-"
    seconds = max((now - then).total_seconds(), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def existing(path: Path) -> Path:
    """A path that is a file. Fails in one line if it is not."""
    if not path.is_file():
        fail(f"there is no file {path}")
    return path
