"""Open the service that a command works with, this machine's or the one of ``--server``, and report errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from service.domain.errors import CommandRefused, DomainError
from service.settings import SettingsError, load_settings
from workers.cli.local import LocalService
from workers.cli.output import fail
from workers.cli.remote import RemoteFailed, RemoteService
from workers.context import Context
from workers.machine.bootstrap import running_settings

_chosen: dict[str, str] = {}


def choose(
    server: Annotated[
        str | None,
        typer.Option(
            help="The address of a service elsewhere; also CRYOPACK_SERVER. Its token is CRYOPACK_TOKEN, or in "
            "the file that CRYOPACK_TOKEN_FILE names. Without it: this machine's own."
        ),
    ] = None,
) -> None:
    """From a CRI-O release on GitHub to finished Fedora builds, kept and shown."""
    _chosen.clear()
    if server is not None:
        _chosen["server"] = server


@contextmanager
def report_errors(*refusals: type[Exception]) -> Iterator[None]:
    """Turn expected errors, and those of ``refusals``, into one line on stderr and exit status 1."""
    expected: tuple[type[Exception], ...] = (
        DomainError,
        CommandRefused,
        RemoteFailed,
        SettingsError,
        *refusals,
    )
    try:
        yield
    except expected as error:
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
    """Open the context of the service that ``up`` runs here, else of the environment's; errors are reported."""
    with report_errors():
        made = Context.create(running_settings(load_settings()))
        try:
            yield made
        finally:
            made.close()


@contextmanager
def service() -> Iterator[LocalService | RemoteService]:
    """Open the chosen service, and close it at the end; errors are reported."""
    with report_errors():
        settings = load_settings(**_chosen)
        if settings.server:
            remote = RemoteService(settings)
            try:
                yield remote
            finally:
                remote.close()
            return
    with context() as ctx:
        yield LocalService(ctx)
