"""Measure speed and peak memory for a build log of 200 MB: fetched, stored, opened at any line and searched."""

from __future__ import annotations

import gzip
import http.server
import multiprocessing
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.table import Figure, print_figures
from service.logs.blocks import LogWriter, Unpacker, Written
from service.logs.reader import LogReader
from service.logs.store import FileStore, log_key
from workers.sources.downloads import Limits, download

SIZE = 200 * 1024 * 1024
LIMIT = 256 * 1024 * 1024


def _write_log(path: Path) -> None:
    """Write lines as a Go build with -x does: long commands, many alike."""
    rng = random.Random(1)
    words = [f"vendor/example.org/{rng.randrange(10**6):x}/pkg{n}" for n in range(400)]
    written = 0
    with path.open("wb") as file:
        while written < SIZE:
            package = rng.choice(words)
            line = (
                f"/usr/lib/golang/pkg/tool/linux_amd64/compile -o $WORK/b{rng.randrange(2000):03d}/_pkg_.a "
                f"-trimpath '$WORK/b{rng.randrange(2000):03d}=>' -p {package} -std -complete "
                f"-buildid {rng.randbytes(10).hex()} -goversion go1.26.6 -c=2 ./{package}/file.go\n"
            ).encode()
            written += file.write(line)
        file.write(b"error: Bad exit status from /var/tmp/rpm-tmp.XXXX (%build)\n")


def _measured(act: Callable[[], Any], answer: Any) -> None:
    before = _status("VmRSS")
    # The peak begins anew, so that what the start of the process took does not hide what the act takes.
    Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    result = act()
    seconds = time.perf_counter() - started
    answer.put((result, seconds, (_status("VmHWM") - before) / 1024))


def _status(name: str) -> int:
    """Return a value of the kernel's account of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def _apart(act: Callable[[], Any]) -> tuple[Any, float, float]:
    """Run ``act`` in a process of its own; return the result, the seconds, and by how many MiB its peak memory grew."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=_measured, args=(act, answer))
    process.start()
    got: tuple[Any, float, float] = answer.get(timeout=600)
    process.join(30)
    return got


def fetch_and_store(url: str, folder: Path) -> Written:
    """Fetch and store one log as a worker does, without the database."""
    spool = folder / "spool"
    with spool.open("wb") as file:
        writer = LogWriter(file, LIMIT)
        unpacker = Unpacker(writer.write)
        download(url, unpacker.feed, Limits(size=8 * LIMIT, total=600))
        written = writer.finish()
    FileStore(folder / "logs").put(log_key(1, written.sha256), spool)
    return written


def _reader(folder: Path, written: Written) -> LogReader:
    store = FileStore(folder / "logs")
    return LogReader(
        store, log_key(1, written.sha256), written.blocks, written.stored_size, written.plain_size
    )


def window(folder: Path, written: Written, line: int) -> int:
    """Read the thousand lines of a page."""
    return len(_reader(folder, written).window(line, 1000))


def search(folder: Path, written: Written, words: str) -> int:
    """Search the log; return the number of hits up to the page's limit."""
    return len(_reader(folder, written).search(words).lines)


def whole(url: str) -> int:
    """Read the log as one text into memory, which the service must not do, for comparison."""
    kept = bytearray()
    download(url, kept.extend, Limits(size=8 * LIMIT, total=600))
    return len(kept.decode().splitlines())


def run() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="cryopack-bench-") as name:
        folder = Path(name)
        served = folder / "served"
        served.mkdir()
        plain = served / "builder-live.log"
        _write_log(plain)
        with plain.open("rb") as source, gzip.open(served / "builder-live.log.gz", "wb", 6) as packed:
            while piece := source.read(1 << 20):
                packed.write(piece)
        handler = partial(_Quiet, directory=str(served))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/builder-live.log"
        try:
            _print(folder, address, plain)
        finally:
            server.shutdown()


def _print(folder: Path, address: str, plain: Path) -> None:
    started = time.perf_counter()
    with (folder / "floor.gz").open("wb") as out:
        subprocess.run(["gzip", "-1", "-c", str(plain)], stdout=out, check=True)
    floor = time.perf_counter() - started
    mib = SIZE / 1024 / 1024
    written, seconds, memory = _apart(partial(fetch_and_store, address, folder))
    _, unpacked, unpacked_memory = _apart(partial(fetch_and_store, f"{address}.gz", folder))
    _, all_seconds, all_memory = _apart(partial(whole, address))
    _, first, first_memory = _apart(partial(window, folder, written, 1))
    _, last, last_memory = _apart(partial(window, folder, written, written.lines - 1000))
    _, miss, miss_memory = _apart(partial(search, folder, written, "no such words"))
    _, hit, hit_memory = _apart(partial(search, folder, written, "Bad exit status"))
    print_figures(
        f"A log of 200 MB ({written.lines} lines; {written.stored_size / 1e6:.0f} MB stored)",
        [
            Figure("fetch and store, plain", f"{mib / seconds:.0f} MB/s, +{memory:.0f} MB of memory",
                   f"gzip -1 of the file alone: {mib / floor:.0f} MB/s"),
            Figure("fetch and store, gzip", f"{mib / unpacked:.0f} MB/s, +{unpacked_memory:.0f} MB",
                   f"the whole as one text: {mib / all_seconds:.0f} MB/s, +{all_memory:.0f} MB"),
            Figure("first thousand lines", f"{first * 1000:.0f} ms, +{first_memory:.0f} MB", ""),
            Figure("last thousand lines", f"{last * 1000:.0f} ms, +{last_memory:.0f} MB", ""),
            Figure("search, nothing found", f"{miss * 1000:.0f} ms ({mib / miss:.0f} MB/s), +{miss_memory:.0f} MB",
                   ""),
            Figure("search, one hit at the end", f"{hit * 1000:.0f} ms, +{hit_memory:.0f} MB", ""),
        ],
    )  # fmt: skip


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
