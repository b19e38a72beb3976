"""Download logs and RPMs from build systems over HTTP, within limits; and the TLS certificates that clients trust."""

from __future__ import annotations

import functools
import ipaddress
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({404, 410})


class NotThere(Exception):
    """The server has nothing at this address (404, 410): not yet, or not any more."""


class DownloadTrouble(Exception):
    """The server is away, too slow or answers oddly; try again. ``retry_after`` is seconds, 0 if not named."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class DownloadRefused(Exception):
    """The download cannot work, now or later: too large, a foreign address, a status that refuses."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one download: seconds to connect, between bytes and in all; bytes as they come; redirects."""

    size: int
    total: float
    connect: float = 10.0
    read: float = 30.0
    redirects: int = 3


@dataclass(frozen=True)
class Fetched:
    """The outcome of a download, in bytes: how many came, at which offset they begin, the whole size (-1: unknown)."""

    size: int
    start: int
    whole: int


def download(
    url: str, sink: Callable[[bytes], None], limits: Limits, headers: Mapping[str, str] | None = None
) -> Fetched:
    """Stream an address into ``sink``, still compressed if it is so. What ``sink`` raises passes through.

    Redirects are followed within the same scheme, host and port only: a server of build results must not send a worker
    elsewhere. Raises NotThere, DownloadTrouble, DownloadRefused.
    """
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise DownloadRefused(f"{url[:100]!r} is no web address") from None
    if address.scheme not in {"http", "https"} or not address.host or address.userinfo:
        raise DownloadRefused(f"{url[:100]!r} is no web address that can be fetched")
    deadline = time.monotonic() + limits.total
    timeout = httpx2.Timeout(limits.read, connect=limits.connect)
    sent = {"Accept-Encoding": "identity", "User-Agent": "cryopack", **(headers or {})}
    # A proxy of the environment is for the outside; loopback is never reached through one.
    trust = not is_loopback(address.host)
    verify = tls_context(by_environment=trust)
    with httpx2.Client(timeout=timeout, follow_redirects=False, trust_env=trust, verify=verify) as client:
        try:
            return _follow(client, address, sink, limits, sent, deadline)
        except httpx2.TimeoutException as error:
            raise DownloadTrouble(f"{address.host} was too slow ({type(error).__name__})") from error
        except httpx2.InvalidURL:
            raise DownloadRefused(f"{address.host} redirects to an address that is none") from None
        except httpx2.TransportError as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise DownloadTrouble(f"{address.host}: the connection failed ({said})") from error


def _follow(
    client: httpx2.Client,
    start: httpx2.URL,
    sink: Callable[[bytes], None],
    limits: Limits,
    headers: Mapping[str, str],
    deadline: float,
) -> Fetched:
    address = start
    for _ in range(limits.redirects + 1):
        with client.stream("GET", address, headers=headers) as response:
            if response.status_code in _REDIRECTS:
                address = address.join(response.headers.get("location", ""))
                if (address.scheme, address.host, address.port) != (start.scheme, start.host, start.port):
                    raise DownloadRefused(f"{start.host} redirects to another place: {str(address)[:100]}")
                continue
            _check(response)
            return _stream(response, sink, limits, deadline)
    raise DownloadRefused(f"{start.host}: more than {limits.redirects} redirects")


def _check(response: httpx2.Response) -> None:
    status, host = response.status_code, response.url.host
    if status in {200, 206}:
        return
    if status in _GONE:
        raise NotThere(f"{host} answers {status}")
    if status in {408, 425, 429} or status >= 500:
        text = response.headers.get("retry-after", "").strip()
        wait = float(text) if text.isdecimal() and len(text) < 6 else 0.0
        raise DownloadTrouble(f"{host} answers {status}", wait)
    raise DownloadRefused(f"{host} answers {status}")


def _stream(
    response: httpx2.Response, sink: Callable[[bytes], None], limits: Limits, deadline: float
) -> Fetched:
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limits.size:
        raise DownloadRefused(f"it is larger than {limits.size} bytes")
    size = 0
    # Pieces as they come: one of a wanted size waits until it is full, and a drip never meets the deadline.
    for piece in response.iter_raw():
        if time.monotonic() > deadline:
            raise DownloadRefused(f"{response.url.host} took longer than {limits.total:g} s")
        size += len(piece)
        if size > limits.size:
            raise DownloadRefused(f"it is larger than {limits.size} bytes")
        sink(piece)
    if length.isdecimal() and size != int(length[:20]):
        raise DownloadTrouble(f"{response.url.host} broke off after {size} of {length} bytes")
    start, whole = _range(response.headers.get("content-range", ""))
    return Fetched(size, start, whole if whole >= 0 or response.status_code == 206 else size)


def _range(text: str) -> tuple[int, int]:
    """Return start and whole size from ``bytes 7-9/10``; (0, -1) for anything else."""
    span, _, whole = text.removeprefix("bytes ").partition("/")
    begin = span.partition("-")[0]
    if not (begin.isdecimal() and whole.isdecimal() and len(begin) < 18 and len(whole) < 18):
        return 0, -1
    return int(begin), int(whole)


def is_loopback(host: str) -> bool:
    """Return whether a URL's host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@functools.cache
def tls_context(*, by_environment: bool) -> ssl.SSLContext:
    """Return the TLS settings of a client with this machine's certificates, read once a process.

    Reading them takes 40 ms, which is more than most answers take.

    ``by_environment``: whether SSL_CERT_FILE and SSL_CERT_DIR count. A change of them is seen by the next process.
    """
    return httpx2.create_ssl_context(trust_env=by_environment)


def tls_context_with_certificate(file: Path, *, by_environment: bool) -> ssl.SSLContext:
    """Return TLS settings for a client that logs in with the certificate and key in ``file``. Raises OSError."""
    context: ssl.SSLContext = httpx2.create_ssl_context(trust_env=by_environment)
    context.load_cert_chain(file)
    return context
