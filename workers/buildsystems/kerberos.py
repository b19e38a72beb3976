"""Gets a Kerberos token for an HTTP service at Koji or dist-git, or the reason why not. Needs the extra ``kerberos``.

HTTP libraries answer every trouble of Kerberos alike, with the server's 401. So the ticket is fetched here first,
where the library still says whether a key is wrong or its KDC (key distribution centre) is away.
"""

from __future__ import annotations

import base64
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MISSING = "the package requests-gssapi is missing: install cryopack with the extra 'kerberos'"
TEXT_LIMIT = 200
# Kerberos' own numbers, of which GSSAPI keeps the last 32 bits: no KDC was reached; its answer was cut off.
AWAY = frozenset(code & 0xFFFFFFFF for code in (-1765328228, -1765328229))


def _library() -> Any:
    try:
        return importlib.import_module("gssapi")
    except (ImportError, OSError):
        # Without Kerberos' own libraries gssapi fails as it is loaded.
        return None


gssapi: Any = _library()


class KerberosTrouble(Exception):
    """There is no token; ``str(error)`` is one line. ``away``: the KDC does not answer, so a later try may succeed."""

    def __init__(self, reason: str, *, away: bool = False) -> None:
        super().__init__(reason)
        self.away = away


@dataclass(frozen=True)
class Credentials:
    """The credentials of our account at Koji and dist-git. Paths only; nothing is read yet."""

    principal: str = ""
    keytab: Path | None = None
    ccache: Path | None = None
    certificate: Path | None = None


def negotiate(
    host: str, *, principal: str = "", keytab: Path | None = None, ccache: Path | None = None
) -> str:
    """Return a token for HTTP's ``Negotiate`` to the service on ``host``, as base64; its tickets are then in the cache.

    Without a keytab the caller's own tickets are used; with one, ours are kept in ``ccache``. Raises KerberosTrouble.
    """
    if keytab is not None and not keytab.is_file():
        raise KerberosTrouble(f"there is no keytab '{keytab.name}'")
    if gssapi is None:
        raise KerberosTrouble(MISSING)
    store = {}
    if keytab is not None:
        store["client_keytab"] = str(keytab)
        if ccache is not None:
            ccache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            store["ccache"] = f"FILE:{ccache}"
    try:
        name = gssapi.Name(principal, gssapi.NameType.kerberos_principal) if principal else None
        credentials = gssapi.Credentials(name=name, usage="initiate", store=store or None)
        service = gssapi.Name(f"HTTP@{host}", gssapi.NameType.hostbased_service)
        token = gssapi.SecurityContext(name=service, creds=credentials, usage="initiate").step()
    except gssapi.exceptions.GSSError as error:
        raise _trouble(error, principal, keytab) from None
    return base64.b64encode(token or b"").decode()


def _trouble(error: Any, principal: str, keytab: Path | None) -> KerberosTrouble:
    if getattr(error, "min_code", 0) in AWAY:
        return KerberosTrouble("the KDC of the realm cannot be reached", away=True)
    # The library tells its major reason first, which is always the same; the minor one is Kerberos' own.
    told = str(error).rpartition("): ")[2].split(" (filename", 1)[0].strip() or type(error).__name__
    whose = f"for '{principal}'" if principal else "for us"
    where = f" with the keytab '{keytab.name}'" if keytab else ""
    return KerberosTrouble(f"there is no ticket {whose}{where}: {told[:TEXT_LIMIT]}")
