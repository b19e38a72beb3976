"""The interface of a store of logs (one object per log, under a key), and the store that keeps them as files."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_KEY = re.compile(r"[0-9]{6,20}/[0-9a-f]{64}\.log\.gz", re.ASCII)


class LogGone(Exception):
    """The store has no object of that key, or a damaged one."""


class StoreUnavailable(LogGone):
    """The store does not answer or refuses us; the object may still be there. Readers may treat it as gone."""


@dataclass(frozen=True)
class StoredObject:
    """One object of the store. ``size`` is in bytes, ``age`` in seconds since it was written."""

    key: str
    size: int
    age: float


class LogStore(Protocol):
    """A store of logs. Keys are ``<build>/<sha256 of the plain log>.log.gz``; see ``log_key``.

    A store on another machine may raise StoreUnavailable from every method.
    """

    def put(self, key: str, source: Path) -> None:
        """Store the file durably under the key, replacing what is there; ``source`` is gone afterwards."""
        ...

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``; fewer at the end. Raises LogGone."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error."""
        ...

    def objects(self) -> Iterator[StoredObject]:
        """Yield everything that is stored, in any order."""
        ...


def log_key(build_id: int, sha256: str) -> str:
    """Return the key of a log of a build.

    The content names it, so that storing it again after a crash is harmless; the build is part of it, so that
    removing one build's logs can never remove another's.
    """
    return f"{build_id:06d}/{sha256}.log.gz"


def is_key(text: str) -> bool:
    """Whether a text is the key of a log; nothing else is ever read or removed."""
    return _KEY.fullmatch(text) is not None


class FileStore:
    """A LogStore that keeps each object as a file below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, source: Path) -> None:
        """Move the file in: bytes first, then the name, then the folder, each synced to disk.

        After a power cut the file is whole or not there.
        """
        goal = self._path(key)
        goal.parent.mkdir(parents=True, exist_ok=True)
        part = goal.with_name(f"{goal.name}.{os.getpid()}.part")
        try:
            os.replace(source, part)
        except OSError:
            # The spool may lie on another file system.
            shutil.copyfile(source, part)
            source.unlink()
        _sync(part)
        os.replace(part, goal)
        _sync(goal.parent)

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``; fewer at the end. Raises LogGone."""
        try:
            with self._path(key).open("rb") as file:
                file.seek(start)
                return file.read(length)
        except FileNotFoundError:
            raise LogGone(f"the stored log {key} is gone") from None

    def delete(self, key: str) -> None:
        """Remove the file, and its folder when that was the last one."""
        path = self._path(key)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    def objects(self) -> Iterator[StoredObject]:
        """Yield every log; half-written files of a killed worker are removed after a day."""
        now = time.time()
        for path in sorted(self._root.glob("*/*")):
            key = f"{path.parent.name}/{path.name}"
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                if is_key(key):
                    yield StoredObject(key, stat.st_size, now - stat.st_mtime)
                elif path.name.endswith(".part") and now - stat.st_mtime > 86_400:
                    path.unlink()

    def _path(self, key: str) -> Path:
        if not is_key(key):
            raise LogGone(f"{key[:80]!r} is not the key of a log")
        return self._root / key


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
