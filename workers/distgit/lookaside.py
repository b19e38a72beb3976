"""Upload sources to dist-git's lookaside cache, after asking whether it has them.

The cache keeps a source by package, file name and SHA512.

The protocol is the one of dist-git's upload script, which fedpkg speaks: a form with ``name`` (the package, in its
namespace), ``sha512sum`` and ``filename`` asks and is answered ``Available`` or ``Missing``; the same with the file in
``file`` instead of ``filename`` uploads. Fedora's wants a log-in by Kerberos for both (HTTP's ``Negotiate``), others a
client certificate. A ticket is shown only where it is demanded, and never over an open line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from workers.buildsystems.kerberos import Credentials, KerberosTrouble, negotiate
from workers.sources.downloads import tls_context, tls_context_with_certificate

SECONDS = 60.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class LookasideTrouble(Exception):
    """The cache did not take the source, or gave no answer; ``str(error)`` is one line."""


class LookasideRefused(Exception):
    """The cache denies access, which only a person can change; ``str(error)`` is one line without secrets."""


def sha512_of(file: Path) -> str:
    """Return the SHA512 of a file as hexadecimal text."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha512").hexdigest()


def upload(
    address: str,
    *,
    package: str,
    file: Path,
    sha512: str,
    credentials: Credentials | None = None,
    seconds: float = SECONDS,
) -> bool:
    """Make sure that the cache has the file, and return whether it had to be uploaded. Safe to repeat.

    ``package`` is its name in the cache, with the namespace. Raises LookasideTrouble, and LookasideRefused.
    """
    asked = {"name": package, "sha512sum": sha512}
    question = _form({**asked, "filename": file.name})
    try:
        with _Cache(address, credentials or Credentials(), seconds) as cache:
            told = cache.ask(question)
            if told == "available":
                return False
            if told != "missing":
                raise LookasideTrouble(
                    f"the lookaside cache answered {told[:80]!r} where it has or lacks a file"
                )

            with file.open("rb") as handle:

                def form() -> dict[str, Any]:
                    handle.seek(0)
                    return {**_form(asked), "file": (file.name, handle)}

                sent = cache.post(form)
            if sent.status_code != 200:
                raise LookasideTrouble(
                    f"the lookaside cache refused {file.name}: HTTP {sent.status_code}{_said(sent)}"
                )
            if cache.ask(question) != "available":
                raise LookasideTrouble(f"the lookaside cache took {file.name} and does not have it")
            return True
    except httpx2.HTTPError as error:
        raise LookasideTrouble(f"the lookaside cache gave no answer ({type(error).__name__})") from None


class _Cache:
    """A connection to the cache. Once the cache has demanded a log-in, each request carries a Kerberos ticket."""

    def __init__(self, address: str, credentials: Credentials, seconds: float) -> None:
        self._address = address
        self._credentials = credentials
        self._demanded = False
        parts = urlsplit(address)
        self._host = parts.hostname or ""
        self._closed_line = parts.scheme == "https" or self._host in LOOPBACK
        trust = self._host not in LOOPBACK
        verify = tls_context(by_environment=trust)
        if credentials.certificate is not None:
            try:
                verify = tls_context_with_certificate(credentials.certificate, by_environment=trust)
            except OSError:
                name = credentials.certificate.name
                raise LookasideRefused(f"there is no usable certificate '{name}' to show") from None
        timeout = httpx2.Timeout(seconds, connect=10.0)
        self._client = httpx2.Client(timeout=timeout, follow_redirects=False, trust_env=trust, verify=verify)

    def __enter__(self) -> _Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, form: dict[str, Any]) -> str:
        answer = self.post(lambda: form)
        if answer.status_code != 200:
            raise LookasideTrouble(f"the lookaside cache answered HTTP {answer.status_code}{_said(answer)}")
        return answer.text.strip().lower()

    def post(self, form: Callable[[], dict[str, Any]]) -> httpx2.Response:
        """Post a form, which is made anew where it has to be sent again."""
        answer = self._send(form())
        if answer.status_code == 401 and not self._demanded:
            demands = answer.headers.get("www-authenticate", "")
            if "negotiate" not in demands.lower():
                how = demands.partition(" ")[0][:40] or "a way that it does not name"
                raise LookasideRefused(
                    f"the lookaside cache wants a log-in by {how}, which is not known here"
                )
            if not self._closed_line:
                raise LookasideRefused(
                    "the lookaside cache wants a log-in over http; give its https address in the catalogue"
                )
            self._demanded = True
            answer = self._send(form())
        if answer.status_code == 401:
            who = self._credentials.principal or "our ticket"
            raise LookasideRefused(f"the lookaside cache does not accept the Kerberos log-in of {who}")
        if answer.status_code == 403:
            raise LookasideRefused(
                f"our account may not upload to the lookaside cache (HTTP 403{_said(answer)}): ask for the right "
                "to commit, or check keytab and certificate"
            )
        return answer

    def _send(self, form: dict[str, Any]) -> httpx2.Response:
        headers = {"Authorization": f"Negotiate {self._token()}"} if self._demanded else {}
        return self._client.post(self._address, files=form, headers=headers)

    def _token(self) -> str:
        mine = self._credentials
        try:
            return negotiate(self._host, principal=mine.principal, keytab=mine.keytab, ccache=mine.ccache)
        except KerberosTrouble as error:
            told = f"the lookaside cache wants a Kerberos log-in: {error}"
            if error.away:
                raise LookasideTrouble(told) from None
            raise LookasideRefused(f"{told} (CRYOPACK_KOJI_KEYTAB, CRYOPACK_KOJI_PRINCIPAL)") from None


def _form(words: dict[str, str]) -> dict[str, Any]:
    """Return values as parts of a multipart form, which is how fedpkg sends them."""
    return {name: (None, word) for name, word in words.items()}


def _said(answer: httpx2.Response) -> str:
    lines = answer.text.strip().splitlines()
    return f": {lines[0][:200]}" if lines else ""
