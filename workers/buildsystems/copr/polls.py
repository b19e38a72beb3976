"""Reading many builds of one project: one list, and more only for builds that have news."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.domain.reports import BuildRef, BuildReport, PollProblem
from workers.buildsystems.copr.client import CoprClient
from workers.buildsystems.copr.exchange import CoprTrouble, Kind
from workers.buildsystems.copr.reports import asks_chroots, asks_source, report

PAGE = 100
MAX_PAGES = 5
# So many answers in a row that are no answers mean that COPR is in trouble, not the builds.
PATIENCE = 3

Row = Mapping[str, Any]


def read_builds(
    client: CoprClient, owner: str, project: str, refs: Sequence[BuildRef]
) -> dict[BuildRef, BuildReport | PollProblem]:
    """Every ref with what COPR says of it. Raises CoprTrouble where the list cannot be read."""
    answers: dict[BuildRef, BuildReport | PollProblem] = {}
    numbers: dict[BuildRef, int] = {}
    for ref in refs:
        if ref.external_id.isascii() and ref.external_id.isdigit():
            numbers[ref] = int(ref.external_id)
        else:
            answers[ref] = PollProblem(f"'{ref.external_id[:40]}' is not the id of a COPR build")
    listed = _listed(client, owner, project, set(numbers.values())) if numbers else {}
    silent = 0
    for ref, number in numbers.items():
        if silent >= PATIENCE or client.seconds_left <= 0:
            why = f"build {number} was not read in this round: COPR hardly answers"
            answers[ref] = PollProblem(why, unread=True)
            continue
        try:
            answers[ref] = _read(client, ref, number, listed.get(number))
            silent = 0
        except CoprTrouble as error:
            silent += 1
            answers[ref] = PollProblem(f"build {number} could not be read: {error}")
    return answers


def _listed(client: CoprClient, owner: str, project: str, wanted: set[int]) -> dict[int, Row]:
    """The wanted builds that are on the newest pages; odd rows are left for a look at the build itself."""
    found: dict[int, Row] = {}
    for page in range(MAX_PAGES):
        missing = wanted - found.keys()
        # A page costs about as much as a few single reads, so pages must stay fewer than those.
        if not missing or (page and page >= len(missing)):
            break
        try:
            rows = client.builds(owner, project, limit=PAGE, offset=page * PAGE)
        except CoprTrouble as error:
            if error.kind is Kind.MISSING or page:
                break
            raise
        numbers = {row["id"]: row for row in rows if isinstance(row.get("id"), int)}
        found |= {number: numbers[number] for number in missing & numbers.keys()}
        if len(rows) < PAGE or (numbers and min(numbers) <= min(missing)):
            break
    return found


def _read(client: CoprClient, ref: BuildRef, number: int, build: Row | None) -> BuildReport | PollProblem:
    if build is None or not isinstance(build.get("state"), str):
        try:
            build = client.build(number)
        except CoprTrouble as error:
            if error.kind is Kind.MISSING:
                return PollProblem(str(error), vanished=True)
            raise
    if build.get("id") != number:
        return PollProblem(f"COPR's answer about build {number} is about something else")
    chroots = client.build_chroots(number) if asks_chroots(build) else None
    source = None
    if chroots is not None and asks_source(build, chroots):
        source = _source(client, number)
    return report(ref, build, chroots, source)


def _source(client: CoprClient, number: int) -> Row | None:
    try:
        return client.source_chroot(number)
    except CoprTrouble:
        # COPR answers 500 until the source step has run; the chroots alone must do then.
        return None
