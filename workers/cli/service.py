"""Which service a command talks to: this machine's, or the one that ``--server`` or CRYOPACK_SERVER names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from service.settings import load_settings
from workers.cli.local import LocalService
from workers.cli.output import context, told
from workers.cli.remote import RemoteService

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
def service() -> Iterator[LocalService | RemoteService]:
    """The chosen service, closed at the end. What may go wrong becomes one line and exit status 1."""
    with told():
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
