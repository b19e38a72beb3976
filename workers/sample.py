"""A GitHub ``release`` delivery as GitHub would send it: its body, its signature, its headers."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from errno import ECONNREFUSED
from typing import Any

import httpx2

TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True)
class Answer:
    """What the service said: the HTTP status, and its body as text."""

    status: int
    body: str


def release_payload(
    repository: str, tag: str, *, action: str = "published", published_at: datetime | None = None
) -> dict[str, Any]:
    """The body of a ``release`` event for ``repository`` ("owner/name"), in GitHub's shape."""
    owner, _, name = repository.partition("/")
    at = (published_at or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    web = f"https://github.com/{repository}"
    api = f"https://api.github.com/repos/{repository}"
    # Ids are GitHub's numbers; these only have to be the same for the same thing.
    release_id = int.from_bytes(hashlib.sha256(f"{repository} {tag}".encode()).digest()[:4])
    account = {"login": owner, "type": "Organization", "html_url": f"https://github.com/{owner}"}
    return {
        "action": action,
        "release": {
            "url": f"{api}/releases/{release_id}",
            "html_url": f"{web}/releases/tag/{tag}",
            "id": release_id,
            "author": account,
            "tag_name": tag,
            "target_commitish": "main",
            "name": tag,
            "draft": False,
            "prerelease": "-" in tag,
            "created_at": at,
            "published_at": at,
            "assets": [],
            "tarball_url": f"{api}/tarball/{tag}",
            "zipball_url": f"{api}/zipball/{tag}",
            "body": f"{name} {tag}",
        },
        "repository": {
            "name": name,
            "full_name": repository,
            "private": False,
            "owner": account,
            "html_url": web,
            "url": api,
            "default_branch": "main",
        },
        "sender": account,
    }


def signature(secret: bytes, body: bytes) -> str:
    """The value of ``X-Hub-Signature-256`` for a raw body."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def deliver(
    base_url: str,
    secret: bytes,
    repository: str,
    tag: str,
    *,
    action: str = "published",
    published_at: datetime | None = None,
    guid: str | None = None,
) -> Answer:
    """Deliver a signed release event to a running service. Raises ConnectionError where nobody answers."""
    payload = release_payload(repository, tag, action=action, published_at=published_at)
    body = json.dumps(payload, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "cryopack-sample",
        "X-GitHub-Delivery": guid or str(uuid.uuid4()),
        "X-GitHub-Event": "release",
        "X-Hub-Signature-256": signature(secret, body),
    }
    url = f"{base_url.rstrip('/')}/webhooks/github"
    try:
        response = httpx2.post(url, content=body, headers=headers, timeout=TIMEOUT_SECONDS)
    except httpx2.HTTPError as error:
        raise ConnectionError(
            ECONNREFUSED, f"the service does not answer ({type(error).__name__})", url
        ) from None
    return Answer(response.status_code, response.text)
