"""AWS Signature Version 4, as every S3-compatible store checks it: who asks, for what, and when."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
NOTHING = hashlib.sha256(b"").hexdigest()
"""The digest of an empty body."""


@dataclass(frozen=True)
class Account:
    """An account of a store. The secret signs, and is never sent."""

    region: str
    key_id: str
    secret: str = field(repr=False)


def signed_headers(
    account: Account,
    method: str,
    path: str,
    query: Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    body_sha256: str,
    at: datetime,
) -> dict[str, str]:
    """``headers`` with those that sign the request. ``headers`` must name the host; ``at`` is in UTC.

    ``path`` is not yet encoded; ``query`` may come in any order. See ``canonical_query`` for how it must be sent.
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
    """A query as it is signed and sent: encoded, then sorted."""
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in encoded)
