"""Stores logs in an S3-compatible bucket, for services whose processes share no file system.

Requests are signed with AWS Signature Version 4, as every S3-compatible store checks it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit

from service.logs.store import FileStore, LogGone, LogStore, StoredObject, StoreUnavailable, is_key

SECONDS = 30.0
"""How long the store may send nothing."""
ANSWER_LIMIT = 8 * 1024 * 1024
CHUNK = 1024 * 1024
ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_BODY_SHA256 = hashlib.sha256(b"").hexdigest()
"""The digest of an empty body."""


@dataclass(frozen=True)
class Account:
    """An account of a store. The secret signs, and is never sent."""

    region: str
    key_id: str
    secret: str = field(repr=False)


def open_store(folder: Path, url: str, region: str, key_id: str, secret: str) -> LogStore:
    """Open the store of this service: a bucket where ``url`` names one, else files below ``folder``."""
    return ObjectStore(url, Account(region, key_id, secret)) if url else FileStore(folder)


class ObjectStore:
    """A LogStore in one bucket, below a prefix, at the address ``https://host/bucket[/prefix]``.

    Each call is one request on a connection of its own. Any failure but a missing object raises StoreUnavailable, whose
    text does not hold the secret.
    """

    def __init__(self, url: str, account: Account) -> None:
        parts = urlsplit(url.rstrip("/"))
        self._secure = parts.scheme == "https"
        self._host = parts.netloc
        self._account = account
        _, self._bucket, *prefix = parts.path.split("/")
        self._prefix = "".join(f"{part}/" for part in prefix)

    def put(self, key: str, source: Path) -> None:
        """Send the file with its digest, so that the store takes it whole or not at all; then remove ``source``.

        Raises StoreUnavailable.
        """
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            file.seek(0)
            headers = {"Content-Length": str(size)}
            self._ask("PUT", self._path(key), headers=headers, body=file, sha256=digest, good=(200, 201, 204))
        source.unlink()

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``; fewer at the end. Raises LogGone, StoreUnavailable."""
        if length <= 0:
            return b""
        span = {"Range": f"bytes={start}-{start + length - 1}"}
        status, answer = self._ask(
            "GET", self._path(key), headers=span, good=(200, 206, 404, 416), limit=length
        )
        if status == 404:
            raise LogGone(f"the stored log {key} is gone")
        # 416: the range begins behind the end, where a file has nothing either.
        return b"" if status == 416 else answer

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error. Raises StoreUnavailable."""
        self._ask("DELETE", self._path(key), good=(200, 202, 204, 404))

    def objects(self) -> Iterator[StoredObject]:
        """Yield every log below the prefix, page by page. Raises StoreUnavailable."""
        now, token = datetime.now(UTC), ""
        while True:
            query = [("list-type", "2"), ("prefix", self._prefix)]
            query += [("continuation-token", token)] if token else []
            _, answer = self._ask("GET", f"/{self._bucket}", query=query)
            page = _parsed(answer, self._host)
            for row in page.iter("Contents"):
                key = (row.findtext("Key") or "").removeprefix(self._prefix)
                if is_key(key):
                    changed = datetime.fromisoformat(row.findtext("LastModified") or "")
                    yield StoredObject(key, int(row.findtext("Size") or 0), (now - changed).total_seconds())
            token = page.findtext("NextContinuationToken") or ""
            if not token:
                return

    def _path(self, key: str) -> str:
        if not is_key(key):
            raise LogGone(f"{key[:80]!r} is not the key of a log")
        return f"/{self._bucket}/{self._prefix}{key}"

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: IO[bytes] | None = None,
        sha256: str = EMPTY_BODY_SHA256,
        good: Sequence[int] = (200,),
        limit: int = ANSWER_LIMIT,
    ) -> tuple[int, bytes]:
        """Send one request; return the status and at most ``limit`` bytes of the answer. Raises StoreUnavailable."""
        sent = {"Host": self._host, **(headers or {})}
        signed = signed_headers(self._account, method, path, query, sent, sha256, datetime.now(UTC))
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        target = f"{path}?{canonical_query(query)}" if query else path
        try:
            with contextlib.closing(kind(self._host, timeout=SECONDS, blocksize=CHUNK)) as connection:
                connection.request(method, target, body=body, headers=signed)
                answer = connection.getresponse()
                content = answer.read(limit if answer.status < 300 else ANSWER_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            raise StoreUnavailable(
                f"the log store {self._host} does not answer ({type(error).__name__})"
            ) from error
        if answer.status not in good:
            raise StoreUnavailable(f"the log store {self._host} answers {answer.status}{_code(content)}")
        return answer.status, content


def _code(content: bytes) -> str:
    """Return the store's own code for the error, such as AccessDenied; empty where it has none."""
    with contextlib.suppress(ElementTree.ParseError):
        code = ElementTree.fromstring(content).findtext("Code") or ""
        return f" ({code})" if code.isalnum() and len(code) < 60 else ""
    return ""


def _parsed(content: bytes, host: str) -> ElementTree.Element:
    """Parse the answer without its namespace, which differs between stores. Raises StoreUnavailable."""
    try:
        page = ElementTree.fromstring(content)
    except ElementTree.ParseError:
        raise StoreUnavailable(f"the log store {host} answers with what is no list of objects") from None
    for element in page.iter():
        element.tag = element.tag.rpartition("}")[2]
    return page


def signed_headers(
    account: Account,
    method: str,
    path: str,
    query: Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    body_sha256: str,
    at: datetime,
) -> dict[str, str]:
    """Return ``headers`` with those that sign the request. ``headers`` must name the host; ``at`` is in UTC.

    ``path`` is not yet encoded; ``query`` may come in any order. See ``canonical_query`` for how it must be sent.
    Source: AWS's documentation of Signature Version 4.
    """
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    signed = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    signed |= {"x-amz-content-sha256": body_sha256, "x-amz-date": stamp}
    names = ";".join(sorted(signed))
    request = "\n".join(
        (
            method,
            quote(path, safe="/-_.~"),
            canonical_query(query),
            "".join(f"{name}:{signed[name]}\n" for name in sorted(signed)),
            names,
            body_sha256,
        )
    )
    scope = f"{stamp[:8]}/{account.region}/s3/aws4_request"
    text = "\n".join((ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{account.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"Credential={account.key_id}/{scope}"
    return {
        **signed,
        "authorization": f"{ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}",
    }


def canonical_query(query: Sequence[tuple[str, str]]) -> str:
    """Return a query as it is signed and sent: encoded, then sorted."""
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in encoded)
