"""A maintainer's own catalogue, to change and to break."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import service.catalog

BUILT_IN = Path(service.catalog.__file__).parent


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The folder of a copy of the built-in catalogue."""
    shutil.copytree(BUILT_IN, tmp_path / "own", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return tmp_path / "own"
