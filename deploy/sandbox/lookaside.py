"""Dist-git's lookaside cache: a form asks for a source, or brings it, under its package, name and SHA512."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.multipart import BadMultipart, boundary_of, read_parts

if TYPE_CHECKING:
    from sandbox.farm import Sandbox

UPLOAD = "/lookaside/upload.cgi"
# Where Fedora's dist-git has it.
BESIDE_THE_FORGE = "/pagure/repo/pkgs/upload.cgi"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
SHA512 = re.compile(r"[0-9a-f]{128}")


async def upload(request: Request) -> Response:
    """``filename`` asks (``Available`` or ``Missing``); ``file`` uploads, and is refused where its sum is another."""
    sandbox: Sandbox = request.app.state.sandbox
    try:
        boundary = boundary_of(request.headers.get("content-type", ""))
        parts = await read_parts(request.stream(), boundary, sandbox.spool, frozenset({"file"}))
    except BadMultipart as error:
        return PlainTextResponse(f"Invalid request: {error}\n", 400)
    words = {name: part.content.decode(errors="replace") for name, part in parts.items()}
    package, digest = words.get("name", ""), words.get("sha512sum", "")
    file = parts.get("file")
    name = (file.filename or "") if file else words.get("filename", "")
    try:
        if not NAME.fullmatch(package) or not NAME.fullmatch(name) or not SHA512.fullmatch(digest):
            return PlainTextResponse("Required checksum, name or file is not present.\n", 400)
        kept = sandbox.state_dir / "lookaside" / package / name / "sha512" / digest / name
        if file is None or file.path is None:
            return PlainTextResponse("Available\n" if kept.is_file() else "Missing\n")
        with file.path.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha512").hexdigest()
        if found != digest:
            return PlainTextResponse("sha512 check failed.\n", 400)
        return _keep(file.path, kept)
    finally:
        if file is not None and file.path is not None:
            file.path.unlink(missing_ok=True)


def _keep(spooled: Path, kept: Path) -> Response:
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(spooled, kept)
    return PlainTextResponse(
        f"File {kept.name} size {kept.stat().st_size} SHA512 {kept.parent.name} stored OK\n"
    )


ROUTES = [Route(path, upload, methods=["POST"]) for path in (UPLOAD, BESIDE_THE_FORGE)]
