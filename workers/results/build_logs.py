"""Fetch and store the logs of ended chroots and the tails of running ones, and remove old logs."""

from __future__ import annotations

import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from service.board.logs import stored_log
from service.builds.follow_ups import Done, FollowUpWork, NotYet
from service.domain.buildroots import tool_versions
from service.logs.blocks import LogWriter, Unpacker, Written
from service.logs.store import LogGone, StoreUnavailable, log_key
from service.results.build_logs import (
    claim_tail,
    log_work,
    note_missing,
    note_tools,
    orphans,
    record_log,
    record_tail,
    remove_old_logs,
)
from service.results.remedies import let_waiting_go_on
from service.store.schema import PackageBuild
from workers.buildsystems import (
    BuildSystem,
    BuildSystemError,
    BuildSystemUnavailable,
    BuildVanished,
    KeepsOutput,
)
from workers.context import Context
from workers.sources.downloads import DownloadRefused, DownloadTrouble, Limits, NotThere, download

TAIL_BYTES = 64 * 1024
LOOKS_FOR_COMPRESSED = 4
"""How often a missing log is looked for: COPR compresses logs only after the end is visible."""
READ_AT_MOST = 8
"""Plain bytes that are read of one log, in multiples of what is kept of it, so that a zip bomb ends early."""
ROOT_LINES = 100_000
"""Lines of a root log that are read for the buildroot's tools; a real one has some thousand."""
ORPHAN_SECONDS = 86_400.0

log = structlog.get_logger()


class _Enough(Exception):
    """The log is longer than what is read of it, or takes too long."""


@dataclass(frozen=True)
class _Stored:
    url: str
    written: Written


def fetch_logs(ctx: Context, work: FollowUpWork) -> Done:
    """Follow-up: store the logs of one ended chroot, or of the source step. Raises NotYet.

    Each log is recorded as soon as it is stored, so that a worker that is killed repeats at most one.
    """
    wanted = log_work(ctx.db, work)
    system = ctx.system(wanted.place.ref.system)
    deadline = time.monotonic() + min(ctx.settings.log_fetch_seconds, ctx.settings.step_limit_seconds * 0.8)
    stored, missing = list(wanted.known), {}
    try:
        named = system.log_addresses(wanted.place)
    except BuildSystemError as error:
        raise NotYet(str(error)) from None
    for kind, addresses in named.items():
        if kind in wanted.known:
            continue
        try:
            found = _fetch(ctx, system, work.build_id, tuple(addresses), deadline)
        except DownloadTrouble as error:
            raise NotYet(f"the {kind} log: {error}", retry_after=error.retry_after, spend_try=False) from None
        except StoreUnavailable as error:
            raise NotYet(str(error), spend_try=False) from None
        except (DownloadRefused, NotThere) as error:
            missing[kind] = str(error)
            continue
        if not record_log(ctx.db, work, kind, found.url, found.written):
            raise NotYet("another worker has taken this over")
        stored.append(kind)
    if missing and work.tries < LOOKS_FOR_COMPRESSED and not work.past_deadline:
        told = "; ".join(f"{kind}: {why}" for kind, why in missing.items())
        raise NotYet(f"logs that are not there yet: {told}")
    kept = f"stored: {', '.join(sorted(stored))}" if stored else "no log could be stored"
    if not stored and not missing:
        kept = f"no log: {wanted.place.ref.system} names no address of one, as where nothing had begun"
    lost = "".join(f"; not the {kind} log ({why})" for kind, why in missing.items())
    tools = _tools(ctx, work)

    def record(session: Session, build: PackageBuild, now: datetime) -> None:
        note_missing(session, build, now, work.subject, missing)
        note_tools(session, build, work.subject, tools)
        let_waiting_go_on(session, build, tools, at=now)

    return Done(kept + lost, record)


def _tools(ctx: Context, work: FollowUpWork) -> dict[str, str]:
    """Return the buildroot's tools that the stored root log names; empty where there is no such log."""
    with ctx.db.reader() as session:
        root = stored_log(session, work.build_id, work.subject, "root")
    if root is None:
        return {}
    try:
        lines = root.open(ctx.logs).raw_lines(1, ROOT_LINES)
        return tool_versions(line.decode("utf-8", "replace") for line in lines)
    except StoreUnavailable as error:
        raise NotYet(str(error), spend_try=False) from None
    except LogGone:
        return {}


def _fetch(
    ctx: Context, system: BuildSystem, build_id: int, addresses: tuple[str, ...], deadline: float
) -> _Stored:
    """Store the log of the first address that has a whole one. Raises what download raises for the last one."""
    trouble: Exception = NotThere("the build system has no address for it")
    for url in addresses:
        try:
            return _Stored(url, _store(ctx, system, build_id, url, deadline))
        except (NotThere, DownloadRefused) as error:
            trouble = error
    raise trouble


def _read(system: BuildSystem, url: str, sink: Callable[[bytes], None], limits: Limits) -> None:
    """Stream a log over HTTP or by the build system's own protocol. Raises what ``download`` raises."""
    if url.startswith(("http://", "https://")) or not isinstance(system, KeepsOutput):
        download(url, sink, limits)
        return
    try:
        system.read_output(url, sink, seconds=limits.total)
    except BuildVanished as error:
        raise NotThere(str(error)) from None
    except BuildSystemUnavailable as error:
        raise DownloadTrouble(str(error), error.retry_after) from None
    except BuildSystemError as error:
        raise DownloadTrouble(str(error)) from None


def _store(ctx: Context, system: BuildSystem, build_id: int, url: str, deadline: float) -> Written:
    limit = ctx.settings.log_size_limit
    left = deadline - time.monotonic()
    if left <= 0:
        raise DownloadTrouble(f"fetching logs took longer than {ctx.settings.log_fetch_seconds:g} s")
    spool = ctx.settings.state_dir / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=spool, prefix="log-", delete=False) as file:
        path = Path(file.name)
        try:
            writer = LogWriter(file, limit)
            seen = 0

            def keep(piece: bytes) -> None:
                nonlocal seen
                seen += len(piece)
                writer.write(piece)
                if seen > READ_AT_MOST * limit or time.monotonic() > deadline:
                    raise _Enough

            unpacker = Unpacker(keep)
            try:
                _read(system, url, unpacker.feed, Limits(size=READ_AT_MOST * limit, total=left))
                if not unpacker.finish():
                    raise NotThere("the compressed log is not whole yet")
            except zlib.error as error:
                raise DownloadRefused(f"it is no sound gzip file: {error}") from None
            except _Enough:
                writer.write(b"\n[cryopack stopped reading this log here: it goes on without an end]\n")
            written = writer.finish()
            file.flush()
            ctx.logs.put(log_key(build_id, written.sha256), path)
            return written
        finally:
            path.unlink(missing_ok=True)


def tail_log(ctx: Context, build_id: int, chroot: str) -> None:
    """Fetch the end of a growing log, because somebody looks at it; a tail that is fresh is not fetched again."""
    settings = ctx.settings
    work = claim_tail(ctx.db, build_id, chroot, fresh_seconds=settings.log_tail_seconds, lease_seconds=60.0)
    if work is None:
        return
    kept = bytearray()

    def keep(piece: bytes) -> None:
        kept.extend(piece)
        del kept[:-TAIL_BYTES]

    try:
        fetched = download(
            work.url,
            keep,
            Limits(size=settings.log_size_limit, total=30.0, read=10.0),
            {"Range": f"bytes=-{TAIL_BYTES}"},
        )
    except (NotThere, DownloadTrouble, DownloadRefused) as error:
        record_tail(ctx.db, work, None, 0, f"the log could not be read: {error}")
        return
    size = fetched.whole if fetched.whole >= 0 else fetched.start + fetched.size
    record_tail(ctx.db, work, bytes(kept), size, "")


def clean(ctx: Context) -> int:
    """Remove logs that are too old or too many, and stored objects without a row. Returns how many were removed."""
    settings = ctx.settings
    keys = remove_old_logs(ctx.db, keep_days=settings.log_keep_days, keep_bytes=settings.log_keep_bytes)
    old = [found.key for found in ctx.logs.objects() if found.age > ORPHAN_SECONDS]
    keys = (*keys, *orphans(ctx.db, old)) if old else keys
    for key in dict.fromkeys(keys):
        ctx.logs.delete(key)
    if keys:
        log.info("stored logs removed", objects=len(keys))
    return len(set(keys))
