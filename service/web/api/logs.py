"""``/api/v1/builds/{id}/logs/{chroot}``: a stored log as plain text, whole, by bytes or by lines; or a search in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, cast

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from service.logs.reader import LogReader
from service.logs.store import LogGone
from service.web.access.auth import needs
from service.web.api.chroot_logs import ChrootLogs, chroot_logs, find_stored
from service.web.api.log_shapes import HitShape, HitsShape, KeptLog, LogKind, LogShape
from service.web.base.parameters import BuildId, Context, WordInPath
from service.web.base.problem import Problem
from service.web.base.problems import problems

LINES_MAX = 10_000
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)
TEXT = "text/plain; charset=utf-8"

router = APIRouter(
    prefix="/api/v1", dependencies=[needs("read")], responses=problems(401, 403, 404, 422, 503)
)


@router.get(
    "/builds/{build_id}/logs/{chroot}",
    tags=["builds"],
    response_class=Response,
    responses={
        200: {"model": LogShape, "content": {"text/plain": {}}},
        206: {"description": "The bytes asked for.", "content": {"text/plain": {}}},
        302: {"description": "The log at the build system, where it is not stored here (yet)."},
        416: {"description": "The log has no such bytes."},
    },
)
def get_log(
    request: Request,
    context: Context,
    build_id: BuildId,
    chroot: WordInPath,
    kind: Annotated[LogKind | None, Query(description="Which log; by default the builder's.")] = None,
    first_line: Annotated[int | None, Query(ge=1, le=2**31, description="A window of lines.")] = None,
    lines: Annotated[int, Query(ge=1, le=LINES_MAX, description="How many lines.")] = 1000,
) -> Response:
    """A chroot's log, or the step ``source``'s: text, with Range or a window of lines; JSON says what there is.

    Lines of a window are cut at 2000 bytes. The text is as the build system wrote it, terminal colours and all.
    """
    logs = chroot_logs(context, build_id, chroot)
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse(_shape(logs).model_dump(mode="json"))
    chosen = logs.kind(kind or "")
    log = find_stored(context, build_id, chroot, kind or chosen)
    if log is None:
        return _elsewhere(logs, kind or chosen)
    reader = log.open(context.logs)
    try:
        if first_line is not None:
            return Response(b"".join(reader.raw_lines(first_line, lines)), media_type=TEXT)
        return _bytes(request, reader)
    except LogGone as error:
        raise Problem(404, f"{error}.") from None


@router.get("/builds/{build_id}/logs/{chroot}/search", tags=["builds"], response_model=HitsShape)
def search_log(
    context: Context,
    build_id: BuildId,
    chroot: WordInPath,
    q: Annotated[str, Query(min_length=1, max_length=200, description="Words as they stand in a line.")],
    kind: LogKind | None = None,
) -> HitsShape:
    """The lines of a stored log that hold the words, whatever the case of ASCII letters; at most 200."""
    logs = chroot_logs(context, build_id, chroot)
    chosen = kind or logs.kind("")
    log = find_stored(context, build_id, chroot, chosen)
    if log is None:
        raise Problem(404, f"The {chosen} log of {chroot} is not stored here.")
    try:
        found = log.open(context.logs).search(q)
    except LogGone as error:
        raise Problem(404, f"{error}.") from None
    hits = [HitShape(line=line.number, text=line.text) for line in found.lines]
    return HitsShape(kind=cast(LogKind, chosen), hits=hits, complete=found.complete)


def _bytes(request: Request, reader: LogReader) -> Response:
    size = reader.plain_size
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip())
    start, end, status = 0, size, 200
    if asked and (asked[1] or asked[2]):
        begin, last = asked[1], asked[2]
        start = int(begin) if begin else max(size - int(last), 0)
        end = min(int(last) + 1, size) if begin and last else size
        status = 206
        if start >= end:
            headers = {"Content-Range": f"bytes */{size}"}
            raise Problem(416, f"The log has {size} bytes.", headers=headers)
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(end - start)}
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    pieces = reader.plain(start, end)
    # The first piece is read before the answer begins, so that a missing file is still a proper error.
    first = next(pieces, b"")

    def body() -> Iterator[bytes]:
        yield first
        yield from pieces

    return StreamingResponse(body(), status, headers, media_type=TEXT)


def _elsewhere(logs: ChrootLogs, kind: str) -> Response:
    removed = next((row for row in logs.kept if row.kind == kind and not row.is_stored), None)
    build_id = logs.detail.build.id
    if removed is not None:
        raise Problem(404, f"Build {build_id} has no {kind} log of {logs.chroot}: {removed.problem}.")
    if kind not in ("builder", "source"):
        raise Problem(404, f"Build {build_id} has no {kind} log of {logs.chroot} here (yet).")
    if not logs.log_url.startswith(("http://", "https://")):
        raise Problem(404, f"Build {build_id} has no log for {logs.chroot} yet: it is {logs.state}.")
    return RedirectResponse(logs.log_url, 302)


def _shape(logs: ChrootLogs) -> LogShape:
    return LogShape(
        chroot=logs.chroot,
        state=logs.state,
        log_url=logs.log_url,
        result_url=logs.result_url,
        kept=[KeptLog.model_validate(row) for row in logs.kept],
    )
