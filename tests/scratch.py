"""Where tests keep their files: in memory where there is room, because a database a test is mostly files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
# The largest share is Go's: programs that are compiled below a test's own folder.
ROOM = 4 * 1024**3


def in_memory(folder: Path = MEMORY, room: int = ROOM) -> bool:
    """Whether ``folder`` can hold the tests' files: it is there, large enough, and lets programs run.

    A container's own is small and forbids programs, unless its owner has asked for another one.
    """
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    usable = os.access(folder, os.W_OK) and not found.f_flag & os.ST_NOEXEC
    return usable and found.f_bavail * found.f_frsize >= room


def use_memory() -> None:
    """Let this process and those that it starts keep temporary files in memory.

    What the tests' own environment says goes before it. A kill takes nothing that was written; only a power cut would,
    and no test makes one.
    """
    if "TMPDIR" not in os.environ and in_memory():
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None
