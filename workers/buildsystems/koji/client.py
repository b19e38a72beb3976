"""The Koji client made safe. The only file that imports ``koji``.

The library's own ways are changed where they would harm us (measured with ``koji`` 1.36.1): it sends a call again
by itself, which older hubs run twice; it renews a session and loses count in it; its time-out is half a day; an object
that is dropped logs its session out, also in a forked child. Here a submission is sent once, every call and every
port call is bounded, no session is renewed, and nothing outlives a port call but a session's number and key.
"""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import koji

from workers.buildsystems import NeedsPerson
from workers.buildsystems.bounded_http import LOOPBACK, Watch, WatchedAdapter
from workers.buildsystems.kerberos import MISSING, KerberosTrouble, negotiate
from workers.buildsystems.koji.settings import KojiSettings
from workers.buildsystems.koji.trouble import Kind, KojiTrouble, trouble_of

# Kerberos log-in does not even contact the hub with 0 retries.
READ_RETRIES = 1
RETRY_SECONDS = 1
# Logging another session out is the fence; the client quietly logs itself out instead on older hubs.
FIRST_FENCEABLE = (1, 31)

Row = Mapping[str, Any]


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
        """Read the profile. Raises NeedsPerson."""
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
    """The library's session with our limits under it."""

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
    """The hub for the length of one port call of ``seconds``; methods raise KojiTrouble and return plain objects.

    Use it as a context: at its end the session is forgotten, not closed.
    """

    def __init__(self, profile: Profile, settings: KojiSettings, seconds: float) -> None:
        self._settings = settings
        self._profile = profile
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
        """One call that may be sent again by itself: a read, or a write that can be repeated without harm."""
        return self._bounded(
            lambda: self._session.callMethod(name, *args, **named), self._settings.call_timeout
        )

    def call_once(self, name: str, /, *args: Any) -> Any:
        """One call that is sent once and never again."""
        retries = self._session.opts["max_retries"]
        self._session.opts["max_retries"] = 0
        try:
            return self._bounded(lambda: self._session.callMethod(name, *args), self._settings.build_timeout)
        finally:
            self._session.opts["max_retries"] = retries

    def many(self, calls: Sequence[tuple[str, tuple[Any, ...], Mapping[str, Any]]]) -> list[Any]:
        """Several reads in one request; each answer is a value, or the KojiTrouble of that call alone."""
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
        """Open a session: its ``{"session-id", "session-key"}``. Raises NeedsPerson for what only a person can mend."""
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
        host = urlsplit(self._profile.server).hostname or ""
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
        certificate = self._profile.certificate
        if certificate is None or not certificate.is_file():
            name = f" '{certificate.name}'" if certificate else ""
            raise KojiTrouble(Kind.LOGIN, f"there is no certificate{name} (CRYOPACK_KOJI_CERTIFICATE)")
        self._session.ssl_login(cert=str(certificate), serverca=self._profile.serverca)

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

    def adopt(self, sinfo: Row) -> None:
        """Go on in a session that was opened before, in this process."""
        self._hidden.append(str(sinfo["session-key"]))
        self._session.setSession(dict(sinfo))

    def log_out(self) -> None:
        """Close our own session."""
        self._bounded(lambda: self._session.logout(), self._settings.call_timeout)

    def close_session(self, number: int) -> None:
        """The fence: no call of that session runs from now on. Raises KojiTrouble where it has not happened."""
        if self.hub_version() < FIRST_FENCEABLE:
            raise KojiTrouble(Kind.UNCLEAR, "this hub is too old to close another session")
        self._bounded(lambda: self._session.logout(session_id=number), self._settings.setup_timeout)

    def hub_version(self) -> tuple[int, ...]:
        """The hub's version, such as (1, 35, 3)."""
        version: tuple[int, ...] = self._bounded(
            lambda: self._session.hub_version, self._settings.call_timeout
        )
        return version

    def upload(self, path: Path, folder: str, name: str) -> None:
        """Upload a file in chunks, each with its checksum. Repeatable. Raises OSError where it cannot be read."""
        with path.open("rb"):
            pass
        self._bounded(
            lambda: self._session.uploadWrapper(str(path), folder, name=name), self._settings.call_timeout
        )
