"""The COPR client: sends each request once and bounded, and judges the answer. The only file that imports ``copr``.

The library's own sending (measured with ``copr`` 2.7) has no time-outs, follows redirects, and returns a JSON 429 or
503 as success. Here every request goes through ``Exchange``: no redirect is followed, nothing is repeated, and an
answer counts only with status 200 and COPR's own form. ``Exchange`` also bounds the whole exchange (a server that
drips one byte a minute never trips a read time-out) and knows whether anything was sent at all.
"""

from __future__ import annotations

import base64
import email.utils
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from copr.v3 import Client, config_from_file
from copr.v3.auth import auth_from_config
from copr.v3.exceptions import CoprException
from copr.v3.requests import GET, POST, FileRequest, Request
from urllib3.exceptions import HTTPError

from workers.buildsystems import NeedsPerson
from workers.buildsystems.bounded_http import LOOPBACK, Watch, WatchedAdapter, took_no_connection

Row = Mapping[str, Any]

BAD_TOKEN = "COPR's token is wrong, expired or was renewed elsewhere; get a new one from its API page"
LONGEST_WAIT = 3600.0
TEXT_LIMIT = 300
# The library writes its own objects into the answers that it hands out.
_NOT_DATA = frozenset({"__response__", "__proxy__"})


class Kind(StrEnum):
    """How a request failed: not sent, no usable answer, or one of COPR's own refusals."""

    NOT_SENT = "not sent"
    UNCLEAR = "unclear"
    LOGIN = "login"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    CONFLICT = "conflict"
    REFUSED = "refused"


# Only these statuses, and only with COPR's own JSON error, are COPR's own answer. All else proves nothing.
KIND_OF_STATUS: Mapping[int, Kind] = {
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
    """A request to COPR that did not succeed; ``str()`` is one line without secrets, ``retry_after`` in seconds."""

    def __init__(self, kind: Kind, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.kind = kind
        self.retry_after = retry_after


class Answer:
    """A successful answer of COPR, in the shape that the library's own parsing expects of a response."""

    status_code = 200

    def __init__(self, body: dict[str, Any]) -> None:
        self._body = body

    def json(self) -> dict[str, Any]:
        """Return COPR's JSON object; rows of a list that are no objects have become empty ones."""
        return self._body


class Exchange:
    """Sends the requests of one port call, each once, within ``seconds`` from now in all.

    ``connect`` and ``read`` are time-outs in seconds, ``hidden`` the secrets that no error text may repeat.
    """

    def __init__(self, connect: float, read: float, seconds: float, hidden: tuple[str, ...] = ()) -> None:
        self._connect = connect
        self._read = read
        self._deadline = time.monotonic() + seconds
        # A server may repeat what it was sent, and its words are shown to people.
        self._hidden = tuple(text for text in hidden if len(text) >= 8)

    @property
    def seconds_left(self) -> float:
        """Return the seconds left for the whole port call; negative after its end."""
        return self._deadline - time.monotonic()

    def send(self, request: Mapping[str, Any]) -> Answer:
        """Send a request that the library has prepared for ``requests``, once. Raises CoprTrouble."""
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
        kind = KIND_OF_STATUS.get(status, Kind.UNCLEAR)
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
    """Return a list's answer with rows and meta of the right types: one odd row must not spoil its neighbours."""
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
    """Return the seconds of a Retry-After header (a number or an HTTP date), at most an hour; 0 without one."""
    seconds = 0.0
    if text.isascii() and text.isdigit():
        seconds = float(text[:10])
    elif text:
        with suppress(ValueError, TypeError, OverflowError):
            date = email.utils.parsedate_to_datetime(text)
            if date.tzinfo is not None:
                seconds = (date - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT)


@dataclass(frozen=True)
class Account:
    """COPR's address and our log-in, from a file such as ``~/.config/copr``. The secrets are in no ``repr``."""

    copr_url: str
    login: str = field(repr=False)
    token: str = field(repr=False)
    username: str = ""

    @classmethod
    def read(cls, path: Path) -> Account:
        """Read COPR's configuration file. Raises NeedsPerson; its text never repeats what is in the file."""
        try:
            config = config_from_file(str(path))
            url = urlsplit(config["copr_url"])
        except (CoprException, KeyError, AttributeError, ValueError, OSError):
            # The parser quotes the lines that it does not understand, and one of them may be the token.
            raise NeedsPerson(
                f"the COPR configuration '{path.name}' is missing or not usable: it needs [copr-cli] with "
                "login, token and an https copr_url (or encrypted = False)"
            ) from None
        if not config["login"] or not config["token"]:
            raise NeedsPerson(
                f"the COPR configuration '{path.name}' has no login and token; get them from COPR's API page"
            )
        if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.query:
            raise NeedsPerson(
                f"copr_url in the COPR configuration '{path.name}' is not the address of a server"
            )
        return cls(config["copr_url"].rstrip("/"), config["login"], config["token"], config["username"] or "")

    def hidden(self) -> tuple[str, ...]:
        """Return every form in which the log-in goes over the wire."""
        pair = f"{self.login}:{self.token}".encode()
        return (base64.b64encode(pair).decode(), self.token, self.login)


class _BoundedRequest(Request):
    """A request composed by the library and sent through ``Exchange``."""

    exchange: Exchange

    def send(
        self,
        endpoint: str,
        method: str = GET,
        data: Any = None,
        params: Any = None,
        headers: Any = None,
        auth: Any = None,
    ) -> Answer:
        composed = self._request_params(endpoint, method, data, params, headers, auth)
        return self.exchange.send(composed)


class _BoundedFileRequest(_BoundedRequest, FileRequest):
    """An upload composed by the library and sent through ``Exchange``."""


class CoprClient:
    """COPR's API for one port call; methods raise CoprTrouble and return plain objects.

    Nothing in it outlives the call, so a fork shares nothing and a renewed token is used at once.
    """

    def __init__(self, account: Account, exchange: Exchange) -> None:
        self._exchange = exchange
        self._config = {
            "copr_url": account.copr_url,
            "login": account.login,
            "token": account.token,
            "username": account.username,
            "connection_attempts": 1,
        }
        self._client = Client(self._config)
        self._base = self._client.base_proxy.api_base_url
        request = _BoundedRequest(api_base_url=self._base)
        request.exchange = exchange
        for proxy in vars(self._client).values():
            if hasattr(proxy, "request"):
                proxy.request = request

    @property
    def seconds_left(self) -> float:
        """Return the seconds left for the port call."""
        return self._exchange.seconds_left

    def account(self) -> Row:
        """Return ``{"id", "name"}`` of the account that the token belongs to."""
        return _plain(self._client.base_proxy.auth_check())

    def active_chroots(self) -> frozenset[str]:
        """Return the chroots that COPR builds in now; a request that lists any other is refused as a whole."""
        return frozenset(_plain(self._client.mock_chroot_proxy.get_list()))

    def project(self, owner: str, name: str) -> Row:
        """Return one project; its chroots are the keys of ``chroot_repos``."""
        return _plain(self._client.project_proxy.get(owner, name))

    def add_project(
        self, owner: str, name: str, chroots: Sequence[str], settings: Mapping[str, object]
    ) -> Row:
        """Create a project, or return the one that is there, unchanged."""
        add = self._client.project_proxy.add
        return _plain(
            # The list of chroots is ours: COPR must not add branches by itself.
            add(owner, name, list(chroots), follow_fedora_branching=False, exist_ok=True, **settings)
        )

    def set_chroots(self, owner: str, name: str, chroots: Sequence[str]) -> Row:
        """Replace the project's list of chroots and nothing else."""
        return _plain(self._client.project_proxy.edit(owner, name, chroots=list(chroots)))

    def builds(self, owner: str, name: str, *, limit: int, offset: int = 0) -> list[Row]:
        """Return builds of a project, newest first (COPR knows no other order); an odd row is an empty object."""
        page = {"limit": limit, **({"offset": offset} if offset else {})}
        return _rows(self._client.build_proxy.get_list(owner, name, pagination=page))

    def build(self, number: int) -> Row:
        """Return one build."""
        return _plain(self._client.build_proxy.get(number))

    def build_chroots(self, number: int) -> list[Row]:
        """Return the chroots of a build, in no fixed order."""
        return _rows(self._client.build_chroot_proxy.get_list(number))

    def built_packages(self, number: int, chroot: str) -> list[Row]:
        """Return the RPMs of one chroot, SRPM included: ``{"name", "epoch", "version", "release", "arch"}`` each."""
        answer = self._client.build_chroot_proxy.get_built_packages(number, chroot)
        return _rows(answer.get("packages"))

    def source_chroot(self, number: int) -> Row:
        """Return ``{"state", "result_url"}`` of the source step; COPR answers 500 until that step runs."""
        return _plain(self._client.build_proxy.get_source_chroot(number))

    def source_config(self, number: int) -> Row:
        """Return what a build was made from: ``{"source_type", "source_dict", ...}``."""
        return _plain(self._client.build_proxy.get_source_build_config(number))

    def cancel(self, number: int) -> Row:
        """Cancel a build."""
        return _plain(self._client.build_proxy.cancel(number))

    def upload(
        self,
        owner: str,
        project: str,
        path: Path,
        file_name: str,
        options: Mapping[str, object],
        dirname: str | None = None,
    ) -> Row:
        """Create a build from the SRPM at ``path``, sent as ``file_name``. Raises OSError if it cannot be read.

        The library's ``create_from_file`` sends the same, but leaves the file open and cannot be told a name.
        """
        data = {"ownername": owner, "projectname": project, "project_dirname": dirname, **options}
        with path.open("rb") as source:
            request = _BoundedFileRequest(
                files={"pkgs": (file_name, source, "application/x-rpm")}, api_base_url=self._base
            )
            request.exchange = self._exchange
            answer = request.send(
                "/build/create/upload", method=POST, data=data, auth=auth_from_config(self._config)
            )
        return answer.json()


def _plain(answer: Mapping[str, Any]) -> Row:
    return {key: value for key, value in answer.items() if key not in _NOT_DATA}


def _rows(answer: Any) -> list[Row]:
    # An object without rows must never look like an empty list, the proof that a build is not there.
    if not isinstance(answer, list):
        raise CoprTrouble(Kind.UNCLEAR, "COPR's list of builds or chroots has an unknown form")
    return [dict(row) for row in answer]
