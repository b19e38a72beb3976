"""Reads ``multipart/form-data`` as a stream: files go to disk, the rest stays in memory."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO

MAX_FIELD = 1 << 20


class BadMultipart(ValueError):
    """The body does not follow its own boundary."""


@dataclass
class Part:
    """One part. ``path`` is set for a file that was spooled to disk, ``content`` for every other."""

    name: str
    filename: str | None
    content: bytes = b""
    path: Path | None = None


def boundary_of(content_type: str) -> bytes:
    """Return the boundary parameter of a Content-Type header. Raises BadMultipart."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if not boundary:
        raise BadMultipart("no boundary in the content type")
    return boundary.encode("latin-1")


class _Writer:
    """Takes the bytes of one part, and writes them to memory or to a file."""

    def __init__(self, header: bytes, spool: Path, spooled: frozenset[str]) -> None:
        message = Message()
        for line in header.decode("utf-8", "replace").split("\r\n"):
            key, _, value = line.partition(":")
            message[key.strip()] = value.strip()
        name = message.get_param("name", header="content-disposition")
        self.part = Part(name if isinstance(name, str) else "", message.get_filename())
        self.file: IO[bytes] | None = None
        if self.part.name in spooled:
            descriptor, path = tempfile.mkstemp(dir=spool)
            self.file = os.fdopen(descriptor, "wb")
            self.part.path = Path(path)

    def write(self, data: bytes) -> None:
        if self.file:
            self.file.write(data)
            return
        if len(self.part.content) + len(data) > MAX_FIELD:
            raise BadMultipart(f"field '{self.part.name}' is over {MAX_FIELD} bytes")
        self.part.content += data

    def end(self) -> None:
        if self.file:
            self.file.flush()
            # The answer promises that the upload survives a crash, so the file must be on disk first.
            os.fsync(self.file.fileno())
            self.file.close()


async def read_parts(
    stream: AsyncIterator[bytes], boundary: bytes, spool: Path, spooled: frozenset[str]
) -> dict[str, Part]:
    """Return the parts by name; those named in ``spooled`` are written to ``spool``. Raises BadMultipart."""
    delimiter = b"\r\n--" + boundary
    # The first delimiter has no line break before it; giving it one makes all of them look the same.
    buffer = b"\r\n"
    parts: dict[str, Part] = {}
    try:
        await _split(stream, delimiter, buffer, parts, spool, spooled)
    except BaseException:
        for part in parts.values():
            if part.path:
                part.path.unlink(missing_ok=True)
        raise
    return parts


async def _split(
    stream: AsyncIterator[bytes],
    delimiter: bytes,
    buffer: bytes,
    parts: dict[str, Part],
    spool: Path,
    spooled: frozenset[str],
) -> None:
    writer: _Writer | None = None
    finished = False
    async for chunk in stream:
        if finished:
            continue
        buffer += chunk
        while True:
            at = buffer.find(delimiter)
            if at < 0:
                keep = len(delimiter) - 1
                if writer and len(buffer) > keep:
                    writer.write(buffer[:-keep])
                    buffer = buffer[-keep:]
                break
            rest = buffer[at + len(delimiter) :]
            if rest.startswith(b"--"):
                finished = True
            elif b"\r\n\r\n" not in rest:
                # The next part's header has not arrived in full; what stands before it can go already.
                if writer and at:
                    writer.write(buffer[:at])
                    buffer = buffer[at:]
                break
            if writer:
                writer.write(buffer[:at])
                await asyncio.to_thread(writer.end)
                writer = None
            if finished:
                break
            header, _, buffer = rest.partition(b"\r\n\r\n")
            writer = _Writer(header.strip(b"\r\n"), spool, spooled)
            # Known from its first byte on, so that a broken upload leaves no file behind.
            parts[writer.part.name] = writer.part
    if not finished:
        raise BadMultipart("the body ends before its last boundary")
