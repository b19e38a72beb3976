"""One chroot of one build and what there is of its logs: what the page and the API have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass

from service import board
from service.board.logs import LogRow, StoredLog, TailRow, fetching, log_tail, logs_of, stored_log
from service.domain.states import BuildState, ChrootState
from service.web.base.context import WebContext
from service.web.base.problem import Problem

SOURCE_STEP = "source"
_ID = re.compile(r"[1-9]\d{0,17}", re.ASCII)


@dataclass(frozen=True)
class ChrootLogs:
    """The logs of one chroot, or of the source step. ``growing`` while it runs; ``waiting`` says why not stored yet."""

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
        """The kind to show: the one asked for, else the first that is stored, else the builder's."""
        kinds = [row.kind for row in self.kept]
        stored = [row.kind for row in self.kept if row.is_stored]
        if wanted in kinds:
            return wanted
        return (stored or kinds or [SOURCE_STEP if self.chroot == SOURCE_STEP else "builder"])[0]


def chroot_logs(context: WebContext, build_id: int, chroot: str) -> ChrootLogs:
    """Everything about a chroot's logs. Raises Problem 404 for an unknown build or chroot."""
    with context.db.reader() as session:
        detail = board.build_detail(session, build_id)
        if detail is None:
            raise Problem(404, f"There is no build {build_id}.")
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
    """One stored log with its index."""
    with context.db.reader() as session:
        return stored_log(session, build_id, chroot, kind)


def build_number(text: str) -> int:
    """A build's id from an address. Raises Problem 404 for what cannot be one."""
    if not _ID.fullmatch(text):
        raise Problem(404, "There is no such build.")
    return int(text)
