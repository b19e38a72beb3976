"""The Koji client: bounds every call to a hub, never repeats a submission, and says what a failed call means.

The only file that imports ``koji``. The library's own ways are changed where they would harm us (measured with
``koji`` 1.36.1): it sends a call again by itself, which older hubs run twice; it renews a session and loses count in
it; its time-out is half a day; an object that is dropped logs its session out, also in a forked child. Here a
submission is sent once, every call and every port call is bounded, no session is renewed, and nothing outlives a port
call but a session's number and key.
"""

from __future__ import annotations

import builtins
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import koji
import requests

from service.domain.reports import Fence
from workers.buildsystems import (
    BuildSystemError,
    BuildSystemUnavailable,
    NeedsPerson,
    SubmissionRefused,
    SubmissionUnknown,
)
from workers.buildsystems.bounded_http import LOOPBACK, Watch, WatchedAdapter, took_no_connection
from workers.buildsystems.kerberos import MISSING, KerberosTrouble, negotiate
from workers.buildsystems.koji.settings import KojiSettings

# Kerberos log-in does not even contact the hub with 0 retries.
READ_RETRIES = 1
RETRY_SECONDS = 1
# Logging another session out is the fence; the client quietly logs itself out instead on older hubs.
FIRST_FENCEABLE = (1, 31)
# Sessions that were opened and never used; the hub forgets them by itself after a day.
MOST_HELD = 50
TEXT_LIMIT = 300

Row = Mapping[str, Any]
# A call for ``multicall``: method, arguments, named arguments.
Call = tuple[str, tuple[Any, ...], Mapping[str, Any]]


class Kind(StrEnum):
    """How a call failed, and so how much its failure proves."""

    NOT_SENT = "not sent"
    UNCLEAR = "unclear"
    OFFLINE = "offline"
    LOGIN = "login"
    CLOSED = "closed"
    DENIED = "denied"
    REFUSED = "refused"


# Koji's fault codes. Everything that is not here is the hub's verdict on the call itself.
KIND_OF_FAULT = {
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
    """A call to a hub that did not succeed; ``str()`` is one line without secrets, ``code`` Koji's fault code or 0."""

    def __init__(self, kind: Kind, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.kind = kind
        self.code = code


def trouble_of(error: Exception, hidden: Iterable[str], *, cut: bool = False) -> KojiTrouble:
    """Return an exception of the library as a KojiTrouble.

    The library raises three families: Koji's own, ``xmlrpc.client.Fault`` for what no hub expected, and those of
    ``requests``. ``hidden`` are the secrets that no text may repeat, ``cut`` whether our own time limit was reached.
    """
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
    kind = KIND_OF_FAULT.get(code, Kind.REFUSED)
    if kind is Kind.LOGIN and any(part in text for part in CLOSED_TEXTS):
        kind = Kind.CLOSED
    elif kind is Kind.LOGIN and (NETWORK.search(text) or SERVER.search(text) or text.strip() == NO_REASON):
        return KojiTrouble(Kind.NOT_SENT, "the hub could not be reached for the log-in", code)
    if kind is Kind.OFFLINE:
        text = f"the hub is offline: {text}"
    return KojiTrouble(kind, text, code)


def one_line(text: str, hidden: Iterable[str] = ()) -> str:
    """Return a hub's text as one printable line without secrets; of a traceback, only its last line."""
    for secret in hidden:
        text = text.replace(secret, "…") if len(secret) >= 4 else text
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if lines and lines[0].startswith("Traceback"):
        lines = lines[-1:]
    line = " ".join(lines)
    return re.sub(r"\s+", " ", "".join(letter if letter.isprintable() else " " for letter in line))[
        :TEXT_LIMIT
    ]


def port_error(error: KojiTrouble) -> BuildSystemError:
    """Return the port's error for the failure of a request that can be repeated without harm."""
    if error.kind in {Kind.DENIED, Kind.LOGIN}:
        return NeedsPerson(f"Koji denies it: {error}")
    if error.kind is Kind.REFUSED:
        return SubmissionRefused(str(error))
    return BuildSystemUnavailable(str(error))


def port_error_before_build(error: KojiTrouble) -> BuildSystemError:
    """Return the port's error for a failure before the build was asked for: surely nothing was submitted."""
    # The client itself compares sizes and checksums of what it has uploaded, in words of its own.
    if error.kind is Kind.REFUSED and "upload" in str(error).lower():
        return BuildSystemUnavailable(str(error))
    return port_error(error)


def port_error_after_build(error: KojiTrouble) -> BuildSystemError:
    """Return the port's error for a submission that did not succeed: unknown, unless the hub surely refused it."""
    if error.kind in {Kind.UNCLEAR, Kind.OFFLINE}:
        return SubmissionUnknown(str(error))
    return port_error(error)


@dataclass(frozen=True)
class Profile:
    """A hub and its addresses, from Koji's own configuration. ``topurl`` may be empty."""

    name: str
    server: str
    weburl: str
    topurl: str
    options: Mapping[str, Any] = field(repr=False)
    certificate: Path | None = None
    serverca: str | None = None

    @classmethod
    def read(cls, settings: KojiSettings) -> Profile:
        """Read the profile from Koji's configuration files. Raises NeedsPerson."""
        if not settings.profile:
            raise NeedsPerson("no Koji profile is set (CRYOPACK_KOJI_PROFILE)")
        where = f"in '{settings.config_file.name}'" if settings.config_file else "in Koji's own configuration"
        try:
            config = koji.read_config(
                settings.profile, user_config=str(settings.config_file) if settings.config_file else None
            )
            server = urlsplit(config["server"])
        except Exception:
            # The parser quotes the lines that it does not understand.
            raise NeedsPerson(f"there is no usable Koji profile '{settings.profile}' {where}") from None
        if server.scheme not in {"http", "https"} or not server.hostname or server.username:
            raise NeedsPerson(
                f"'server' of the Koji profile '{settings.profile}' is not the address of a hub"
            )
        certificate = settings.certificate or (
            Path(config["cert"]).expanduser() if config.get("cert") else None
        )
        return cls(
            settings.profile,
            str(config["server"]).rstrip("/"),
            str(config.get("weburl") or "").rstrip("/"),
            str(config.get("topurl") or "").rstrip("/"),
            koji.grab_session_options(config),
            certificate,
            config.get("serverca") or None,
        )


class _Session(koji.ClientSession):
    """The library's session, bounded, without redirects, repeats and renewals."""

    def new_session(self) -> None:
        super().new_session()
        self.rsession.trust_env = urlsplit(self.baseurl).hostname not in LOOPBACK
        # A hub never redirects; following one would turn a call into a GET somewhere else.
        self.rsession.max_redirects = 0
        self.rsession.mount("http://", WatchedAdapter())
        self.rsession.mount("https://", WatchedAdapter())

    def _sendCall(self, handler: str, headers: Any, request: Any) -> Any:
        # The library's own version sends once more after a broken connection, whatever the retries are set to.
        return self._sendOneCall(handler, headers, request)

    def _renew_session(self) -> None:
        raise koji.AuthExpired("the session has expired")


class KojiClient:
    """A hub's API for one port call of at most ``seconds``; methods raise KojiTrouble and return plain objects.

    Use it as a context manager: at its end the session is forgotten, not closed.
    """

    def __init__(self, profile: Profile, settings: KojiSettings, seconds: float) -> None:
        self.profile = profile
        self._settings = settings
        self._deadline = time.monotonic() + seconds
        self._hidden: list[str] = []
        options = {
            **profile.options,
            "timeout": settings.call_timeout,
            "auth_timeout": settings.login_timeout,
            "max_retries": READ_RETRIES,
            "retry_interval": RETRY_SECONDS,
            "anon_retry": True,
            "offline_retry": False,
            "use_fast_upload": True,
        }
        self._session = _Session(profile.server, options)

    def __enter__(self) -> KojiClient:
        return self

    def __exit__(self, *_: object) -> None:
        # Otherwise the library's destructor would log out by itself, at a time of its own choice.
        self._session._forget()

    def _bounded(self, act: Callable[[], Any], seconds: float) -> Any:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise KojiTrouble(Kind.NOT_SENT, "no time was left to ask the hub")
        self._session.opts["timeout"] = min(seconds, left)
        with Watch(left) as watch:
            try:
                return act()
            except Exception as error:
                raise trouble_of(error, self._hidden, cut=watch.cut) from None

    def call(self, name: str, /, *args: Any, **named: Any) -> Any:
        """Call a method that the library may send again: a read, or a write that can be repeated without harm."""
        return self._bounded(
            lambda: self._session.callMethod(name, *args, **named), self._settings.call_timeout
        )

    def call_once(self, name: str, /, *args: Any) -> Any:
        """Call a method that is sent once and never again."""
        retries = self._session.opts["max_retries"]
        self._session.opts["max_retries"] = 0
        try:
            return self._bounded(lambda: self._session.callMethod(name, *args), self._settings.build_timeout)
        finally:
            self._session.opts["max_retries"] = retries

    def multicall(self, calls: Sequence[Call]) -> list[Any]:
        """Send several reads in one request; each answer is a value, or the KojiTrouble of that call alone."""
        if not calls:
            return []

        def ask() -> list[Any]:
            batch = self._session.multicall(strict=False)
            asked = [batch.callMethod(name, *args, **named) for name, args, named in calls]
            batch.call_all()
            return asked

        return [self._answer(one) for one in self._bounded(ask, self._settings.call_timeout)]

    def _answer(self, one: Any) -> Any:
        try:
            return one.result
        except Exception as error:
            return trouble_of(error, self._hidden)

    def log_in(self, ccache: Path) -> Row:
        """Open a session and return its ``{"session-id", "session-key"}``. Raises NeedsPerson where we are refused."""
        act = {"kerberos": self._kerberos, "certificate": self._certificate, "password": self._password}
        try:
            self._bounded(lambda: act[self._settings.auth](ccache), self._settings.login_timeout)
        except KojiTrouble as error:
            if error.kind in {Kind.LOGIN, Kind.DENIED, Kind.REFUSED, Kind.CLOSED}:
                raise NeedsPerson(
                    f"Koji does not accept our log-in by {self._settings.auth}: {error}"
                ) from None
            raise
        sinfo: Row = dict(self._session.sinfo)
        self._hidden.append(str(sinfo["session-key"]))
        return sinfo

    def _kerberos(self, ccache: Path) -> None:
        settings = self._settings
        host = urlsplit(self.profile.server).hostname or ""
        try:
            # The library tells a wrong key and a KDC that is away alike; with the ticket in the cache it asks none.
            negotiate(host, principal=settings.principal, keytab=settings.keytab, ccache=ccache)
        except KerberosTrouble as error:
            kind = Kind.NOT_SENT if error.away else Kind.LOGIN
            raise KojiTrouble(kind, f"{error} (CRYOPACK_KOJI_KEYTAB, CRYOPACK_KOJI_PRINCIPAL)") from None
        try:
            self._session.gssapi_login(
                principal=settings.principal or None,
                keytab=str(settings.keytab) if settings.keytab else None,
                # Each process has a cache of its own: the library sets it in the environment meanwhile.
                ccache=f"FILE:{ccache}" if settings.keytab else None,
            )
        except builtins.ImportError:
            raise KojiTrouble(Kind.LOGIN, MISSING) from None

    def _certificate(self, _: Path) -> None:
        certificate = self.profile.certificate
        if certificate is None or not certificate.is_file():
            name = f" '{certificate.name}'" if certificate else ""
            raise KojiTrouble(Kind.LOGIN, f"there is no certificate{name} (CRYOPACK_KOJI_CERTIFICATE)")
        self._session.ssl_login(cert=str(certificate), serverca=self.profile.serverca)

    def _password(self, _: Path) -> None:
        path = self._settings.password_file
        try:
            password = path.read_text(encoding="utf-8").strip() if path else ""
        except (OSError, UnicodeDecodeError):
            password = ""
        if not password or not self._settings.user:
            raise KojiTrouble(
                Kind.LOGIN,
                "user or password file is missing (CRYOPACK_KOJI_USER, CRYOPACK_KOJI_PASSWORD_FILE)",
            )
        self._hidden.append(password)
        self._session.opts |= {"user": self._settings.user, "password": password}
        self._session.login()

    def use_session(self, sinfo: Row) -> None:
        """Use a session that this process has opened before."""
        self._hidden.append(str(sinfo["session-key"]))
        self._session.setSession(dict(sinfo))

    def log_out(self) -> None:
        """Close our own session if the hub answers; one that stays open for a day harms nobody."""
        with suppress(KojiTrouble):
            self._bounded(lambda: self._session.logout(), self._settings.call_timeout)

    def close_session(self, number: int) -> None:
        """Close another session, so that no call of it runs from now on. Raises KojiTrouble where it is not closed."""
        if self.hub_version() < FIRST_FENCEABLE:
            raise KojiTrouble(Kind.UNCLEAR, "this hub is too old to close another session")
        self._bounded(lambda: self._session.logout(session_id=number), self._settings.setup_timeout)

    def hub_version(self) -> tuple[int, ...]:
        """Return the hub's version, such as (1, 35, 3)."""
        version: tuple[int, ...] = self._bounded(
            lambda: self._session.hub_version, self._settings.call_timeout
        )
        return version

    def fencing_version(self) -> str:
        """Return the hub's version as text. Raises NeedsPerson for one at which no submission can be fenced."""
        version = self.hub_version()
        shown = ".".join(map(str, version))
        if version < FIRST_FENCEABLE:
            raise NeedsPerson(f"the hub is Koji {shown}; 1.31 is the first that can fence a submission")
        return shown

    def upload(self, path: Path, folder: str, name: str) -> None:
        """Upload a file in chunks, each with its checksum; may be repeated. Raises OSError if it cannot be read."""
        with path.open("rb"):
            pass
        self._bounded(
            lambda: self._session.uploadWrapper(str(path), folder, name=name), self._settings.call_timeout
        )


@dataclass(frozen=True)
class _HeldSession:
    """An open session's number and key. Plain data: a fork that drops it logs nobody out."""

    pid: int
    sinfo: Row


class Hub:
    """One hub and our account there: makes clients, and keeps the keys of sessions that were opened for later use.

    The keys are in this process only. ``caches`` is the folder for Kerberos' tickets.
    """

    def __init__(self, settings: KojiSettings, caches: Path) -> None:
        self.settings = settings
        self._caches = caches
        self._held: dict[int, _HeldSession] = {}

    def client(self, seconds: float) -> KojiClient:
        """Return a client for one port call of at most ``seconds``, not logged in. Raises NeedsPerson."""
        return KojiClient(Profile.read(self.settings), self.settings, seconds)

    def log_in(self, client: KojiClient) -> Row:
        """Log the client in; see ``KojiClient.log_in``. Each process has a ticket cache of its own."""
        return client.log_in(self._caches / f"krb5cc-{os.getpid()}")

    def hold_session(self, sinfo: Row) -> int:
        """Keep the key of an open session for its one use; return the session's number."""
        number = int(sinfo["session-id"])
        while len(self._held) >= MOST_HELD:
            self._held.pop(next(iter(self._held)), None)
        self._held[number] = _HeldSession(os.getpid(), sinfo)
        return number

    def take_session(self, number: int) -> Row | None:
        """Return a held session, once; None where another process opened it, or it was used or closed."""
        held = self._held.pop(number, None)
        return held.sinfo if held is not None and held.pid == os.getpid() else None

    def close_session(self, client: KojiClient, number: int) -> None:
        """Close the session of an earlier submission (the fence). Raises KojiTrouble where it is not surely closed."""
        self._held.pop(number, None)
        try:
            client.close_session(number)
        except KojiTrouble as error:
            # No such session of this user; the same answer for another user's has been ruled out before.
            if not (error.kind is Kind.REFUSED and "returned no rows" in str(error)):
                raise


def user_id_of(user: Any) -> int:
    """Return the id in the hub's answer about us. Raises KojiTrouble."""
    number = user.get("id") if isinstance(user, dict) else None
    if not isinstance(number, int):
        raise KojiTrouble(Kind.UNCLEAR, "the hub does not say who we are")
    return number


def other_account(user_id: int, fence: Fence) -> str:
    """Return the reason why the tasks of a submission cannot be found: they are another account's."""
    return (
        f"the hub knows us as user {user_id}, and this submission was made by user {fence.get('user_id')}: "
        "give the old account back, or cancel the build by hand at Koji"
    )


def fence_number(fence: Fence, key: str) -> int:
    """Return a number of a fence; 0 where it has none."""
    number = fence.get(key)
    return number if isinstance(number, int) and not isinstance(number, bool) else 0
