"""Tells from a Koji build's tags how far it has been shipped: candidate, testing or stable. Pure.

Fedora's update system moves a build from tag to tag: what was built is a candidate, an update makes it a candidate
for users who test, and a push makes it stable. A build may step back: an update that is unpushed from testing is a
candidate again, and one that is obsoleted loses its tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from service.domain.errors import BadName
from service.domain.reports import TagReport


class Stage(StrEnum):
    """How far a build has been shipped; ascending."""

    CANDIDATE = "candidate"
    TESTING = "testing"
    STABLE = "stable"


_ORDER = tuple(Stage)


@dataclass(frozen=True)
class StageTags:
    """Which tags of a build system mean which stage. Raises BadName for a tag that means two."""

    tags: Mapping[Stage, tuple[str, ...]]

    def __post_init__(self) -> None:
        names = [tag for stage in _ORDER for tag in self.tags.get(stage, ())]
        twice = sorted({tag for tag in names if names.count(tag) > 1})
        if twice:
            raise BadName(f"the tag {twice[0]} means two stages")

    def stage_of(self, tag: str) -> Stage | None:
        """Return the stage that a tag means, or None."""
        return next((stage for stage in _ORDER if tag in self.tags.get(stage, ())), None)

    def as_json(self) -> dict[str, list[str]]:
        """Return the form in which a build keeps it; ``from_json`` reads it."""
        return {stage.value: list(tags) for stage, tags in self.tags.items()}

    @classmethod
    def from_json(cls, value: object) -> StageTags | None:
        """Read what ``as_json`` made; None for anything else."""
        if not isinstance(value, dict):
            return None
        return cls({Stage(name): tuple(map(str, tags)) for name, tags in value.items()})


def fedora_tags(number: int) -> StageTags:
    """Return the tags of Fedora ``number`` at Koji, as Bodhi moves builds between them.

    A build that waits for its signature is still a candidate; one that waits for the next push to testing, or to
    stable, counts as testing. The next Fedora has no updates yet: there a build is stable as soon as it has the tag
    of the whole version.
    """
    updates = f"f{number}-updates"
    return StageTags(
        {
            Stage.CANDIDATE: (f"{updates}-candidate", f"f{number}-signing-pending"),
            Stage.TESTING: (f"{updates}-testing", f"{updates}-testing-pending", f"{updates}-pending"),
            Stage.STABLE: (updates, f"f{number}"),
        }
    )


@dataclass(frozen=True)
class Shipping:
    """How far a build has been shipped. ``since`` is the build system's own time; None without a stage.

    ``ended``: nothing more is expected. ``text`` says what was seen, in one line.
    """

    stage: Stage | None
    since: datetime | None
    ended: bool
    text: str


def judge_tags(report: TagReport, stages: StageTags, *, now: datetime, grace: timedelta) -> Shipping:
    """Judge from its tags how far a build has been shipped. Times are in UTC.

    One that has had no tag at all for longer than ``grace`` is not looked at any more.
    """
    if report.over:
        return Shipping(None, None, ended=True, text=report.over)
    present = [one for one in report.taggings if one.until is None]
    placed = [(stage, one) for one in present if (stage := stages.stage_of(one.tag)) is not None]
    if placed:
        stage = max((stage for stage, _ in placed), key=_ORDER.index)
        taggings = sorted((one for known, one in placed if known is stage), key=lambda one: one.since)
        since = taggings[0].since
        tags = _names(one.tag for one in taggings)
        text = f"{report.nvr} is {stage}: tagged {tags} since {since:%Y-%m-%d %H:%M} UTC"
        return Shipping(stage, since, ended=stage is Stage.STABLE, text=text)
    if present:
        tags = _names(one.tag for one in present)
        return Shipping(None, None, ended=False, text=f"{report.nvr} is tagged {tags}, which is no stage")
    left = max((one.until for one in report.taggings if one.until is not None), default=None)
    if left is None:
        return Shipping(None, None, ended=False, text=f"{report.nvr} has no tag yet")
    ended = now - left > grace
    why = "its update was obsoleted, or somebody took the tag away" if ended else "looking again"
    text = f"{report.nvr} has no tag any more since {left:%Y-%m-%d %H:%M} UTC: {why}"
    return Shipping(None, None, ended=ended, text=text)


def _names(tags: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(tags))


def next_look(now: datetime, moved_at: datetime, *, shortest: timedelta, longest: timedelta) -> timedelta:
    """Return the time until the next look: a 24th of the time since the last move, within the two bounds."""
    return min(max((now - moved_at) / 24, shortest), longest)
