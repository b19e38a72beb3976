"""List the files of ours that one release runs through: from its webhook to the dashboard, in one process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
WALK = ROOT / "tests" / "flow" / "test_the_way.py"
OURS = tuple(f"{ROOT / folder}/" for folder in ("service", "workers"))
# What runs while a module is imported is no function on the way, nor is a comprehension apart from its function.
NO_FUNCTIONS = frozenset({"<module>", "<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>"})
CO_OPTIMIZED = 0x1
"""Set in the code of functions, and not in that of class bodies (the module ``inspect`` documents it)."""


class Tracer:
    """A plugin of pytest that notes the files in which a function runs during a test's call, in every thread.

    Threads take the profile function when they start, so it is set before fixtures start any; it notes nothing before
    the call and after it, so that start-up and shut-down do not count.
    """

    def __init__(self) -> None:
        self.files: set[str] = set()
        self._calling = False

    def pytest_configure(self) -> None:
        """Have each thread that starts from now on traced."""
        threading.setprofile(self._note)

    def pytest_unconfigure(self) -> None:
        """Trace no more threads."""
        threading.setprofile(None)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        """Note what runs while the test's own function does."""
        self._calling = True
        sys.setprofile(self._note)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            self._calling = False

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if (
            self._calling
            and event == "call"
            and code.co_flags & CO_OPTIMIZED
            and code.co_name not in NO_FUNCTIONS
            # Compiled templates name their HTML file as their code's file.
            and code.co_filename.endswith(".py")
            and code.co_filename.startswith(OURS)
        ):
            self.files.add(code.co_filename)


def run() -> None:
    """Walk a release once and print the files and their number. Raises RuntimeError where the walk failed."""
    tracer = Tracer()
    status = pytest.main(["-q", "-p", "no:cacheprovider", str(WALK)], plugins=[tracer])
    if status != pytest.ExitCode.OK:
        raise RuntimeError("the walk itself failed, so that its files are not all of them")
    names = sorted(Path(file).relative_to(ROOT).as_posix() for file in tracer.files)
    print("\n## The way of a release\n")
    print("\n".join(names))
    print(f"\n{len(names)} files in which a function ran")
