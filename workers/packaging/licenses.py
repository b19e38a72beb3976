"""Check SPDX license expressions, and compute one from a source with go-vendor-tools where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from license_expression import ExpressionError, get_spdx_licensing

from workers.packaging.rpm_commands import RpmTrouble, run

SECONDS = 600.0
TOOL = "go_vendor_license"
# In the order in which they are asked: the first that is installed decides. Fedora's build root has askalono.
DETECTORS = ("askalono", "trivy", "scancode")

_SPDX = get_spdx_licensing()


class BadLicense(Exception):
    """A text is no SPDX expression; ``str(error)`` is one line."""


@dataclass(frozen=True)
class ComputedLicense:
    """A computed license: ``expression``, empty where that failed; ``by`` is the tool and detector, or the reason."""

    expression: str
    by: str


@lru_cache(maxsize=256)
def check_expression(expression: str) -> str:
    """Return an SPDX expression in its normal spelling. Raises BadLicense."""
    try:
        parsed = _SPDX.parse(expression, validate=True, strict=True)
    except ExpressionError as error:
        raise BadLicense(f"{expression[:120]!r} is no SPDX expression: {_line(error)}") from error
    if parsed is None:
        raise BadLicense("the license expression is empty")
    return str(parsed)


def same_license(one: str, other: str) -> bool:
    """Return whether two expressions mean the same, in any order. Texts that are no expressions differ."""
    try:
        return bool(_SPDX.is_equivalent(check_expression(one), check_expression(other)))
    except BadLicense:
        return False


def compute_license(archive: Path, root: str, *, folder: Path, seconds: float = SECONDS) -> ComputedLicense:
    """Compute the license of an archive that ``inspect_archive`` has passed, with go-vendor-tools.

    ``root`` is its one folder; it is unpacked below ``folder`` and removed again. Raises OSError for our disk's
    sake; a missing tool or detector and a failed detection are an answer and no error.
    """
    tool = _tool()
    if tool is None:
        return ComputedLicense("", f"{TOOL} is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".licenses-", dir=folder) as place:
        home = Path(place)
        with tarfile.open(archive, mode="r:gz") as tar:
            tar.extractall(home, filter="data")
        why = ""
        for detector in DETECTORS:
            words = ["-C", str(home / root), "--detector", detector, "report", "expression"]
            try:
                done = run(
                    tool, words, home=home, seconds=seconds, environment={"PATH": os.environ.get("PATH", "")}
                )
            except RpmTrouble as error:
                return ComputedLicense("", _line(error))
            if done.status != 0:
                why = why or _last(done.complaints)
                continue
            try:
                return ComputedLicense(
                    check_expression(_last(done.output)), f"go-vendor-tools with {detector}"
                )
            except BadLicense as error:
                return ComputedLicense("", f"go-vendor-tools with {detector}: {error}")
    return ComputedLicense("", f"no detector answered ({why})")


def compute_license_once(archive: Path, root: str, sha256: str) -> ComputedLicense:
    """Compute as ``compute_license`` does, and keep the answer beside the archive for later calls with the same sha256.

    It takes minutes, and several targets of a release want it. Raises OSError.
    """
    note = archive.with_name(f"{archive.name}.license.json")
    with suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["sha256"] == sha256:
            return ComputedLicense(str(known["expression"]), str(known["by"]))
    found = compute_license(archive, root, folder=archive.parent)
    if found.expression:
        text = json.dumps({"sha256": sha256, "expression": found.expression, "by": found.by})
        note.write_text(text, encoding="utf-8")
    return found


def _tool() -> str | None:
    """Return the command beside our own Python, else the one on PATH."""
    own = Path(sys.executable).parent / TOOL
    return str(own) if os.access(own, os.X_OK) else shutil.which(TOOL)


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join((lines[-1] if lines else "no reason given").split())[:400]


def _line(error: object) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
