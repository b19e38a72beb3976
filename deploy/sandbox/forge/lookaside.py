"""Dist-git's lookaside cache: stores uploaded sources by package, name and SHA512, and tells whether one is there."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.ground import Ground
from sandbox.levers import command, keep_settings
from sandbox.multipart import BadMultipart, boundary_of, read_parts

UPLOAD = "/lookaside/upload.cgi"
# Where Fedora's dist-git has it.
BESIDE_THE_FORGE = "/pagure/repo/pkgs/upload.cgi"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
# The package in its namespace, as fedpkg sends it.
PACKAGE = re.compile(r"rpms/[A-Za-z0-9][A-Za-z0-9._+-]*")
SHA512 = re.compile(r"[0-9a-f]{128}")


async def upload(request: Request) -> Response:
    """Tell whether ``filename`` is there (``Available`` or ``Missing``), or store ``file``; refuse a wrong checksum."""
    ground: Ground = request.app.state.ground
    refused = _refused_uploader(ground, request)
    if refused is not None:
        return refused
    try:
        boundary = boundary_of(request.headers.get("content-type", ""))
        parts = await read_parts(request.stream(), boundary, ground.spool, frozenset({"file"}))
    except BadMultipart as error:
        return PlainTextResponse(f"Invalid request: {error}\n", 400)
    words = {name: part.content.decode(errors="replace") for name, part in parts.items()}
    package, digest = words.get("name", ""), words.get("sha512sum", "")
    file = parts.get("file")
    name = (file.filename or "") if file else words.get("filename", "")
    try:
        if not PACKAGE.fullmatch(package) or not NAME.fullmatch(name) or not SHA512.fullmatch(digest):
            return PlainTextResponse("Required checksum, name or file is not present.\n", 400)
        kept = ground.state_dir / "lookaside" / package / name / "sha512" / digest / name
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


def _refused_uploader(ground: Ground, request: Request) -> Response | None:
    """Return the refusal of an uploader without the demanded log-in, or None. A TLS front names the uploader."""
    demanded = str(ground.store.setting("lookaside_log_in", ""))
    name = request.headers.get("x-remote-user") or request.headers.get("x-ssl-client-cn")
    if not demanded:
        return None
    if not name:
        return PlainTextResponse("Unauthorized\n", 401, {"WWW-Authenticate": demanded})
    allowed = str(ground.store.setting("lookaside_packager", name))
    return None if name == allowed else PlainTextResponse(f"{name} is not in the group packager\n", 403)


@command("POST", "/lookaside")
async def demand_log_in(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Demand a log-in (``{"log_in"}``, such as ``Negotiate``), and let only the account ``{"packager"}`` upload."""
    keep_settings(ground, "lookaside", ("log_in", "packager"), data)
    return data


def _keep(spooled: Path, kept: Path) -> Response:
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(spooled, kept)
    return PlainTextResponse(
        f"File {kept.name} size {kept.stat().st_size} SHA512 {kept.parent.name} stored OK\n"
    )


ROUTES = [Route(path, upload, methods=["POST"]) for path in (UPLOAD, BESIDE_THE_FORGE)]
