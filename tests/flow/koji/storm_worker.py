"""A worker for the storm: the real steps, adapter and database, and one source package for all builds.

Making source packages has tests of its own, and would take most of the storm's time.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from service.builds.claims import BuildWork, find_due
from service.domain.reports import Srpm
from service.domain.specs import SpecFile
from service.settings import load_settings
from workers.builds import steps
from workers.context import Context
from workers.packaging.preparation import Prepared

SRPM = Path(os.environ["CRYOPACK_TEST_SRPM"])


def ready_srpm(ctx: Context, work: BuildWork) -> Srpm:
    content = SRPM.read_bytes()
    return Srpm(SRPM, SRPM.name, hashlib.sha256(content).hexdigest(), len(content))


def prepare(ctx: Context, work: BuildWork) -> Prepared:
    return Prepared(SpecFile("storm.spec", "Name: storm\n", "0" * 64), ready_srpm(ctx, work), 1)


def main() -> None:
    """Take what is due, for ever; ends by being killed."""
    steps.prepare_srpm, steps.restore_srpm = prepare, ready_srpm
    context = Context.create(load_settings())
    # Imports and the first connection take longer than some lives.
    context.system("koji")
    find_due(context.db)
    print("ready", flush=True)
    while True:
        due = find_due(context.db)
        for build in due.builds:
            steps.advance(context, build)
        if not due.builds:
            time.sleep(0.02)


if __name__ == "__main__":
    main()
