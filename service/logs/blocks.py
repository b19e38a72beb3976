"""Packs a log of any length into gzip blocks, so that a part of it can be read without the rest.

A stored log is a gzip file of many members, one for each block of about 1 MiB of plain text; ``zcat`` reads it as
one. The index of blocks is kept in the log's row. Blocks end at a line's end wherever a line ends within them.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

BLOCK = 1024 * 1024
TAIL_BLOCKS = 8
# Measured on lines of a Go build: level 6 takes twice the time of level 1 and saves an eighth.
LEVEL = 1


@dataclass(frozen=True)
class Block:
    """The beginning of one block: its byte in the stored file and in the plain text, and its line (from 1)."""

    stored: int
    plain: int
    line: int


@dataclass(frozen=True)
class Written:
    """A finished log: SHA-256 of the plain text as it is stored, sizes in bytes, lines, and bytes left out."""

    sha256: str
    plain_size: int
    stored_size: int
    lines: int
    left_out: int
    blocks: tuple[Block, ...]


class LogWriter:
    """Packs plain text into ``file`` as it comes. Beyond ``limit`` bytes the middle is left out, and a line says so.

    The end of a log says why a build failed: it is kept, at most ``TAIL_BLOCKS`` blocks of it.
    """

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = limit
        self._head = max(limit - TAIL_BLOCKS * BLOCK, BLOCK)
        self._buffer = bytearray()
        self._tail: deque[bytes] = deque()
        self._seen = 0
        self._left_out = 0
        self._blocks: list[Block] = []
        self._digest = hashlib.sha256()
        self._stored = self._plain = 0
        self._line = 1
        self._ends_line = True

    def write(self, data: bytes | memoryview) -> None:
        """Take the next plain bytes."""
        self._buffer += data
        while len(self._buffer) >= BLOCK:
            cut = self._buffer.rfind(b"\n", 0, BLOCK) + 1 or BLOCK
            self._take(bytes(memoryview(self._buffer)[:cut]))
            del self._buffer[:cut]

    def finish(self) -> Written:
        """Write what is left and return the index. The caller flushes and closes the file."""
        if self._buffer:
            self._take(bytes(self._buffer))
            self._buffer.clear()
        if self._left_out:
            note = (
                f"[cryopack left out {self._left_out} bytes here: the log is longer than {self._limit} bytes]"
            )
            self._pack((b"" if self._ends_line else b"\n") + note.encode() + b"\n")
        while self._tail:
            self._pack(self._tail.popleft())
        lines = self._line - 1 + (not self._ends_line)
        return Written(
            self._digest.hexdigest(), self._plain, self._stored, lines, self._left_out, tuple(self._blocks)
        )

    def _take(self, block: bytes) -> None:
        self._seen += len(block)
        if self._seen <= self._head and not self._tail:
            self._pack(block)
            return
        self._tail.append(block)
        while sum(map(len, self._tail)) > self._limit - self._head:
            self._left_out += len(self._tail.popleft())

    def _pack(self, block: bytes) -> None:
        self._blocks.append(Block(self._stored, self._plain, self._line))
        self._digest.update(block)
        pack = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
        packed = pack.compress(block) + pack.flush()
        self._file.write(packed)
        self._stored += len(packed)
        self._plain += len(block)
        self._line += block.count(b"\n")
        self._ends_line = block.endswith(b"\n")


class Unpacker:
    """Unpacks a download to plain bytes: gzip is recognised by its first two bytes, anything else is passed on.

    ``sink`` gets at most ``BLOCK`` bytes at once and may raise, so that a compression bomb costs no memory.
    """

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._start = b""
        self._plain: bool | None = None
        self._gzip = zlib.decompressobj(31)

    def feed(self, data: bytes) -> None:
        """Take the next bytes as they came. Raises zlib.error for a damaged gzip stream."""
        if self._plain is None:
            self._start += data
            if len(self._start) < 2:
                return
            self._plain = not self._start.startswith(b"\x1f\x8b")
            data, self._start = self._start, b""
        if self._plain:
            for at in range(0, len(data), BLOCK):
                self._sink(data[at : at + BLOCK])
            return
        while data:
            if self._gzip.eof:
                self._gzip = zlib.decompressobj(31)
            piece = self._gzip.decompress(data, BLOCK)
            if piece:
                self._sink(piece)
            data = self._gzip.unused_data if self._gzip.eof else self._gzip.unconsumed_tail
            if self._gzip.eof and not data.strip(b"\0"):
                return

    def finish(self) -> bool:
        """End the download; return False for a gzip stream that was cut off."""
        if self._plain is None:
            self._sink(self._start)
        return bool(self._plain is not False or self._gzip.eof)
