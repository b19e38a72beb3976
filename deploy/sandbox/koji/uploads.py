"""Uploads: chunks below ``cli-build/``, each with its checksum, owned by whoever came first."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.ground import Ground
from sandbox.koji import wire
from sandbox.koji.hub import UPLOAD, Call, open_call, refuse_offline, rpc
from sandbox.koji.wire import HubFault

# The real hub shows its own folder in these texts.
SHOWN = "/mnt/koji/work"
FOLDER = re.compile(r"cli-build(/[A-Za-z0-9][\w.+~-]*)+", re.ASCII)
FILE = re.compile(r"[A-Za-z0-9_][\w.+~^-]*", re.ASCII)


def work_path(ground: Ground, relative: str) -> Path:
    """Where a name below the hub's work folder lies on this machine."""
    return ground.koji_files / "work" / relative


def receive(ground: Ground, who: Mapping[str, str], query: Mapping[str, str], chunk: bytes) -> bytes:
    """Store one chunk; the XML answer."""
    try:
        refuse_offline(ground, "rawUpload")
        with ground.store.transaction():
            return wire.answer(_store(ground, who, query, chunk))
    except HubFault as error:
        return wire.fault(error)


def _store(ground: Ground, who: Mapping[str, str], query: Mapping[str, str], chunk: bytes) -> dict[str, Any]:
    if "session-id" not in who:
        raise HubFault(wire.AUTH, "'session-id' not specified in session args")
    call = open_call(ground, who, "rawUpload")
    folder, name = query.get("filepath", ""), query.get("filename", "")
    if folder.startswith("tasks/"):
        raise HubFault(wire.AUTH, f"User {call.user_id} is not a host")
    if not FOLDER.fullmatch(folder) or ".." in folder:
        raise HubFault(wire.GENERIC, f"Invalid upload directory: {folder}")
    if not FILE.fullmatch(name):
        raise HubFault(wire.GENERIC, f"Invalid upload filename: {name}")
    owner = ground.store.one("SELECT user_id FROM koji_upload WHERE path = ?", folder)
    if owner is None:
        ground.store.execute("INSERT INTO koji_upload VALUES (?, ?)", folder, call.user_id)
    elif owner["user_id"] != call.user_id:
        raise HubFault(wire.GENERIC, f"Invalid upload directory, not owner: {folder}")
    path = work_path(ground, f"{folder}/{name}")
    offset = int(query.get("offset", "0"))
    if path.exists() and offset == 0 and not query.get("overwrite"):
        raise HubFault(wire.GENERIC, f"upload path exists: {SHOWN}/{folder}/{name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if path.exists() and offset else "wb") as file:
        file.seek(offset)
        file.write(chunk)
    return {
        "size": len(chunk),
        "fileverify": query.get("fileverify", "adler32"),
        "offset": offset,
        "hexdigest": f"{zlib.adler32(chunk):08x}",
    }


UPLOAD.append(receive)


@rpc("checkUpload")
def check_upload(
    call: Call, path: str, name: str, verify: str | None = None, tail: Any = None, volume: str | None = None
) -> dict[str, Any] | None:
    """Size and time of an uploaded file, with ``verify`` also its checksum; None where there is none."""
    assert call.user_id
    if not FOLDER.fullmatch(path) or not FILE.fullmatch(name):
        return None
    file = work_path(call.ground, f"{path}/{name}")
    if not file.is_file():
        return None
    data = {"size": file.stat().st_size, "mtime": file.stat().st_mtime}
    if verify:
        content = file.read_bytes()
        data |= {"sumlength": len(content), "hexdigest": f"{zlib.adler32(content):08x}"}
    return data
