"""Measure the diagnosis of a long log: speed and memory, beside plain reading of the same lines."""

from __future__ import annotations

import time
import tracemalloc
from collections import deque
from collections.abc import Iterator

from bench.table import Figure, print_figures
from service.catalog import load
from service.domain.diagnosis import diagnose

SIZE = 200_000_000
MEMORY_SIZE = 20_000_000
USUAL = (
    "cd /builddir/build/BUILD/cri-o-1.32.0/_build && /usr/lib/golang/pkg/tool/linux_amd64/compile -o "
    "$WORK/b{n}/_pkg_.a -trimpath -p k8s.io/client-go/kubernetes/typed/apps/v1 -complete -buildid x"
)
CAUSE = "write /builddir/x: No space left on device"


def _lines(size: int) -> Iterator[str]:
    usual = [USUAL.format(n=n) for n in range(1000)]
    written = 0
    while written < size:
        yield from usual
        written += sum(map(len, usual)) + len(usual)
    yield CAUSE


def run() -> None:
    """Measure and print."""
    causes = load(None, copr_owner="bench").causes
    started = time.perf_counter()
    deque(_lines(SIZE), maxlen=0)
    floor = time.perf_counter() - started
    started = time.perf_counter()
    verdict = diagnose(_lines(SIZE), causes)
    took = time.perf_counter() - started
    assert verdict.rule == "disk-full", "the last line decides"
    tracemalloc.start()
    diagnose(_lines(MEMORY_SIZE), causes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    figures = [
        Figure(
            f"diagnose a log of {SIZE / 1e6:.0f} MB with {len(causes)} rules",
            f"{SIZE / 1e6 / took:.0f} MB/s",
            f"only making the lines: {SIZE / 1e6 / floor:.0f} MB/s",
        ),
        Figure("peak memory of it", f"{peak / 1e6:.1f} MB", f"the log: {MEMORY_SIZE / 1e6:.0f} MB"),
    ]
    print_figures("Diagnosis", figures)
