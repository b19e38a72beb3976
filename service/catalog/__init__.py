"""The catalogue: which families, branches, targets, strategies, workarounds and diagnoses there are, as data.

The data lie beside the code; a directory of the same shape (the setting CATALOG_DIR) replaces them whole.
"""

from __future__ import annotations

from service.catalog.files import load, validate
from service.catalog.model import (
    Catalog,
    Packaging,
    Strategy,
    StreamRange,
    Template,
    ToolchainFact,
    Workaround,
)

__all__ = [
    "Catalog",
    "Packaging",
    "Strategy",
    "StreamRange",
    "Template",
    "ToolchainFact",
    "Workaround",
    "load",
    "validate",
]
