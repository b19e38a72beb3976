"""Upstream's own lists of releases and tags, by GitHub's REST API with conditional requests."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import structlog

from service.contacts import record_contact, store_answer, stored_answer
from service.domain.planning import Family
from service.releases.intake import clean_text, read_time
from service.releases.reconcile import ListedRelease, UpstreamList
from workers.context import Context

PER_PAGE = 100
MAX_PAGES = 20
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
BODY_LIMIT = 20 * 1024 * 1024
LIST_SECONDS = 180.0

log = structlog.get_logger()


class UpstreamUnavailable(Exception):
    """GitHub did not give a list; ``str(error)`` is one line."""


def fetch_list(ctx: Context, family: Family) -> UpstreamList | None:
    """The family's releases and the commits of its tags; None, and a note on the health page, if unreadable."""
    name = f"github:{family.repository}"
    try:
        with _reading(ctx) as reading:
            releases, complete = _all_pages(ctx, reading, family, "releases", _release_facts)
            tags, _ = _all_pages(ctx, reading, family, "tags", _tag_facts)
    except (UpstreamUnavailable, httpx.HTTPError) as error:
        problem = str(error) if isinstance(error, UpstreamUnavailable) else f"{type(error).__name__}"
        record_contact(ctx.db, name, f"list of releases: {problem}")
        log.warning("upstream's list could not be read", repository=family.repository, problem=problem)
        return None
    record_contact(ctx.db, name)
    return UpstreamList(
        releases=[
            ListedRelease(
                tag=row["tag"],
                prerelease=row["prerelease"],
                draft=row["draft"],
                published_at=read_time(row["published_at"]),
                html_url=row["html_url"],
            )
            for row in releases
        ],
        commits={row["tag"]: row["commit"] for row in tags},
        complete=complete,
    )


def confirm_gone(ctx: Context, family: Family, tags: Sequence[str]) -> frozenset[str]:
    """Those of ``tags`` of which upstream says that it has no such release. Trouble confirms nothing."""
    gone: set[str] = set()
    try:
        with _reading(ctx) as reading:
            for tag in tags:
                path = f"/repos/{family.repository}/releases/tags/{quote(tag, safe='')}"
                if reading.get(path).status == 404:
                    gone.add(tag)
    except (UpstreamUnavailable, httpx.HTTPError) as error:
        problem = type(error).__name__
        log.warning("unlisted releases not asked for", repository=family.repository, problem=problem)
    return frozenset(gone)


@dataclass(frozen=True)
class _Answer:
    status: int
    etag: str
    body: bytes


@dataclass(frozen=True)
class _Reading:
    """One round of questions; ``until`` is its end in monotonic seconds."""

    client: httpx.Client
    until: float

    def get(self, path: str, *, etag: str = "", **params: int) -> _Answer:
        """One answer, whole and bounded: a server that drips never trips a read time-out."""
        headers = {"If-None-Match": etag} if etag else {}
        with self.client.stream("GET", path, params=params, headers=headers) as answer:
            body = bytearray()
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > BODY_LIMIT:
                    raise UpstreamUnavailable(f"the answer for {path} is larger than {BODY_LIMIT} bytes")
                if time.monotonic() > self.until:
                    raise UpstreamUnavailable(f"reading took longer than {LIST_SECONDS:g} s")
            return _Answer(answer.status_code, answer.headers.get("ETag", ""), bytes(body))


@contextmanager
def _reading(ctx: Context) -> Iterator[_Reading]:
    headers = {"Accept": "application/vnd.github+json", "User-Agent": "cryopack"}
    token = ctx.settings.github_token.get_secret_value()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    timeout = httpx.Timeout(20, connect=10)
    with httpx.Client(base_url=ctx.settings.github_api_url, headers=headers, timeout=timeout) as client:
        yield _Reading(client, time.monotonic() + LIST_SECONDS)


def _all_pages(
    ctx: Context,
    reading: _Reading,
    family: Family,
    kind: str,
    read: Callable[[dict[str, Any]], dict[str, Any] | None],
) -> tuple[list[dict[str, Any]], bool]:
    rows: list[dict[str, Any]] = []
    for page in range(1, MAX_PAGES + 1):
        got = _page(ctx, reading, f"/repos/{family.repository}/{kind}", page, read)
        rows.extend(row for row in got["rows"] if row is not None)
        if got["count"] < PER_PAGE:
            return rows, True
    return rows, False


def _page(
    ctx: Context,
    reading: _Reading,
    path: str,
    page: int,
    read: Callable[[dict[str, Any]], dict[str, Any] | None],
) -> dict[str, Any]:
    name = f"github:{path}?page={page}"[:200]
    kept = stored_answer(ctx.db, name)
    answer = reading.get(path, etag=kept.etag if kept else "", per_page=PER_PAGE, page=page)
    if answer.status == 304 and kept:
        body: dict[str, Any] = kept.body
        return body
    if answer.status in (403, 429):
        raise UpstreamUnavailable(f"GitHub's rate limit is reached (HTTP {answer.status}); trying later")
    if answer.status != 200:
        raise UpstreamUnavailable(f"HTTP {answer.status} for {path}")
    try:
        listed = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise UpstreamUnavailable(f"the answer for {path} is not JSON") from None
    if not isinstance(listed, list):
        raise UpstreamUnavailable(f"the answer for {path} is not a list")
    body = {"count": len(listed), "rows": [read(row) for row in listed if isinstance(row, dict)]}
    if answer.etag:
        store_answer(ctx.db, name, clean_text(answer.etag), body)
    return body


def _release_facts(row: dict[str, Any]) -> dict[str, Any] | None:
    tag = clean_text(row.get("tag_name"))
    if not tag:
        return None
    address = clean_text(row.get("html_url"))
    return {
        "tag": tag,
        "prerelease": row.get("prerelease") is True,
        "draft": row.get("draft") is True,
        "published_at": clean_text(row.get("published_at")),
        "html_url": address if address.startswith(("https://", "http://")) else "",
    }


def _tag_facts(row: dict[str, Any]) -> dict[str, Any] | None:
    commit = row.get("commit")
    sha = commit.get("sha") if isinstance(commit, dict) else None
    if not isinstance(row.get("name"), str) or not isinstance(sha, str) or not _COMMIT.fullmatch(sha):
        return None
    return {"tag": clean_text(row["name"]), "commit": sha}
