"""Dist-git's lookaside cache: sources by package, name and SHA512. It is asked before anything is uploaded.

The protocol is the one of dist-git's upload script, which fedpkg speaks: a form with ``name`` (the package),
``sha512sum`` and ``filename`` asks and is answered ``Available`` or ``Missing``; the same with the file in ``file``
instead of ``filename`` uploads.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from workers.certificates import trusted

SECONDS = 60.0


class LookasideTrouble(Exception):
    """The cache did not take the source, or gave no answer; ``str(error)`` is one line."""


def sha512_of(file: Path) -> str:
    """The SHA512 of a file as hexadecimal text."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha512").hexdigest()


def upload(address: str, *, package: str, file: Path, sha512: str, seconds: float = SECONDS) -> bool:
    """Make sure that the cache has the file; whether it had to be uploaded. Safe to repeat. Raises LookasideTrouble."""
    asked = {"name": package, "sha512sum": sha512}
    timeout = httpx2.Timeout(seconds, connect=10.0)
    trust = urlsplit(address).hostname not in ("127.0.0.1", "::1", "localhost")
    verify = trusted(by_environment=trust)
    try:
        with httpx2.Client(timeout=timeout, follow_redirects=False, trust_env=trust, verify=verify) as client:
            told = _ask(client, address, {**asked, "filename": file.name})
            if told == "available":
                return False
            if told != "missing":
                raise LookasideTrouble(
                    f"the lookaside cache answered {told[:80]!r} where it has or lacks a file"
                )
            with file.open("rb") as handle:
                sent = client.post(address, files={**_form(asked), "file": (file.name, handle)})
            if sent.status_code != 200:
                raise LookasideTrouble(
                    f"the lookaside cache refused {file.name}: HTTP {sent.status_code}{_said(sent)}"
                )
            if _ask(client, address, {**asked, "filename": file.name}) != "available":
                raise LookasideTrouble(f"the lookaside cache took {file.name} and does not have it")
            return True
    except httpx2.HTTPError as error:
        raise LookasideTrouble(f"the lookaside cache gave no answer ({type(error).__name__})") from None


def _ask(client: httpx2.Client, address: str, form: dict[str, str]) -> str:
    answer = client.post(address, files=_form(form))
    if answer.status_code != 200:
        raise LookasideTrouble(f"the lookaside cache answered HTTP {answer.status_code}{_said(answer)}")
    return answer.text.strip().lower()


def _form(words: dict[str, str]) -> dict[str, Any]:
    """Words as parts of a multipart form, which is how fedpkg sends them."""
    return {name: (None, word) for name, word in words.items()}


def _said(answer: httpx2.Response) -> str:
    lines = answer.text.strip().splitlines()
    return f": {lines[0][:200]}" if lines else ""
