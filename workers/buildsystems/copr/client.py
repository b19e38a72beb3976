"""The COPR client made safe. The only file that imports ``copr``.

Every request of the library goes through ``Exchange``: no redirect is followed, nothing is repeated, every
step is bounded, and an answer counts only with status 200 and COPR's own form. The library's own sending
knows none of that (measured with ``copr`` 2.7): it has no time-outs, follows redirects, and returns a JSON
429 or 503 as success.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from copr.v3 import Client, config_from_file
from copr.v3.auth import auth_from_config
from copr.v3.exceptions import CoprException
from copr.v3.requests import GET, POST, FileRequest, Request

from workers.buildsystems import NeedsPerson
from workers.buildsystems.copr.exchange import Answer, CoprTrouble, Exchange, Kind

Row = Mapping[str, Any]

# The library writes its own objects into the answers that it hands out.
_NOT_DATA = frozenset({"__response__", "__proxy__"})


@dataclass(frozen=True)
class Account:
    """A server and a log-in, from a file such as ``~/.config/copr``. The secrets are in no ``repr``."""

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
        """Every form in which the log-in goes over the wire."""
        pair = f"{self.login}:{self.token}".encode()
        return (base64.b64encode(pair).decode(), self.token, self.login)


class _BoundedRequest(Request):
    """Replaces how the library's requests are sent; how they are composed stays its own."""

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
    """The same for an upload."""


class CoprClient:
    """COPR's API for the length of one port call; methods raise CoprTrouble and return plain objects.

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
        """What is left for the port call."""
        return self._exchange.seconds_left

    def account(self) -> Row:
        """``{"id", "name"}`` of whom the token belongs to."""
        return _plain(self._client.base_proxy.auth_check())

    def active_chroots(self) -> frozenset[str]:
        """The chroots that COPR builds in now; a list with any other is refused as a whole."""
        return frozenset(_plain(self._client.mock_chroot_proxy.get_list()))

    def project(self, owner: str, name: str) -> Row:
        """One project; its chroots are the keys of ``chroot_repos``."""
        return _plain(self._client.project_proxy.get(owner, name))

    def add_project(
        self, owner: str, name: str, chroots: Sequence[str], settings: Mapping[str, object]
    ) -> Row:
        """Create a project, or get the one that is there, unchanged."""
        add = self._client.project_proxy.add
        return _plain(
            # The list of chroots is ours: COPR must not add branches by itself.
            add(owner, name, list(chroots), follow_fedora_branching=False, exist_ok=True, **settings)
        )

    def set_chroots(self, owner: str, name: str, chroots: Sequence[str]) -> Row:
        """Replace the project's list of chroots and nothing else."""
        return _plain(self._client.project_proxy.edit(owner, name, chroots=list(chroots)))

    def builds(self, owner: str, name: str, *, limit: int, offset: int = 0) -> list[Row]:
        """Builds of a project, newest first whatever order is asked for; an odd row is an empty object."""
        page = {"limit": limit, **({"offset": offset} if offset else {})}
        return _rows(self._client.build_proxy.get_list(owner, name, pagination=page))

    def build(self, number: int) -> Row:
        """One build."""
        return _plain(self._client.build_proxy.get(number))

    def build_chroots(self, number: int) -> list[Row]:
        """The chroots of a build, in no order that would last."""
        return _rows(self._client.build_chroot_proxy.get_list(number))

    def built_packages(self, number: int, chroot: str) -> list[Row]:
        """The RPMs of one chroot, SRPM included: ``{"name", "epoch", "version", "release", "arch"}`` each."""
        answer = self._client.build_chroot_proxy.get_built_packages(number, chroot)
        return _rows(answer.get("packages"))

    def source_chroot(self, number: int) -> Row:
        """``{"state", "result_url"}`` of the source step; COPR answers 500 until that step runs."""
        return _plain(self._client.build_proxy.get_source_chroot(number))

    def source_config(self, number: int) -> Row:
        """What a build was made from: ``{"source_type", "source_dict", ...}``."""
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
        """Create a build from the SRPM at ``path``, sent as ``file_name``. Raises OSError if unreadable.

        ``create_from_file`` sends the same, but leaves the file open and cannot be told a name.
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
