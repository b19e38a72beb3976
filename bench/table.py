"""Time functions and print figures as a Markdown table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line: what was done, the value with its unit, and the floor or peer that it stands beside."""

    what: str
    value: str
    beside: str = ""


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of the samples lie."""
    ordered = sorted(samples)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def timed(act: Callable[[], object], *, rounds: int, warm: int = 1) -> list[float]:
    """Return the seconds of each of ``rounds`` runs, after ``warm`` unmeasured ones."""
    for _ in range(warm):
        act()
    samples = []
    for _ in range(rounds):
        started = time.perf_counter()
        act()
        samples.append(time.perf_counter() - started)
    return samples


def spread(samples: Sequence[float]) -> str:
    """Return median and p99 in milliseconds, as text."""
    return f"p50 {statistics.median(samples) * 1000:.1f} ms, p99 {percentile(samples, 0.99) * 1000:.1f} ms"


def print_figures(title: str, figures: Sequence[Figure]) -> None:
    """Print one part of the table, as Markdown that can be kept."""
    print(f"\n## {title}\n\n| what | measured | beside |\n|---|---|---|")
    for figure in figures:
        print(f"| {figure.what} | {figure.value} | {figure.beside} |")
