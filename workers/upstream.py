"""Upstream's own lists of releases and tags, by GitHub's REST API with conditional requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import structlog

from service.contacts import record_contact, store_answer, stored_answer
from service.domain.planning import Family
from service.intake import read_time
from service.reconcile import ListedRelease, UpstreamList
from workers.context import Context

PER_PAGE = 100
MAX_PAGES = 20
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
BODY_LIMIT = 20 * 1024 * 1024

log = structlog.get_logger()


class UpstreamUnavailable(Exception):
    """GitHub did not give a list; ``str(error)`` is one line."""


def fetch_list(ctx: Context, family: Family) -> UpstreamList | None:
    """The family's releases and the commits of its tags; None, and a note on the health page, if unreadable."""
    name = f"github:{family.repository}"
    try:
        with _client(ctx) as client:
            releases, complete = _all_pages(ctx, client, family, "releases", _release_facts)
            tags, _ = _all_pages(ctx, client, family, "tags", _tag_facts)
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
        with _client(ctx) as client:
            for tag in tags:
                path = f"/repos/{family.repository}/releases/tags/{quote(tag, safe='')}"
                if client.get(path).status_code == 404:
                    gone.add(tag)
    except httpx.HTTPError as error:
        log.warning("unlisted releases could not be asked for", repository=family.repository,
                    problem=type(error).__name__)  # fmt: skip
    return frozenset(gone)


def _client(ctx: Context) -> httpx.Client:
    headers = {"Accept": "application/vnd.github+json", "User-Agent": "cryopack"}
    token = ctx.settings.github_token.get_secret_value()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    timeout = httpx.Timeout(20, connect=10)
    return httpx.Client(base_url=ctx.settings.github_api_url, headers=headers, timeout=timeout)


def _all_pages(
    ctx: Context,
    client: httpx.Client,
    family: Family,
    kind: str,
    read: Callable[[dict[str, Any]], dict[str, Any] | None],
) -> tuple[list[dict[str, Any]], bool]:
    rows: list[dict[str, Any]] = []
    for page in range(1, MAX_PAGES + 1):
        got = _page(ctx, client, f"/repos/{family.repository}/{kind}", page, read)
        rows.extend(row for row in got["rows"] if row is not None)
        if got["count"] < PER_PAGE:
            return rows, True
    return rows, False


def _page(
    ctx: Context,
    client: httpx.Client,
    path: str,
    page: int,
    read: Callable[[dict[str, Any]], dict[str, Any] | None],
) -> dict[str, Any]:
    name = f"github:{path}?page={page}"[:200]
    kept = stored_answer(ctx.db, name)
    headers = {"If-None-Match": kept.etag} if kept else {}
    answer = client.get(path, params={"per_page": PER_PAGE, "page": page}, headers=headers)
    if answer.status_code == 304 and kept:
        body: dict[str, Any] = kept.body
        return body
    if answer.status_code in (403, 429):
        raise UpstreamUnavailable(f"GitHub's rate limit is reached (HTTP {answer.status_code}); trying later")
    if answer.status_code != 200:
        raise UpstreamUnavailable(f"HTTP {answer.status_code} for {path}")
    if len(answer.content) > BODY_LIMIT:
        raise UpstreamUnavailable(f"the answer for {path} is larger than {BODY_LIMIT} bytes")
    try:
        listed = answer.json()
    except ValueError:
        raise UpstreamUnavailable(f"the answer for {path} is not JSON") from None
    if not isinstance(listed, list):
        raise UpstreamUnavailable(f"the answer for {path} is not a list")
    body = {"count": len(listed), "rows": [read(row) for row in listed if isinstance(row, dict)]}
    if etag := answer.headers.get("ETag", ""):
        store_answer(ctx.db, name, etag, body)
    return body


def _release_facts(row: dict[str, Any]) -> dict[str, Any] | None:
    tag = row.get("tag_name")
    if not isinstance(tag, str):
        return None
    address = str(row.get("html_url") or "")
    return {
        "tag": tag,
        "prerelease": row.get("prerelease") is True,
        "draft": row.get("draft") is True,
        "published_at": str(row.get("published_at") or ""),
        "html_url": address if address.startswith(("https://", "http://")) else "",
    }


def _tag_facts(row: dict[str, Any]) -> dict[str, Any] | None:
    commit = row.get("commit")
    sha = commit.get("sha") if isinstance(commit, dict) else None
    if not isinstance(row.get("name"), str) or not isinstance(sha, str) or not _COMMIT.fullmatch(sha):
        return None
    return {"tag": row["name"], "commit": sha}
