"""Describes a stand-in source archive: the versions and facts that decide its bytes, read from a release's row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sandbox.mirror.releases import NEWEST_NRI, NRI
from sandbox.store import Row


@dataclass(frozen=True)
class Contents:
    """What decides an archive's bytes. ``said_version`` differs from ``version`` only in a broken one."""

    version: str
    commit: str
    timestamp: int
    go: str
    wazero: str | None
    nri: str
    commands: tuple[str, ...]
    moved: int = 0
    said_version: str = ""
    traversal: bool = False


def contents(row: Row) -> Contents:
    """The contents that a release's row describes."""
    facts = json.loads(row["facts"])
    return Contents(
        version=row["tag"].removeprefix("v"),
        commit=row["commit_sha"],
        timestamp=int(datetime.fromisoformat(row["published_at"]).timestamp()),
        go=facts["go"],
        wazero=facts["wazero"],
        nri=NRI.get(row["stream"], NEWEST_NRI),
        commands=tuple(facts["commands"]),
        moved=row["moved"],
    )
