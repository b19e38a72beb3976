"""A download that may break off: what is on disk of it, and whether it is all."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import BinaryIO

_CHUNK = 256 * 1024
_BOUND = 1024 * 1024 * 1024


class PartialFile:
    """The unfinished file and, in a note beside it, what upstream must still say for it to be continued."""

    def __init__(self, destination: Path) -> None:
        self.file = destination.with_name(destination.name + ".part")
        self.note = destination.with_name(destination.name + ".part.json")

    def resumable(self, address: str) -> tuple[int, str]:
        """How many bytes are there and the validator of their file; (0, "") where there are none."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            size = self.file.stat().st_size
        except (OSError, ValueError):
            return 0, ""
        if not isinstance(note, dict) or note.get("address") != address or not note.get("validator"):
            return 0, ""
        return (size, str(note["validator"])) if size else (0, "")

    def begin(self, address: str, validator: str) -> BinaryIO:
        """An empty file; the note is written first, so that bytes never go without it."""
        self.discard()
        self.note.write_text(json.dumps({"address": address, "validator": validator}), encoding="utf-8")
        return self.file.open("wb")

    def discard(self) -> None:
        """Forget what was fetched."""
        self.file.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def is_whole_gzip(file: Path) -> bool:
    """Whether the gzip stream comes to its end; read in pieces, and only up to a bound."""
    plain = zlib.decompressobj(31)
    seen = 0
    with file.open("rb") as handle:
        while not plain.eof and seen < _BOUND:
            packed = plain.unconsumed_tail or handle.read(_CHUNK)
            if not packed:
                return False
            try:
                seen += len(plain.decompress(packed, _CHUNK))
            except zlib.error:
                return False
    return True
