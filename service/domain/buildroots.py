"""Reads the versions of a buildroot's tools (Go, linkers, libraries) from mock's root log. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from service.domain.versions import compare_versions

TOOLS = frozenset(
    {
        "golang", "golang-bin", "go-rpm-macros", "go-srpm-macros", "go-vendor-tools", "redhat-rpm-config",
        "binutils", "gcc", "lld", "mold", "glibc", "glibc-devel", "glibc-static", "rpm-build", "annobin-plugin-gcc",
        "gpgme-devel", "libseccomp-devel", "device-mapper-devel", "btrfs-progs-devel",
    }
)  # fmt: skip
"""Packages that decide how a Go program is compiled and linked, and the libraries that CRI-O links."""

_ARCH = r"(?:noarch|x86_64|aarch64|ppc64le|s390x|i686|armv7hl|riscv64)"
_VERSION = r"(?:\d+:)?[A-Za-z0-9._+~^]{1,60}-[A-Za-z0-9._+~^]{1,60}"
# A line of DNF's table (" golang  x86_64  1.26.6-2.fc44  fedora  1.2 MiB"), whatever mock wrote before it.
_TABLE = re.compile(rf"(?:^|\s)([a-z][a-z0-9+._-]*)\s+{_ARCH}\s+({_VERSION})\s+\S+", re.ASCII)
# A package by its whole name ("golang-1.26.6-2.fc44.x86_64"), as rpm -qa and DNF's summary have it.
_WHOLE = re.compile(
    rf"(?:^|[\s:])([a-z][a-z0-9+._-]*)-(\d[A-Za-z0-9._+~^]{{0,60}}-[A-Za-z0-9._+~^]{{1,60}})\.{_ARCH}(?:\s|$)",
    re.ASCII,
)
_LINE_READ = 400


def tool_versions(lines: Iterable[str]) -> dict[str, str]:
    """Return package to version-release (``1.26.6-2.fc44``) of those TOOLS that the lines name, sorted by package.

    Where a package is named more than once, the last line counts: updates come later in the log. At most
    400 characters of a line are read.
    """
    found: dict[str, str] = {}
    for line in lines:
        text = line[:_LINE_READ]
        match = _TABLE.search(text) or _WHOLE.search(text)
        if match is not None and match[1] in TOOLS:
            found[match[1]] = match[2].partition(":")[2] or match[2]
    return dict(sorted(found.items()))


def go_is_enough(tools: Mapping[str, str], needs: str) -> bool:
    """Whether ``tools`` (package to version-release) have a Go that a go.mod with the line ``go NEEDS`` accepts.

    False where either side is unknown.
    """
    has = tools.get("golang") or tools.get("golang-bin") or ""
    return bool(has and needs) and compare_versions(has.partition("-")[0], needs) >= 0
