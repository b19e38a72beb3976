"""Finding uploads again by their file names: the list of builds read backwards, to the fence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.domain.reports import Fence
from workers.buildsystems.copr.client import CoprClient
from workers.buildsystems.copr.exchange import CoprTrouble, Kind

PAGE = 50
# Pages share rows, so that a build deleted between two reads cannot hide another one.
OVERLAP = 5
MAX_PAGES = 40
# How far COPR's clock may be behind ours where only the time can tell old builds.
CLOCK_MARGIN = 3600.0
SOURCE_NAMES = (".src.rpm", ".nosrc.rpm")

Row = Mapping[str, Any]


def search_uploads(
    client: CoprClient, owner: str, project: str, ending: str, fence: Fence
) -> tuple[list[int], bool]:
    """Ids, lowest first, of builds made from a file whose name ends so, and whether every candidate was seen.

    Raises CoprTrouble where not even the first page can be read.
    """
    candidates, complete = _newer_builds(client, owner, project, fence)
    found: list[int] = []
    for number, row in candidates.items():
        name = _file_name(row)
        if name.endswith(ending):
            found.append(number)
        elif not name.endswith(SOURCE_NAMES):
            # No address yet, or one that names no upload: what the build was made from tells it for ever.
            try:
                complete = _configured_name(client, number, found, ending) and complete
            except CoprTrouble as error:
                # A build that is deleted meanwhile is none that could be adopted.
                complete = complete and error.kind is Kind.MISSING
    return sorted(found), complete


def _newer_builds(client: CoprClient, owner: str, project: str, fence: Fence) -> tuple[dict[int, Row], bool]:
    candidates: dict[int, Row] = {}
    seen: set[int] = set()
    sound = True
    for page in range(MAX_PAGES):
        try:
            rows = client.builds(owner, project, limit=PAGE, offset=page * (PAGE - OVERLAP))
        except CoprTrouble as error:
            if error.kind is Kind.MISSING:
                # Builds go with their project.
                return {}, True
            if page == 0:
                raise
            return candidates, False
        numbers = [row.get("id") for row in rows]
        known = {number for number in numbers if isinstance(number, int)}
        # A row without an id may be ours, and a page without a known row may have skipped some.
        sound = sound and len(known) == len(rows) and (page == 0 or not rows or bool(known & seen))
        seen |= known
        old = {row["id"] for row in rows if row.get("id") in known and _is_older(row, fence)}
        candidates |= {row["id"]: row for row in rows if row.get("id") in known - old}
        if old or len(rows) < PAGE:
            return candidates, sound
    return candidates, False


def _is_older(row: Row, fence: Fence) -> bool:
    """Whether a build was there before the fence. Ids only ever rise; times are for a fence without one."""
    newest = fence.get("newest_id")
    if isinstance(newest, int):
        return int(row["id"]) <= newest
    opened, submitted = fence.get("opened_at"), row.get("submitted_on")
    if not isinstance(opened, str) or not isinstance(submitted, (int, float)):
        return False
    return submitted < datetime.fromisoformat(opened).timestamp() - CLOCK_MARGIN


def _file_name(row: Row) -> str:
    source = row.get("source_package")
    url = source.get("url") if isinstance(source, Mapping) else None
    # Not parsed: a malformed address is one of the things that a foreign build may carry.
    return re.split(r"[?#]", url, maxsplit=1)[0].rpartition("/")[2] if isinstance(url, str) else ""


def _configured_name(client: CoprClient, number: int, found: list[int], ending: str) -> bool:
    """Add the build to ``found`` if it was made from such a file; whether the answer could be understood."""
    config = client.source_config(number)
    source = config.get("source_dict")
    if not isinstance(source, Mapping):
        return False
    if str(source.get("pkg") or "").endswith(ending):
        found.append(number)
    return True
