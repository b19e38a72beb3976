"""Serves the upstream mirror: GitHub's answers about releases and tags, and the source archives."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.ground import Ground
from sandbox.mirror.archive import Archive, broken_archive
from sandbox.mirror.releases import OWNER, REPO, Releases, UnknownTag
from sandbox.store import Row

DOCS = "https://docs.github.com/rest"
MAX_PAGE = 100


def not_found() -> JSONResponse:
    """Return GitHub's 404."""
    return JSONResponse({"message": "Not Found", "documentation_url": DOCS, "status": "404"}, 404)


def _conditional(request: Request, body: Any, headers: dict[str, str] | None = None) -> Response:
    """Answer 200 with an ETag over the content, or 304 where the reader has it already."""
    raw = json.dumps(body, separators=(",", ":")).encode()
    etag = f'W/"{hashlib.sha256(raw).hexdigest()}"'
    headers = {**(headers or {}), "ETag": etag, "Cache-Control": "public, max-age=60, s-maxage=60"}
    given = request.headers.get("if-none-match", "")
    if etag.removeprefix("W/") in [one.strip().removeprefix("W/") for one in given.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(raw, media_type="application/json; charset=utf-8", headers=headers)


def _page(request: Request, ground: Ground, rows: list[Row]) -> tuple[list[Row], dict[str, str]]:
    """Return the rows of the page asked for, and the Link header to the others."""

    def number(name: str, default: int) -> int:
        text = request.query_params.get(name, "")
        return int(text) if text.isdigit() and int(text) > 0 else default

    size, page = min(number("per_page", 30), MAX_PAGE), number("page", 1)
    last = max(1, -(-len(rows) // size))
    targets = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
    wanted = [
        name
        for name in targets
        if (name in {"prev", "first"} and page > 1) or (name in {"next", "last"} and page < last)
    ]
    here = ground.mirror_url + request.url.path
    links = [
        f'<{here}?{urlencode({"per_page": size, "page": targets[name]})}>; rel="{name}"' for name in wanted
    ]
    return rows[(page - 1) * size : page * size], {"Link": ", ".join(links)} if links else {}


def release_shape(ground: Ground, row: Row) -> dict[str, Any]:
    """Return a release as GitHub's REST API and its webhook deliveries describe it."""
    api, tag = f"{ground.mirror_url}/repos/{OWNER}/{REPO}", row["tag"]
    page = f"{ground.mirror_url}/{OWNER}/{REPO}"
    return {
        "url": f"{api}/releases/{row['id']}",
        "assets_url": f"{api}/releases/{row['id']}/assets",
        "html_url": f"{page}/releases/tag/{tag}",
        "id": row["id"],
        "author": {"login": "github-actions[bot]", "id": 41898282, "type": "Bot"},
        "node_id": f"RE_{row['id']:08d}",
        "tag_name": tag,
        "target_commitish": "main",
        "name": tag,
        "draft": bool(row["draft"]),
        "immutable": False,
        "prerelease": bool(row["prerelease"]),
        "created_at": row["published_at"],
        "published_at": None if row["draft"] else row["published_at"],
        "assets": [],
        "tarball_url": f"{api}/tarball/{tag}",
        "zipball_url": f"{api}/zipball/{tag}",
        "body": f"Listed by cryopack's sandbox, which mirrors the history of {OWNER}/{REPO}.",
    }


def _ground(request: Request) -> Ground | None:
    """Return the sandbox's state, or None where the path names a repository that it does not mirror."""
    if (request.path_params["owner"], request.path_params["repo"]) != (OWNER, REPO):
        return None
    ground: Ground = request.app.state.ground
    return ground


async def releases(request: Request) -> Response:
    """Send published releases, newest first, in pages."""
    ground = _ground(request)
    if ground is None:
        return not_found()
    rows, headers = _page(request, ground, Releases(ground.store).listed())
    return _conditional(request, [release_shape(ground, row) for row in rows], headers)


async def latest(request: Request) -> Response:
    """Send the newest release that is neither a draft nor a prerelease."""
    ground = _ground(request)
    rows = [row for row in Releases(ground.store).listed() if not row["prerelease"]] if ground else []
    return _conditional(request, release_shape(ground, rows[0])) if ground and rows else not_found()


async def release_of_tag(request: Request) -> Response:
    """Send the release of one tag."""
    ground = _ground(request)
    try:
        row = Releases(ground.store).get(request.path_params["tag"]) if ground else None
    except UnknownTag:
        row = None
    if ground is None or row is None or not row["published"] or row["draft"]:
        return not_found()
    return _conditional(request, release_shape(ground, row))


async def tags(request: Request) -> Response:
    """Send tags with their commits, newest version first."""
    ground = _ground(request)
    if ground is None:
        return not_found()
    rows, headers = _page(request, ground, Releases(ground.store).tags())
    api = f"{ground.mirror_url}/repos/{OWNER}/{REPO}"
    items = [
        {
            "name": row["tag"],
            "zipball_url": f"{api}/zipball/refs/tags/{row['tag']}",
            "tarball_url": f"{api}/tarball/refs/tags/{row['tag']}",
            "commit": {"sha": row["commit_sha"], "url": f"{api}/commits/{row['commit_sha']}"},
            "node_id": f"REF_{row['id']:08d}",
        }
        for row in rows
    ]
    return _conditional(request, items, headers)


async def tag_ref(request: Request) -> Response:
    """Send the commit that a tag points to; also for tags whose release is not published."""
    ground = _ground(request)
    try:
        row = Releases(ground.store).get(request.path_params["tag"]) if ground else None
    except UnknownTag:
        row = None
    if ground is None or row is None:
        return not_found()
    api = f"{ground.mirror_url}/repos/{OWNER}/{REPO}"
    return _conditional(
        request,
        {
            "ref": f"refs/tags/{row['tag']}",
            "node_id": f"REF_{row['id']:08d}",
            "url": f"{api}/git/refs/tags/{row['tag']}",
            "object": {
                "sha": row["commit_sha"],
                "type": "commit",
                "url": f"{api}/git/commits/{row['commit_sha']}",
            },
        },
    )


async def source_archive(request: Request) -> Response:
    """Send a tag's archive, whole or from an offset on (``Range: bytes=N-``)."""
    ground = _ground(request)
    tag = request.path_params["tag"].removesuffix(".tar.gz")
    try:
        row = Releases(ground.store).get(tag) if ground else None
    except UnknownTag:
        row = None
    if ground is None or row is None:
        return Response("404: Not Found", 404)
    # Packing takes its time, and the farm must go on meanwhile.
    made = await asyncio.to_thread(broken_archive, row, request.scope.get("fault", ""))
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": f'"{made.etag}"',
        "Content-Disposition": f"attachment; filename={made.filename}",
    }
    if made.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return _ranged(request, made, headers)


def _ranged(request: Request, made: Archive, headers: dict[str, str]) -> Response:
    size, asked = len(made.content), request.headers.get("range", "")
    condition = request.headers.get("if-range")
    if not asked.startswith("bytes=") or "," in asked or (condition and condition.strip('"') != made.etag):
        return Response(made.content, media_type="application/x-gzip", headers=headers)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    if not (first + last).isdigit():
        return Response(made.content, media_type="application/x-gzip", headers=headers)
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start > end:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Response(made.content[start : end + 1], 206, media_type="application/x-gzip", headers=headers)


API = "/repos/{owner}/{repo}"
ROUTES = [
    Route(f"{API}/releases", releases),
    Route(f"{API}/releases/latest", latest),
    Route(f"{API}/releases/tags/{{tag}}", release_of_tag),
    Route(f"{API}/tags", tags),
    Route(f"{API}/git/ref/tags/{{tag}}", tag_ref),
    Route(f"{API}/tarball/{{tag}}", source_archive),
    Route("/{owner}/{repo}/archive/refs/tags/{tag}", source_archive),
    Route("/{owner}/{repo}/archive/{tag}/{filename}", source_archive),
    Route("/{owner}/{repo}/archive/{tag}", source_archive),
]
