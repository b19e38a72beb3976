"""The page of a chroot's log: a window of its lines, a search, or its growing end. Complete without a script."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.logs.reader import LINE_SHOWN, Hits, Line, shown
from service.logs.store import LogGone
from service.web.access.auth import page_needs
from service.web.api.logs import ChrootLogs, chroot_logs, find_stored
from service.web.base.context import context_of
from service.web.base.parameters import known_id, known_word, word
from service.web.base.problems import Problem
from service.web.base.render import page

WINDOW = 1000
QUERY_LIMIT = 200

router = APIRouter(include_in_schema=False, dependencies=[page_needs("read")])


@router.get("/builds/{build_id}/logs/{chroot}")
def show_log(request: Request, build_id: str, chroot: str) -> Response:
    """Show a stored log's lines around the one named, or its last ones; of a growing log its tail."""
    context = context_of(request)
    logs = chroot_logs(context, known_id(build_id, "build"), known_word(chroot, "chroot"))
    kind = logs.kind(word(request.query_params, "kind"))
    log = find_stored(context, logs.detail.build.id, chroot, kind)
    words = request.query_params.get("q", "")[:QUERY_LIMIT].strip()
    lines: list[Line] = []
    hits: Hits | None = None
    lost = ""
    wanted = first = 0
    if log is not None:
        # Without a wish the end is shown: it says how the build ended.
        wanted = _number(word(request.query_params, "line"), log.row.lines)
        middle = wanted or log.row.lines
        first = max(min(middle - WINDOW // 2, log.row.lines - WINDOW + 1), 1)
        reader = log.open(context.logs)
        try:
            if words:
                hits = reader.search(words)
            lines = reader.window(first, WINDOW)
        except LogGone as error:
            lost = str(error)
    elif logs.growing:
        context.wake.tail(logs.detail.build.id, chroot)
        lines = tail_lines(logs)
    values = {
        "logs": logs, "build": logs.detail.build, "kind": kind, "log": log.row if log else None, "lines": lines,
        "first": first, "last": lines[-1].number if lines else 0, "wanted": wanted, "window": WINDOW,
        "words": words, "hits": hits, "lost": lost,
        "missing": next((row for row in logs.kept if row.kind == kind and not row.is_stored), None),
        "now": datetime.now(UTC),
    }  # fmt: skip
    return page(request, "log.html", values, status=200)


def tail_lines(logs: ChrootLogs) -> list[Line]:
    """Return a growing log's last lines, numbered from the first shown one: their true numbers are not known."""
    if logs.tail is None:
        return []
    raw = logs.tail.tail.split(b"\n")
    if logs.tail.size > len(logs.tail.tail):
        raw = raw[1:] or raw
    if raw and not raw[-1]:
        raw.pop()
    return [
        Line(number, shown(line[:LINE_SHOWN]), max(len(line) - LINE_SHOWN, 0))
        for number, line in enumerate(raw, 1)
    ]


def _number(text: str, lines: int) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise Problem(404, "There is no such line.")
    return min(max(int(text), 1), max(lines, 1))
