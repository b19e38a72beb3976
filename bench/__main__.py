"""``python -m bench [part ...]``: run all parts of the table, or those named. Loopback only; each ends by itself."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable

from bench import diagnosis, koji, logs, pages, release, specs, way, webhook

PARTS: dict[str, Callable[[], None]] = {
    "webhook": webhook.run,
    "specs": specs.run,
    "pages": pages.run,
    "release": release.run,
    "koji": koji.run,
    "logs": logs.run,
    "diagnosis": diagnosis.run,
}
# They measure nothing beside a floor or a peer, so they run when they are named only.
BY_NAME: dict[str, Callable[[], None]] = {"way": way.run}


def main() -> int:
    """Run the parts and print one table. Status 2 for an unknown part."""
    wanted = sys.argv[1:] or list(PARTS)
    parts = PARTS | BY_NAME
    if unknown := [name for name in wanted if name not in parts]:
        print(f"bench: no part {', '.join(unknown)}; there are {', '.join(parts)}", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, load at the start {load:.1f}")
    for name in wanted:
        parts[name]()
    return 0


sys.exit(main())
