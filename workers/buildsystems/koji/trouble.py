"""What a call to a Koji hub without a success tells us. Three families of exceptions come out of the client:
Koji's own, ``xmlrpc.client.Fault`` for what no hub expected, and those of ``requests``; all become one here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

import requests

from workers.buildsystems.bounded_http import took_no_connection

TEXT_LIMIT = 300


class Kind(StrEnum):
    """How much a failed call proves."""

    NOT_SENT = "not sent"
    UNCLEAR = "unclear"
    OFFLINE = "offline"
    LOGIN = "login"
    CLOSED = "closed"
    DENIED = "denied"
    REFUSED = "refused"


# Koji's fault codes. Everything that is not here is the hub's verdict on the call itself.
KINDS = {
    1: Kind.UNCLEAR,
    1001: Kind.UNCLEAR,
    1002: Kind.LOGIN,
    1004: Kind.DENIED,
    1006: Kind.UNCLEAR,
    1007: Kind.CLOSED,
    # Both are subclasses of the log-in error, and both mean that the call may have run.
    1008: Kind.UNCLEAR,
    1009: Kind.UNCLEAR,
    1014: Kind.OFFLINE,
    1023: Kind.LOGIN,
}
CLOSED_TEXTS = ("Invalid session", "Not logged in", "not specified in session args")
# Log-in by certificate and Kerberos puts every trouble of the network into a text of its own error.
NETWORK = re.compile(
    r"requests\.exceptions\.(ConnectionError|ConnectTimeout|ReadTimeout|Timeout|ChunkedEncodingError)"
)
# What remains of it where the connection broke off and the library has tried as often as it was told to.
NO_REASON = "unable to obtain a session"
SERVER = re.compile(r"\b5\d\d Server Error")


class KojiTrouble(Exception):
    """A call without a success; ``str()`` is one line without secrets, ``code`` Koji's fault code or 0."""

    def __init__(self, kind: Kind, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.kind = kind
        self.code = code


def trouble_of(error: Exception, hidden: Iterable[str], *, cut: bool = False) -> KojiTrouble:
    """One exception of the client as our own. ``hidden`` are texts that nobody may see, ``cut`` our own time limit."""
    if isinstance(error, KojiTrouble):
        return error
    code = getattr(error, "faultCode", None)
    if isinstance(code, int):
        return _from_fault(code, one_line(_fault_text(error), hidden))
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return KojiTrouble(Kind.UNCLEAR, f"the hub answered HTTP {error.response.status_code}")
    # Texts of these errors may hold whole addresses with session keys, so only their kind is told.
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return KojiTrouble(Kind.NOT_SENT, "the hub took no connection in time")
    if took_no_connection(error):
        return KojiTrouble(Kind.NOT_SENT, "the hub could not be reached: no connection")
    if cut:
        return KojiTrouble(Kind.UNCLEAR, "the hub's answer took too long and was cut off")
    if isinstance(error, requests.exceptions.Timeout):
        return KojiTrouble(Kind.UNCLEAR, "the hub was silent for too long")
    if isinstance(error, requests.exceptions.RequestException):
        return KojiTrouble(Kind.UNCLEAR, f"the connection to the hub broke ({type(error).__name__})")
    return KojiTrouble(Kind.UNCLEAR, f"the hub's answer could not be understood ({type(error).__name__})")


def _fault_text(error: Exception) -> str:
    text = getattr(error, "faultString", None)
    return text if isinstance(text, str) and text else str(error)


def _from_fault(code: int, text: str) -> KojiTrouble:
    kind = KINDS.get(code, Kind.REFUSED)
    if kind is Kind.LOGIN and any(part in text for part in CLOSED_TEXTS):
        kind = Kind.CLOSED
    elif kind is Kind.LOGIN and (NETWORK.search(text) or SERVER.search(text) or text.strip() == NO_REASON):
        return KojiTrouble(Kind.NOT_SENT, "the hub could not be reached for the log-in", code)
    if kind is Kind.OFFLINE:
        text = f"the hub is offline: {text}"
    return KojiTrouble(kind, text, code)


def one_line(text: str, hidden: Iterable[str] = ()) -> str:
    """Foreign words as one printable line without secrets; of a traceback, only its last line."""
    for secret in hidden:
        text = text.replace(secret, "…") if len(secret) >= 4 else text
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if lines and lines[0].startswith("Traceback"):
        lines = lines[-1:]
    line = " ".join(lines)
    return re.sub(r"\s+", " ", "".join(letter if letter.isprintable() else " " for letter in line))[
        :TEXT_LIMIT
    ]
