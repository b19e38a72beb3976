"""One HTTP exchange with COPR: sent once, bounded in time, never redirected, judged before it is used.

Three things that plain time-outs do not give are here: a limit for the whole exchange (a server that drips
one byte a minute never trips a read time-out), the knowledge whether anything was sent at all, and an
answer that is a success only if it has COPR's own form.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from workers.buildsystems.bounded_http import LOOPBACK, Watch, WatchedAdapter, took_no_connection

LONGEST_WAIT = 3600.0
TEXT_LIMIT = 300


class Kind(StrEnum):
    """What an exchange that did not succeed tells us."""

    NOT_SENT = "not sent"
    UNCLEAR = "unclear"
    LOGIN = "login"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    CONFLICT = "conflict"
    REFUSED = "refused"


# Only these statuses, and only with COPR's own JSON error, are COPR's verdict. All else proves nothing.
VERDICTS: Mapping[int, Kind] = {
    400: Kind.REFUSED,
    401: Kind.LOGIN,
    403: Kind.FORBIDDEN,
    404: Kind.MISSING,
    405: Kind.REFUSED,
    409: Kind.CONFLICT,
    413: Kind.REFUSED,
    415: Kind.REFUSED,
}


class CoprTrouble(Exception):
    """An exchange without a success; ``str()`` is one line without secrets, ``retry_after`` is in seconds."""

    def __init__(self, kind: Kind, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.kind = kind
        self.retry_after = retry_after


class Answer:
    """A judged success, in the shape that the client's own parsing expects of a response."""

    status_code = 200

    def __init__(self, body: dict[str, Any]) -> None:
        self._body = body

    def json(self) -> dict[str, Any]:
        """COPR's JSON object; rows of a list that are no objects have become empty ones."""
        return self._body


class Exchange:
    """How one port call talks to COPR: time-outs, a deadline (``seconds`` from now), what to hide."""

    def __init__(self, connect: float, read: float, seconds: float, hidden: tuple[str, ...] = ()) -> None:
        self._connect = connect
        self._read = read
        self._deadline = time.monotonic() + seconds
        # A server may repeat what it was sent, and its words are shown to people.
        self._hidden = tuple(text for text in hidden if len(text) >= 8)

    @property
    def seconds_left(self) -> float:
        """What is left for the whole port call; negative after its end."""
        return self._deadline - time.monotonic()

    def send(self, request: Mapping[str, Any]) -> Answer:
        """Send what the client prepared for ``requests``, once. Raises CoprTrouble."""
        left = self.seconds_left
        if left <= 0:
            raise CoprTrouble(Kind.NOT_SENT, "no time was left to ask COPR")
        timeouts = (min(self._connect, left), min(self._read, left))
        with Watch(left) as watch, requests.Session() as session:
            # What a proxy calls loopback is its own.
            session.trust_env = urlsplit(str(request["url"])).hostname not in LOOPBACK
            session.mount("http://", WatchedAdapter())
            session.mount("https://", WatchedAdapter())
            try:
                response = session.request(**request, timeout=timeouts, allow_redirects=False)
            except (requests.exceptions.RequestException, HTTPError, OSError, ValueError) as error:
                # Texts of these errors may hold whole headers, so only their kind is told.
                raise _broken(error, watch.cut, timeouts) from None
            return self._judged(response)

    def _judged(self, response: requests.Response) -> Answer:
        status = response.status_code
        try:
            body = response.json()
        except (ValueError, RecursionError):
            body = None
        wait = _retry_after(response.headers.get("Retry-After", ""))
        error = body.get("error") if isinstance(body, dict) else None
        if status == 200 and isinstance(body, dict) and error is None:
            return Answer(_whole(body))
        if not isinstance(error, str):
            raise CoprTrouble(Kind.UNCLEAR, f"HTTP {status} with an answer that is not COPR's API", wait)
        text = self._line(error)
        kind = VERDICTS.get(status, Kind.UNCLEAR)
        # Both are COPR's words for "look again": it lost a race with itself, or the address is not the API's.
        if "race condition" in text or "API endpoint doesn't exist" in text:
            kind = Kind.UNCLEAR
        raise CoprTrouble(kind, f"HTTP {status}: {text}" if kind is Kind.UNCLEAR else text, wait)

    def _line(self, text: str) -> str:
        for secret in self._hidden:
            text = text.replace(secret, "…")
        printable = "".join(letter if letter.isprintable() else " " for letter in text)
        return re.sub(r"\s+", " ", printable).strip()[:TEXT_LIMIT]


def _whole(body: dict[str, Any]) -> dict[str, Any]:
    """A list's answer with rows and meta of the right types: one odd row must not spoil its neighbours."""
    if "items" not in body:
        return body
    if not isinstance(body["items"], list):
        raise CoprTrouble(Kind.UNCLEAR, "COPR's list is not a list")
    rows = [row if isinstance(row, dict) else {} for row in body["items"]]
    meta = body.get("meta")
    return {"items": rows, "meta": meta if isinstance(meta, dict) else {}}


def _broken(error: Exception, cut: bool, timeouts: tuple[float, float]) -> CoprTrouble:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return CoprTrouble(Kind.NOT_SENT, f"COPR took no connection within {timeouts[0]:.0f} s")
    if took_no_connection(error):
        return CoprTrouble(Kind.NOT_SENT, "COPR could not be reached: no connection")
    if cut:
        return CoprTrouble(Kind.UNCLEAR, "COPR's answer took too long and was cut off")
    if isinstance(error, requests.exceptions.Timeout):
        return CoprTrouble(Kind.UNCLEAR, f"COPR was silent for {timeouts[1]:.0f} s")
    return CoprTrouble(Kind.UNCLEAR, f"the connection to COPR broke ({type(error).__name__})")


def _retry_after(text: str) -> float:
    """Seconds from a Retry-After header (a number or an HTTP date), at most an hour; 0 without one."""
    seconds = 0.0
    if text.isascii() and text.isdigit():
        seconds = float(text[:10])
    elif text:
        with suppress(ValueError, TypeError, OverflowError):
            date = email.utils.parsedate_to_datetime(text)
            if date.tzinfo is not None:
                seconds = (date - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT)
