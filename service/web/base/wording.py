"""How times, sizes, foreign texts and differences are written on the pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

MINUTE, HOUR, DAY = 60, 3600, 86400

# Control characters and the marks that turn text around: a log line must not rewrite the page around it.
# Half characters: JSON may hold them, UTF-8 cannot.
_TERMINAL = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Foreign text without a terminal's colours, and with what cannot be printed made visible."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", _TERMINAL.sub("", text))


def one_line(text: str, limit: int = 160) -> str:
    """The first line of a foreign text, shortened."""
    first = plain(text).strip().partition("\n")[0]
    return first if len(first) <= limit else first[: limit - 1].rstrip() + "…"


def age(value: datetime, now: datetime) -> str:
    """``3 min ago`` or ``in 20 s``: one unit, so that it can be read at a glance."""
    seconds = (now - value).total_seconds()
    words = duration(abs(seconds))
    if abs(seconds) < 1:
        return "just now"
    return f"{words} ago" if seconds > 0 else f"in {words}"


def duration(seconds: float) -> str:
    """A length of time in one unit."""
    if seconds < 2 * MINUTE:
        return f"{int(seconds)} s"
    if seconds < 2 * HOUR:
        return f"{int(seconds // MINUTE)} min"
    if seconds < 2 * DAY:
        return f"{int(seconds // HOUR)} h"
    return f"{int(seconds // DAY)} d"


def between(start: datetime | None, end: datetime | None) -> str:
    """How long something took; empty while it has not both ends."""
    return duration(max((end - start).total_seconds(), 0)) if start and end else ""


def utc(value: datetime) -> str:
    """``2026-11-24 12:00:03 UTC``."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def rfc3339(value: datetime) -> str:
    """The machine's form of a time."""
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def weblink(address: str) -> str:
    """The address if a browser may follow it, else empty text: what a build system says is foreign, too."""
    return address if address.startswith(("http://", "https://")) else ""


def short_nvr(nvr: str, package: str) -> str:
    """``1.32.1-0.1.fc43`` of ``cri-o1.32-1.32.1-0.1.fc43``: the row tells the package already."""
    return nvr.removeprefix(f"{package}-")


def query(values: Mapping[str, Any], **changes: Any) -> str:
    """A query string of the values that are set, with some of them changed."""
    pairs = {key: value for key, value in {**values, **changes}.items() if value}
    text = urlencode({key: 1 if value is True else value for key, value in pairs.items()})
    return f"?{text}" if text else "?"


def day(value: date | None) -> str:
    """``2026-05-28``; empty where unknown."""
    return value.isoformat() if value else ""


def megabytes(size: int) -> str:
    """Bytes for people."""
    if size < 10_000:
        return f"{size} bytes"
    return f"{size / 1000:.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def coloured_diff(lines: tuple[str, ...]) -> Markup:
    """A unified diff with its lines marked up; the signs stay, so that colour is not the only difference."""
    kinds = {"+": "ins", "-": "del"}
    parts = []
    for line in lines:
        name = kinds.get(line[:1], "span")
        kind = "head" if line.startswith(("+++", "---", "@@")) else "line"
        name = "span" if kind == "head" else name
        parts.append(Markup('<{0} class="diff-{1}">{2}</{0}>').format(Markup(name), kind, plain(line)))
    return Markup("\n").join(parts)
