"""The API's logs of a chroot: a stored log as text, whole, by bytes or by lines; or a search in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from service import board
from service.board.logs import LogRow, StoredLog, TailRow, fetching, log_tail, logs_of, stored_log
from service.domain.states import BuildState, ChrootState
from service.logs.reader import LogReader
from service.logs.store import LogGone
from service.web.access.auth import needs
from service.web.api.builds import known_build
from service.web.base.context import WebContext
from service.web.base.parameters import Context, IdInPath, WordInPath
from service.web.base.problems import READ_PROBLEMS, Problem

LINES_MAX = 10_000
TEXT = "text/plain; charset=utf-8"
SOURCE_STEP = "source"
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)
LogKind = Literal["builder", "root", "backend", "source"]

router = APIRouter(prefix="/api/v1", dependencies=[needs("read")], responses=READ_PROBLEMS)


class KeptLog(BaseModel):
    """One stored log, or why there is none. Sizes are bytes; ``left_out`` are missing in its middle."""

    model_config = ConfigDict(from_attributes=True)

    kind: LogKind
    is_stored: bool
    plain_size: int
    stored_size: int
    lines: int
    left_out: int
    sha256: str
    stored_at: datetime
    removed_at: datetime | None
    problem: str


class LogShape(BaseModel):
    """Where a chroot's logs are: at the build system, and what we keep of them."""

    chroot: str
    state: str
    log_url: str
    result_url: str
    kept: list[KeptLog]


class HitShape(BaseModel):
    """A line that holds what was looked for."""

    line: int
    text: str


class HitsShape(BaseModel):
    """The hits of a search in a log, in its order; ``complete`` is false where there may be more."""

    kind: LogKind
    hits: list[HitShape]
    complete: bool


@dataclass(frozen=True)
class ChrootLogs:
    """The logs of one chroot, or of the source step.

    ``growing``: it runs, and its log can be watched. ``waiting`` says why the logs are not stored yet.
    """

    detail: board.BuildDetail
    chroot: str
    state: str
    log_url: str
    result_url: str
    kept: tuple[LogRow, ...]
    growing: bool
    waiting: str | None
    tail: TailRow | None

    def kind(self, wanted: str) -> str:
        """Return the kind of log to show: the one asked for, else the first that is stored, else the builder's."""
        kinds = [row.kind for row in self.kept]
        stored = [row.kind for row in self.kept if row.is_stored]
        if wanted in kinds:
            return wanted
        return (stored or kinds or [SOURCE_STEP if self.chroot == SOURCE_STEP else "builder"])[0]


def chroot_logs(context: WebContext, build_id: int, chroot: str) -> ChrootLogs:
    """Return what there is of a chroot's logs. Raises Problem 404 for an unknown build or chroot."""
    with context.db.reader() as session:
        detail = known_build(session, build_id)
        kept = logs_of(session, build_id, chroot)
        tail = log_tail(session, build_id, chroot)
        waiting = fetching(session, build_id, chroot)
    build = detail.build
    if chroot == SOURCE_STEP:
        growing = build.state == BuildState.RUNNING and not any(row.result_url for row in build.chroots)
        found = (build.state, detail.source_log_url, "")
    else:
        row = next((row for row in build.chroots if row.chroot == chroot), None)
        if row is None:
            names = ", ".join(row.chroot for row in build.chroots) or "none yet"
            raise Problem(404, f"Build {build_id} has no chroot {chroot}; it has {names}.")
        growing = row.state == ChrootState.RUNNING and build.is_live
        found = (row.state, row.log_url, row.result_url)
    growing = growing and bool(found[1]) and not any(row.is_stored for row in kept)
    return ChrootLogs(detail, chroot, *found, kept, growing, waiting, tail)


def find_stored(context: WebContext, build_id: int, chroot: str, kind: str) -> StoredLog | None:
    """Return one stored log with its index, or None where it is not stored."""
    with context.db.reader() as session:
        return stored_log(session, build_id, chroot, kind)


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
    build_id: IdInPath,
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
    build_id: IdInPath,
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
