"""Send a signed release delivery to a running service, as GitHub would send it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2

SAMPLE_REPOSITORY = "cri-o/cri-o"
SAMPLE_TAG = "v1.32.1"
TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True)
class Answer:
    """The service's answer: the HTTP status and the text of the body."""

    status: int
    body: str


def deliver(
    base_url: str,
    secret: bytes,
    repository: str,
    tag: str,
    *,
    action: str = "published",
    guid: str | None = None,
    published_at: datetime | None = None,
    draft: bool = False,
    prerelease: bool | None = None,
) -> Answer:
    """POST one signed ``release`` delivery to ``<base_url>/webhooks/github``.

    ``guid`` defaults to a fresh one and ``published_at`` to now; a tag with a hyphen is a pre-release unless
    ``prerelease`` says otherwise. Raises ConnectionError where nobody answers.
    """
    payload = release_payload(
        repository, tag, action=action, published_at=published_at, draft=draft, prerelease=prerelease
    )
    body = json.dumps(payload, separators=(",", ":")).encode()
    return post(base_url, secret, body, guid=guid)


def post(
    base_url: str, secret: bytes, body: bytes, *, event: str = "release", guid: str | None = None
) -> Answer:
    """POST raw bytes as one signed delivery. Raises ConnectionError where nobody answers."""
    signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/cryopack",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid or str(uuid.uuid4()),
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    address = f"{base_url}/webhooks/github"
    try:
        answer = httpx2.post(
            address,
            content=body,
            headers=headers,
            timeout=TIMEOUT_SECONDS,
            trust_env=not is_loopback(base_url),
        )
    except httpx2.HTTPError as error:
        raise ConnectionError(0, f"no answer ({type(error).__name__})", address) from None
    return Answer(answer.status_code, answer.text)


def is_loopback(url: str) -> bool:
    """Return whether a URL's host is this machine: such an address must not go through a proxy."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def release_payload(
    repository: str,
    tag: str,
    *,
    action: str = "published",
    published_at: datetime | None = None,
    draft: bool = False,
    prerelease: bool | None = None,
) -> dict[str, Any]:
    """Return GitHub's ``release`` event for ``owner/name`` and a tag; a draft has no time of publication."""
    owner, _, name = repository.partition("/")
    when = (published_at or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    page, api = f"https://github.com/{repository}", f"https://api.github.com/repos/{repository}"
    # GitHub's ids are numbers; the same tag must have the same one in every delivery.
    number = int.from_bytes(hashlib.sha256(f"{repository}@{tag}".encode()).digest()[:4], "big")
    account = {"login": owner, "id": 1, "type": "Organization", "html_url": f"https://github.com/{owner}"}
    return {
        "action": action,
        "release": {
            "url": f"{api}/releases/{number}",
            "html_url": f"{page}/releases/tag/{tag}",
            "id": number,
            "tag_name": tag,
            "target_commitish": "main",
            "name": tag,
            "draft": draft,
            "prerelease": "-" in tag if prerelease is None else prerelease,
            "created_at": when,
            "published_at": None if draft else when,
            "author": account,
            "assets": [],
            "tarball_url": f"{api}/tarball/{tag}",
            "zipball_url": f"{api}/zipball/{tag}",
            "body": f"Release {tag}",
        },
        "repository": {
            "id": 2,
            "name": name,
            "full_name": repository,
            "private": False,
            "owner": account,
            "html_url": page,
            "default_branch": "main",
        },
        "sender": {"login": "cryopack", "id": 3, "type": "User"},
    }
