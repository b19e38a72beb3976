"""Where builds are on their way to users: their tags, present and past, of many builds with two requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.domain.reports import BuildRef, PollProblem, Tagging, TagReport
from workers.buildsystems import BuildSystemUnavailable
from workers.buildsystems.koji.client import KojiClient, Profile
from workers.buildsystems.koji.polls import is_number, nvr_of, own_row
from workers.buildsystems.koji.reports import is_scratch, time_of
from workers.buildsystems.koji.settings import KojiSettings
from workers.buildsystems.koji.states import BUILD_STATES, Build
from workers.buildsystems.koji.trouble import KojiTrouble

Answers = dict[BuildRef, TagReport | PollProblem]


class KojiTags:
    """The part of the adapter that reads tags; it needs no log-in."""

    _settings: KojiSettings

    def tags(self, refs: Sequence[BuildRef]) -> Mapping[BuildRef, TagReport | PollProblem]:
        """The tags of the builds that these tasks made. Raises BuildSystemUnavailable, NeedsPerson."""
        if not refs:
            return {}
        try:
            with KojiClient(
                Profile.read(self._settings), self._settings, self._settings.poll_timeout
            ) as client:
                return _read_tags(client, refs)
        except KojiTrouble as error:
            raise BuildSystemUnavailable(str(error)) from None


def _read_tags(client: KojiClient, refs: Sequence[BuildRef]) -> Answers:
    answers: Answers = {
        ref: PollProblem(f"'{ref.external_id[:40]}' is not the id of a Koji task") for ref in refs
    }
    numbers = {ref: int(ref.external_id) for ref in refs if is_number(ref.external_id)}
    told = client.many(
        [("getTaskInfo", (number,), {"request": True}) for number in numbers.values()]
        + [("listBuilds", (), {"taskID": number}) for number in numbers.values()]
    )
    tasks, rows = told[: len(numbers)], told[len(numbers) :]
    nvrs: dict[BuildRef, str] = {}
    for (ref, number), task, builds in zip(numbers.items(), tasks, rows, strict=True):
        found = _build(ref, number, task, builds)
        if isinstance(found, str):
            nvrs[ref] = found
        else:
            answers[ref] = found
    histories = client.many(
        [("queryHistory", (), {"tables": ["tag_listing"], "build": nvr}) for nvr in nvrs.values()]
    )
    for (ref, nvr), history in zip(nvrs.items(), histories, strict=True):
        answers[ref] = _taggings(ref, nvr, history)
    return answers


def _build(ref: BuildRef, number: int, task: Any, builds: Any) -> str | TagReport | PollProblem:
    """The name-version-release of the build that a task made, or what else is to be said of it."""
    if isinstance(task, KojiTrouble) or not isinstance(builds, list):
        trouble = task if isinstance(task, KojiTrouble) else builds
        return PollProblem(f"the build of task {number} could not be read: {trouble}")
    build = own_row(number, builds)
    if build is None:
        if isinstance(task, dict) and is_scratch(task):
            return TagReport(ref, over="a scratch build is never tagged")
        return PollProblem(f"the hub has no build of task {number}", vanished=task is None)
    nvr, state = nvr_of(build), BUILD_STATES.get(build.get("state", -1))
    if not nvr:
        return PollProblem(f"the hub's answer about the build of task {number} has no usable name")
    if state is Build.DELETED:
        return TagReport(ref, nvr, over=f"Koji has deleted {nvr}")
    if state is not Build.COMPLETE:
        return PollProblem(f"{nvr} is {state or 'in an unknown state'} at Koji")
    return nvr


def _taggings(ref: BuildRef, nvr: str, history: Any) -> TagReport | PollProblem:
    rows = history.get("tag_listing") if isinstance(history, dict) else None
    if not isinstance(rows, list):
        return PollProblem(f"the tags of {nvr} could not be read: {history}")
    taggings = []
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("tag.name"), str):
            return PollProblem(f"the hub's answer about the tags of {nvr} has an unknown form")
        since, until = time_of(row.get("create_ts")), time_of(row.get("revoke_ts"))
        if since is None or (until is None and not row.get("active")):
            return PollProblem(f"the hub's answer about the tags of {nvr} has no times")
        taggings.append(Tagging(row["tag.name"], since, None if row.get("active") else until))
    return TagReport(ref, nvr, tuple(taggings))
