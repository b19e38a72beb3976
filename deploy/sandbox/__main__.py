"""Runs the sandbox's command for ``python deploy/sandbox`` and ``python -m sandbox`` alike."""

import runpy
import sys
from pathlib import Path

# Started by its folder, Python puts the folder itself on the path, where this package has no name.
if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

runpy.run_module("sandbox.command", run_name="__main__")
