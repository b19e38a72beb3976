"""Download upstream's source archive to disk: within limits, resumed where it broke off, compared with the last one."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO

import httpx2

from workers.sources.archives import SourceRefused
from workers.sources.downloads import is_loopback, tls_context

_GZIP = b"\x1f\x8b"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# 404 right after publishing: GitHub makes the archive when it is first asked for, and the tag may lag behind.
_WAIT = frozenset({404, 408, 425, 429})
_UNPACK_CHUNK = 256 * 1024
_UNPACK_LIMIT = 1024 * 1024 * 1024


class SourceUnavailable(Exception):
    """Upstream does not give the archive now; try again. ``retry_after`` is seconds, 0 if not named."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class SourceChanged(Exception):
    """The archive is not the one that was recorded: the tag was moved, or somebody tampers with it."""


@dataclass(frozen=True)
class FetchLimits:
    """Bounds of one download: seconds, bytes, count of redirects, hosts that a redirect may lead to."""

    connect: float = 10.0
    read: float = 30.0
    total: float = 600.0
    size: int = 256 * 1024 * 1024
    redirects: int = 5
    hosts: frozenset[str] = frozenset({"github.com", "codeload.github.com"})


@dataclass(frozen=True)
class FetchedSource:
    """A fetched archive. ``size`` is in bytes; ``resumed_at`` is the offset at which a resume began."""

    path: Path
    url: str
    sha256: str
    size: int
    resumed_at: int = 0


def fetch(
    url: str, destination: Path, *, limits: FetchLimits | None = None, known_sha256: str | None = None
) -> FetchedSource:
    """Download ``url`` to ``destination``, which appears whole or not at all.

    A ``.part`` beside it is resumed if upstream still has the same file (Range, If-Range), else begun anew.
    With ``known_sha256``, a file that is there already and fits is used without asking upstream. The caller
    keeps two processes from fetching the same destination at once.

    Raises SourceUnavailable (try again), SourceRefused (it will not get better: html, too large, a redirect
    to a foreign host, no gzip), SourceChanged (another sha256 than known), OSError for our disk's sake.
    """
    limits = limits or FetchLimits()
    here = _reuse(url, destination, known_sha256)
    if here is not None:
        return here
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = PartialFile(destination)
    deadline = time.monotonic() + limits.total
    start = httpx2.URL(url)
    _check_address(start, start, limits)
    timeout = httpx2.Timeout(limits.read, connect=limits.connect)
    # A proxy of the environment is for the outside; loopback is never reached through one.
    trust = not is_loopback(start.host)
    verify = tls_context(by_environment=trust)
    with httpx2.Client(timeout=timeout, follow_redirects=False, trust_env=trust, verify=verify) as client:
        try:
            resumed_at, framed = _download(client, start, part, limits, deadline)
        except httpx2.TimeoutException as error:
            raise SourceUnavailable(f"{start.host} was too slow ({type(error).__name__})") from error
        except httpx2.TransportError as error:
            raise SourceUnavailable(f"{start.host}: the connection failed ({_line(error)})") from error
        except httpx2.InvalidURL as error:
            raise SourceRefused(f"upstream redirects to an address that is none ({_line(error)})") from error
    return _finish(url, part, destination, known_sha256, resumed_at, framed=framed)


def _reuse(url: str, destination: Path, known_sha256: str | None) -> FetchedSource | None:
    if known_sha256 is None or not destination.is_file():
        return None
    with destination.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        size = handle.tell()
    return FetchedSource(destination, url, digest, size) if digest == known_sha256 else None


def _download(
    client: httpx2.Client, start: httpx2.URL, part: PartialFile, limits: FetchLimits, deadline: float
) -> tuple[int, bool]:
    """Follow redirects to the archive and stream it to the partial file.

    Returns the offset at which a resume began, and whether HTTP itself told where the body ends: an answer
    that ends with its connection may have been cut off without a word.
    """
    address = start
    for _ in range(limits.redirects + 1):
        size, validator = part.resumable(str(start))
        headers = {"Accept-Encoding": "identity", "User-Agent": "cryopack"}
        if size:
            headers |= {"Range": f"bytes={size}-", "If-Range": validator}
        with client.stream("GET", address, headers=headers) as response:
            if response.status_code in _REDIRECTS:
                address = address.join(response.headers.get("location", ""))
                _check_address(address, start, limits)
                continue
            if response.status_code == 416 and size:
                # Nothing is left to ask for, or upstream's file is shorter now: begin anew.
                part.discard()
                continue
            _check_status(response)
            resumed_at = _continues_at(response, size, validator)
            _check_size(response, resumed_at, limits)
            handle = part.file.open("ab") if resumed_at else part.begin(str(start), _validator(response))
            with handle:
                _stream(response, handle, resumed_at, part, limits, deadline)
            framed = "content-length" in response.headers or "transfer-encoding" in response.headers
            return resumed_at, framed
    raise SourceRefused(f"{start.host}: more than {limits.redirects} redirects")


def _check_status(response: httpx2.Response) -> None:
    status, host = response.status_code, response.url.host
    if status in {200, 206}:
        content_type = response.headers.get("content-type", "").lower()
        if "html" in content_type:
            raise SourceRefused(f"{host} answers with a web page instead of an archive")
        return
    retry_after = _retry_after(response.headers)
    if status == 404:
        raise SourceUnavailable(f"{host} has no such archive yet (404)", retry_after)
    if status in _WAIT or status >= 500 or (status == 403 and retry_after):
        raise SourceUnavailable(f"{host} answers {status}", retry_after)
    raise SourceRefused(f"{host} answers {status}")


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("retry-after", "").strip()
    if text.isdecimal() and len(text) < 7:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _validator(response: httpx2.Response) -> str:
    """Return a strong ETag, else Last-Modified; a weak ETag may not be used in If-Range (RFC 9110, 13.1.5)."""
    etag = response.headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return str(etag)
    return str(response.headers.get("last-modified", ""))


def _continues_at(response: httpx2.Response, size: int, validator: str) -> int:
    """Return ``size`` where the answer continues exactly there, 0 where it is the whole file.

    A 206 that begins elsewhere, or that is of another file, must not be appended to what is there.
    """
    if response.status_code != 206:
        return 0
    begins = response.headers.get("content-range", "").startswith(f"bytes {size}-")
    same = _validator(response) in {validator, ""}
    if not size or not begins or not same:
        raise SourceUnavailable(f"{response.url.host} answers with another part than asked for")
    return size


def _check_size(response: httpx2.Response, resumed_at: int, limits: FetchLimits) -> None:
    length = response.headers.get("content-length", "")
    if length.isdecimal() and resumed_at + int(length[:20]) > limits.size:
        raise SourceRefused(f"the archive is larger than {limits.size >> 20} MiB")


def _stream(
    response: httpx2.Response,
    handle: BinaryIO,
    written: int,
    part: PartialFile,
    limits: FetchLimits,
    deadline: float,
) -> None:
    # Pieces as they come: one of a wanted size waits until it is full, and a drip never meets the deadline.
    for chunk in response.iter_raw():
        if time.monotonic() > deadline:
            raise SourceUnavailable(f"{response.url.host} took longer than {limits.total:g} s")
        written += len(chunk)
        if written > limits.size:
            part.discard()
            raise SourceRefused(f"the archive is larger than {limits.size >> 20} MiB")
        handle.write(chunk)
    handle.flush()
    os.fsync(handle.fileno())


def _finish(
    url: str, part: PartialFile, destination: Path, known_sha256: str | None, resumed_at: int, *, framed: bool
) -> FetchedSource:
    with part.file.open("rb") as handle:
        head = handle.read(512)
        handle.seek(0)
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        size = handle.tell()
    if not head.startswith(_GZIP):
        part.discard()
        page = b"<html" in head.lower() or b"<!doctype" in head.lower()
        raise SourceRefused("upstream gave a web page" if page else "upstream gave no gzip archive")
    changed = known_sha256 is not None and digest != known_sha256
    if (changed or not framed) and not is_whole_gzip(part.file):
        part.discard()
        raise SourceUnavailable("the archive arrived cut off")
    if changed:
        part.discard()
        raise SourceChanged(f"the archive's sha256 was {known_sha256} and is now {digest}: a moved tag?")
    os.replace(part.file, destination)
    part.discard()
    return FetchedSource(destination, url, digest, size, resumed_at)


def _check_address(address: httpx2.URL, start: httpx2.URL, limits: FetchLimits) -> None:
    """Allow https to the first host and to the configured ones; http only where everything stays on loopback."""
    if is_loopback(address.host) and is_loopback(start.host) and address.scheme in {"http", "https"}:
        return
    if address.scheme != "https":
        raise SourceRefused(f"{str(address)[:100]!r} is not an https address")
    if address.userinfo:
        raise SourceRefused("the address holds a user name or a password")
    if address.host != start.host and address.host not in limits.hosts:
        raise SourceRefused(f"{start.host} redirects to {address.host[:80]}, which is not an allowed host")


def _line(error: Any) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


class PartialFile:
    """An unfinished download: the bytes so far, and a note beside them with the address and the validator to resume."""

    def __init__(self, destination: Path) -> None:
        self.file = destination.with_name(destination.name + ".part")
        self.note = destination.with_name(destination.name + ".part.json")

    def resumable(self, address: str) -> tuple[int, str]:
        """Return how many bytes are there and the validator of their file; (0, "") where there are none."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            size = self.file.stat().st_size
        except (OSError, ValueError):
            return 0, ""
        if not isinstance(note, dict) or note.get("address") != address or not note.get("validator"):
            return 0, ""
        return (size, str(note["validator"])) if size else (0, "")

    def begin(self, address: str, validator: str) -> BinaryIO:
        """Open an empty partial file; its note is written first, so that there are never bytes without a note."""
        self.discard()
        self.note.write_text(json.dumps({"address": address, "validator": validator}), encoding="utf-8")
        return self.file.open("wb")

    def discard(self) -> None:
        """Delete the partial file and its note."""
        self.file.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def is_whole_gzip(file: Path) -> bool:
    """Return whether the gzip stream comes to its end; read in pieces, and only up to a bound."""
    plain = zlib.decompressobj(31)
    seen = 0
    with file.open("rb") as handle:
        while not plain.eof and seen < _UNPACK_LIMIT:
            packed = plain.unconsumed_tail or handle.read(_UNPACK_CHUNK)
            if not packed:
                return False
            try:
                seen += len(plain.decompress(packed, _UNPACK_CHUNK))
            except zlib.error:
                return False
    return True
