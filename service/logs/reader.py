"""Reads parts of a stored log: a window of lines, the hits of a search, a range of bytes; as harmless text."""

from __future__ import annotations

import re
import time
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.logs.blocks import Block
from service.logs.store import LogGone, LogStore

HITS = 200
"""Lines that a search gives at most."""
SEARCH_SECONDS = 20.0
EXCERPT = 160
"""Bytes of a line that are shown around a hit."""
LINE_SHOWN = 2000
"""Bytes of one line that a page shows; the rest is counted."""

# Terminal escape sequences: CSI (colours, cursor), OSC and the other strings (titles, links), two characters.
_ORDERS = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|\x1b")
_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20) if code != 0x09} | {0x7F: "\u2421"}
# Characters that reverse text or are invisible: a reader must see that they are there.
_HIDDEN = {
    code: f"\u27e8U+{code:04X}\u27e9"
    for code in (
        *range(0x80, 0xA0), 0xAD, 0x061C, 0x180E, *range(0x200B, 0x2010), 0x2028, 0x2029,
        *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC),
        *range(0xE0000, 0xE0080),
    )
}  # fmt: skip
_VISIBLE = _CONTROLS | _HIDDEN


@dataclass(frozen=True)
class Line:
    """One line to show, numbered from 1. ``more`` is how many bytes of it are not shown."""

    number: int
    text: str
    more: int = 0


@dataclass(frozen=True)
class Hits:
    """The lines that a search found; ``complete`` is False where there may be more."""

    lines: tuple[Line, ...]
    complete: bool


class LogReader:
    """Reads one stored log with at most one block of it in memory. Every read may raise LogGone.

    ``blocks`` is the log's index, ``stored`` and ``plain`` are its sizes in bytes.
    """

    def __init__(self, store: LogStore, key: str, blocks: Sequence[Block], stored: int, plain: int) -> None:
        self._store = store
        self._key = key
        self._blocks = blocks
        self._stored = stored
        self.plain_size = plain

    def window(self, first: int, count: int) -> list[Line]:
        """Return ``count`` lines from line ``first`` (from 1); fewer at the end."""
        return [Line(number, shown(kept), more) for number, kept, more in self._lines(first, count)]

    def raw_lines(self, first: int, count: int) -> Iterator[bytes]:
        """Yield ``count`` lines from line ``first`` as bytes with a newline, each cut at ``LINE_SHOWN`` bytes."""
        for _, kept, _ in self._lines(first, count):
            yield kept + b"\n"

    def _lines(self, first: int, count: int) -> Iterator[tuple[int, bytes, int]]:
        # The line may begin in the block before the first one that begins with it.
        at = max(bisect_left(self._blocks, first, key=lambda block: block.line) - 1, 0)
        kept, length, number = bytearray(), 0, self._blocks[at].line if self._blocks else 1
        for index in range(at, len(self._blocks)):
            if number >= first + count:
                return
            full = len(kept) >= LINE_SHOWN
            if full and index + 1 < len(self._blocks) and self._blocks[index + 1].line == number:
                # This block holds only the middle of a very long line, whose shown part has been read already.
                length += self._blocks[index + 1].plain - self._blocks[index].plain
                continue
            parts = self._block(index).split(b"\n")
            for position, part in enumerate(parts):
                length += len(part)
                if len(kept) < LINE_SHOWN:
                    kept += part[: LINE_SHOWN - len(kept)]
                if position == len(parts) - 1:
                    break
                if first <= number < first + count:
                    yield number, bytes(kept), length - len(kept)
                number += 1
                kept.clear()
                length = 0
        if length and first <= number < first + count:
            yield number, bytes(kept), length - len(kept)

    def search(self, words: str, *, hits: int = HITS, seconds: float = SEARCH_SECONDS) -> Hits:
        """Return the lines that hold ``words``, at most ``hits``, searching for at most ``seconds``.

        The case of ASCII letters does not matter. An empty text is found nowhere.
        """
        needle = words.encode("utf-8", "replace").lower()
        found: list[Line] = []
        if not needle:
            return Hits((), True)
        deadline = time.monotonic() + seconds
        carry = b""
        last = 0
        for index, block in enumerate(self._blocks):
            if time.monotonic() > deadline:
                return Hits(tuple(found), False)
            data = carry + self._block(index)
            low = data.lower()
            line, counted, at = block.line, 0, low.find(needle)
            while at >= 0:
                line += low.count(b"\n", counted, at)
                counted = at
                if line > last:
                    if len(found) == hits:
                        return Hits(tuple(found), False)
                    found.append(_excerpt(line, data, at, len(needle)))
                    last = line
                # One hit a line is enough.
                end = low.find(b"\n", at)
                at = low.find(needle, end) if end >= 0 else -1
            keep = len(needle) - 1
            carry = data[-keep:].rpartition(b"\n")[2] if keep else b""
        return Hits(tuple(found), True)

    def plain(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the plain bytes from ``start`` to before ``end``, in pieces."""
        at = max(bisect_right(self._blocks, start, key=lambda block: block.plain) - 1, 0)
        for index in range(at, len(self._blocks)):
            begins = self._blocks[index].plain
            if begins >= end:
                return
            piece = self._block(index)[max(start - begins, 0) : end - begins]
            if piece:
                yield piece

    def _block(self, index: int) -> bytes:
        start = self._blocks[index].stored
        end = self._blocks[index + 1].stored if index + 1 < len(self._blocks) else self._stored
        try:
            return zlib.decompress(self._store.read(self._key, start, end - start), 31)
        except zlib.error as error:
            raise LogGone(f"the stored log {self._key} is damaged: {error}") from None


def _excerpt(line: int, data: bytes, at: int, length: int) -> Line:
    start = max(data.rfind(b"\n", 0, at) + 1, at - EXCERPT // 2)
    end = data.find(b"\n", at + length)
    end = min(end if end >= 0 else len(data), start + EXCERPT + length)
    return Line(line, shown(data[start:end]))


def shown(line: bytes) -> str:
    """Return a line as harmless text: escape sequences removed, other control and bidi characters made visible.

    Bytes that are not UTF-8 become U+FFFD. A progress bar (parts that end with a carriage return) shows its last
    part. The caller escapes HTML and bounds the line's length.
    """
    plain = _ORDERS.sub(b"", line).rstrip(b"\r")
    last = plain.rpartition(b"\r")[2]
    return last.decode("utf-8", "replace").translate(_VISIBLE)
