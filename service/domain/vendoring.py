"""What a source vendors, as its vendor/modules.txt says. Pure."""

from __future__ import annotations

import re

MODULES_LIMIT = 2000
_VERSION = re.compile(r"v\d[A-Za-z0-9.+-]{0,99}", re.ASCII)


def vendored_modules(text: str) -> dict[str, str]:
    """Every module of vendor/modules.txt and its version; of a replaced one the version that replaces it.

    At most MODULES_LIMIT of them, each name cut at 200 letters: what a source says must not fill a row.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 or words[0] != "#" or words[2] == "=>" or len(found) >= MODULES_LIMIT:
            continue
        version = words[-1] if "=>" in words and len(words) > 5 else words[2]
        if _VERSION.fullmatch(version):
            found[words[1][:200]] = version
    return found
