"""Finds and reads a COPR build's source RPM, and the outcome that a test has scripted for the build."""

from __future__ import annotations

import asyncio
import fnmatch
import json
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from sandbox.building.srpm_header import Header, NotAnSrpm, read_header
from sandbox.ground import Ground
from sandbox.store import Row, Store

OUTCOMES = ("succeeded", "failed", "canceled", "pending")
SOURCE, IMPORT = "srpm-builds", "import"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
MAX_DOWNLOAD = 200 << 20


def outcome_of(store: Store, build: Row, chroot: str) -> tuple[str, str]:
    """Return the newest scripted ``(outcome, log)`` for this build's package or file name in this chroot."""
    name = json.loads(build["source_dict"]).get("pkg", "")
    for row in store.all("SELECT * FROM outcome ORDER BY id DESC"):
        # A pattern for chroots in general does not mean the two steps before them.
        if chroot in {SOURCE, IMPORT} and row["chroot"] != chroot:
            continue
        matches = any(fnmatch.fnmatch(text or "", row["package"]) for text in (build["package"], name))
        if matches and fnmatch.fnmatch(chroot, row["chroot"]):
            return row["outcome"], row["log"]
    return "succeeded", ""


def source_file(ground: Ground, build: Row) -> Path:
    """Return where the build's source RPM lies, in a folder of its own, until it is imported."""
    source = json.loads(build["source_dict"])
    if "tmp" in source:
        return ground.uploads / str(source["tmp"]) / str(source["pkg"])
    name = Path(urlsplit(source.get("url", "")).path).name or "no-file"
    return ground.spool / f"build-{build['id']}" / name


async def read_source(ground: Ground, build: Row) -> Header | NotAnSrpm:
    """Return the header of the build's source RPM, or the reason why its source step fails."""
    outcome, text = outcome_of(ground.store, build, SOURCE)
    if outcome == "failed":
        return NotAnSrpm(text or "the sandbox was told to fail this source step")
    path = source_file(ground, build)
    if build["source_type"] == "link":
        reason = await asyncio.to_thread(_download, json.loads(build["source_dict"])["url"], path)
        if reason:
            return reason
    elif build["source_type"] != "upload":
        return NotAnSrpm(f"the sandbox runs no '{build['source_type']}' sources; upload a source RPM instead")
    return await asyncio.to_thread(_header_or_reason, path)


def _header_or_reason(path: Path) -> Header | NotAnSrpm:
    try:
        return read_header(path)
    except NotAnSrpm as reason:
        return reason


def _download(url: str, path: Path) -> NotAnSrpm | None:
    """Fetch a source from this machine; the sandbox opens no connection to anywhere else."""
    if urlsplit(url).hostname not in LOOPBACK:
        return NotAnSrpm(f"the sandbox fetches from loopback only, not {url}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with httpx2.stream("GET", url, timeout=10, trust_env=False) as answer, path.open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                file.write(chunk)
                if file.tell() > MAX_DOWNLOAD:
                    return NotAnSrpm(f"{url} is over {MAX_DOWNLOAD} bytes")
    except httpx2.HTTPError as error:
        return NotAnSrpm(f"cannot fetch {url}: {error}")
    return None
