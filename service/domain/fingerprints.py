"""Lines of an unknown failure, folded so that the same trouble looks the same on every branch, arch and day."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

FOLDED_LIMIT = 160
_ANSI = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]")
_FOLDS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Timestamps of mock, Koji, COPR and OBS before anything else, while their digits are still there.
        (r"^\[ {0,6}\d{1,7}s\] ", ""),
        (r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})?", "<time>"),
        (r"\b\d{1,2}:\d{2}:\d{2}(?:[.,]\d{1,9})?\b", "<time>"),
        (r"^(?:DEBUG|INFO|ERROR|WARNING) \w{1,30}\.py:\d{1,6}: {1,4}", ""),
        (r"https?://[^\s'\")]{1,300}", "<url>"),
        (r"\brpm-tmp\.\w{1,20}", "rpm-tmp.<x>"),
        (r"\bgo-(?:link|build)-?\d{1,20}", "go-<x>"),
        (r"(?<![\w.])/(?:[\w.+@~%-]{1,100}/){1,40}", "<dir>/"),
        (r"\b(?:x86_64|aarch64|ppc64le|s390x|riscv64|i686|amd64|arm64|noarch)\b", "<arch>"),
        (r"\.(?:fc|el|eln)\d{1,3}\b", ".<dist>"),
        (r"\b0x[0-9a-fA-F]{1,40}\b", "<hex>"),
        (r"\b[0-9a-f]{12,64}\b", "<hex>"),
        (r"\bv?\d{1,6}(?:[.~^-]\d{1,8}){1,6}\w{0,20}", "<version>"),
        (r"\d{1,20}", "<n>"),
        (r"[ \t]{1,200}", " "),
    )
)


def bare(line: str) -> str:
    """One line without colours and other control characters, for people."""
    return "".join(c if c.isprintable() else " " for c in _ANSI.sub("", line[:1000])).strip()


def fold(line: str) -> str:
    """One line without colours, times, paths, versions, numbers and architectures."""
    text = bare(line)
    for pattern, replacement in _FOLDS:
        text = pattern.sub(replacement, text)
    return text.strip()[:FOLDED_LIMIT]


def fingerprint(section: str, lines: Iterable[str]) -> str:
    """The name of a cluster: 16 hex digits over the failed section and the folded lines without their repeats."""
    folded = sorted({fold(line) for line in lines} - {""})
    digest = hashlib.sha256("\n".join([section, *folded]).encode("utf-8", "replace"))
    return digest.hexdigest()[:16]
