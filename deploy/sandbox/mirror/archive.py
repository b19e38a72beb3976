"""Packs source archives of CRI-O's shape on demand, byte for byte the same at each request.

They have the shape of upstream's archives (folders, go.mod, vendor/modules.txt, the commit in the pax
header as ``git archive`` writes it) and none of its code: every file says that it is a stand-in.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sandbox.mirror.releases import NEWEST_NRI, NRI_VERSIONS
from sandbox.mirror.tree import EXECUTABLE, Contents, files
from sandbox.store import Row

BOMB_BYTES = 3 << 30
BOMB_CHUNK = 64 << 20


@dataclass(frozen=True)
class Archive:
    """A gzipped tar. ``etag`` is the SHA-256 of its content."""

    filename: str
    content: bytes
    etag: str


def contents(row: Row) -> Contents:
    """Return the contents that a release's row describes."""
    facts = json.loads(row["facts"])
    return Contents(
        version=row["tag"].removeprefix("v"),
        commit=row["commit_sha"],
        timestamp=int(datetime.fromisoformat(row["published_at"]).timestamp()),
        go=facts["go"],
        wazero=facts["wazero"],
        nri=NRI_VERSIONS.get(row["stream"], NEWEST_NRI),
        commands=tuple(facts["commands"]),
        moved=row["moved"],
    )


BROKEN: dict[str, dict[str, Any]] = {
    "traversal": {"traversal": True},
    "wrong_version": {"said_version": "0.0.0"},
    "changed": {"moved": 1000},
}


def broken_archive(row: Row, fault: str = "") -> Archive:
    """Return a release's archive as ``fault`` (a key of BROKEN, or ``bomb``) spoils it; "" is the sound one."""
    if fault == "bomb":
        content = bomb(f"cri-o-{contents(row).version}")
        return Archive("cri-o-bomb.tar.gz", content, hashlib.sha256(content).hexdigest())
    return pack(replace(contents(row), **BROKEN.get(fault, {})))


@lru_cache(maxsize=256)
def pack(what: Contents) -> Archive:
    """Return the archive of these contents."""
    raw = io.BytesIO()
    root = f"cri-o-{what.version}"
    _commit_header(raw, what)
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _member(tar, f"{root}/", None, what.timestamp)
        folders: set[str] = set()
        for path, text in sorted(files(what).items()):
            parts = path.split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                folder = "/".join(parts[:depth])
                if folder not in folders:
                    folders.add(folder)
                    _member(tar, f"{root}/{folder}/", None, what.timestamp)
            _member(tar, f"{root}/{path}", text, what.timestamp)
        if what.traversal:
            _member(
                tar,
                f"{root}/../../escaped-from-the-archive.txt",
                "A member outside of the root.\n",
                what.timestamp,
            )
    content = gzip.compress(raw.getvalue(), compresslevel=6, mtime=0)
    return Archive(f"{root}.tar.gz", content, hashlib.sha256(content).hexdigest())


def _commit_header(raw: io.BytesIO, what: Contents) -> None:
    """Write the commit in a global pax header as ``git archive`` does; ``git get-tar-commit-id`` reads it."""
    record = f"52 comment={what.commit}\n".encode()
    info = tarfile.TarInfo("pax_global_header")
    info.type, info.mode, info.mtime, info.size = tarfile.XGLTYPE, 0o666, what.timestamp, len(record)
    info.uname = info.gname = "root"
    raw.write(info.tobuf(tarfile.USTAR_FORMAT))
    raw.write(record.ljust(tarfile.BLOCKSIZE, b"\0"))


def _member(tar: tarfile.TarFile, name: str, text: str | None, timestamp: int) -> None:
    info = tarfile.TarInfo(name)
    info.mtime = timestamp
    info.uname = info.gname = "root"
    if text is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o775
        tar.addfile(info)
        return
    data = text.encode()
    info.size = len(data)
    info.mode = 0o775 if name.endswith(EXECUTABLE) else 0o664
    tar.addfile(info, io.BytesIO(data))


@lru_cache(maxsize=1)
def bomb(root: str) -> bytes:
    """Return a few megabytes of gzip that grow to 3 GiB of zeros in one file in the folder ``root``."""
    info = tarfile.TarInfo(f"{root}/zeros")
    info.size = BOMB_BYTES
    # Gzip's parts may follow each other, so the zeros are packed once and not for four seconds.
    zeros = gzip.compress(bytes(BOMB_CHUNK), compresslevel=1, mtime=0)
    header = gzip.compress(info.tobuf(tarfile.GNU_FORMAT), mtime=0)
    return header + zeros * (BOMB_BYTES // BOMB_CHUNK)
