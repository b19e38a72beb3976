"""``python -m bench [part ...]``: run all parts, or those named. Loopback only; each part ends by itself."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable

from bench import diagnosis, koji, logs, pages, release, specs, webhook

PARTS: dict[str, Callable[[], None]] = {
    "webhook": webhook.run,
    "specs": specs.run,
    "pages": pages.run,
    "release": release.run,
    "koji": koji.run,
    "logs": logs.run,
    "diagnosis": diagnosis.run,
}


def main() -> int:
    """Run the parts and print one table. Status 2 for an unknown part."""
    wanted = sys.argv[1:] or list(PARTS)
    if unknown := [name for name in wanted if name not in PARTS]:
        print(f"bench: no part {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, load at the start {load:.1f}")
    for name in wanted:
        PARTS[name]()
    return 0


sys.exit(main())
