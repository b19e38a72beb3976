"""Decides what to do where Koji has the name-version-release (NVR) of our build already: adopt, follow, or refuse.

An NVR exists once at a hub, for ever. It may be there before we ask for our build, or somebody else may win the race
after that: then Koji ends our task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from service.domain.states import BuildState
from workers.buildsystems import NameTaken
from workers.buildsystems.koji.client import Call, Kind, KojiClient, KojiTrouble
from workers.buildsystems.koji.reports import BUILD_STATES, Build, Verdict

_SOURCE = re.compile(
    r"git\+[a-z+]+://(?:[^/@]*@)?(?P<place>[^?#]+?)(?:\.git)?/?(?:\?[^#]*)?#(?P<commit>[0-9a-f]{7,64})"
)
_IN_PROGRESS = re.compile(r"Build already in progress \(task (\d{1,18})\)")
_EXISTS = re.compile(r"Build already exists \(id=(\d{1,18}), state=\w+\)")


def same_source(one: object, other: str) -> bool:
    """Return whether two source addresses name one commit of one repository; fedpkg writes ``.git``, we do not."""
    if one == other:
        return True
    first, second = (_SOURCE.fullmatch(text if isinstance(text, str) else "") for text in (one, other))
    return first is not None and second is not None and first.groups() == second.groups()


def check_nvr(client: KojiClient, nvr: str, source: str) -> int | None:
    """Return the task of a build of this commit under this NVR, or None where the NVR is free.

    The same commit, complete or being built, is adopted, no matter who asked for it. A failed or cancelled build is
    made again by Koji under the same id. Any other build has taken the name: NameTaken says what to do. Without an
    ``nvr`` nothing is asked, and Koji's own answer comes with the task's end. Raises KojiTrouble.
    """
    if not nvr:
        return None
    build = client.call("getBuild", nvr)
    if build is None:
        return None
    if not isinstance(build, dict):
        raise KojiTrouble(Kind.UNCLEAR, f"the hub's answer about {nvr} has an unknown form")
    state = BUILD_STATES.get(build.get("state", -1))
    if state in (Build.FAILED, Build.CANCELED):
        return None
    if state not in (Build.COMPLETE, Build.BUILDING):
        raise NameTaken(f"Koji had a build {nvr} and has deleted it; the name is used up: raise the release")
    return _adoptable(build, nvr, source, state)


def _adoptable(build: dict[str, Any], nvr: str, source: str, state: Build) -> int:
    task, made_from = build.get("task_id"), build.get("source")
    if not same_source(made_from, source):
        raise NameTaken(
            f"Koji has {nvr} already ({state}), made from {str(made_from)[:200]}; raise the release to build {source}"
        )
    if not isinstance(task, int):
        raise NameTaken(
            f"Koji has {nvr} already ({state}), imported without a task: there is nothing to build"
        )
    return task


def call_for_winner(result: object) -> Call | None:
    """Return the call that reads who has the NVR that a failed task did not get; None where it failed otherwise."""
    told = str(result.get("faultString") or "") if isinstance(result, dict) else ""
    building, exists = _IN_PROGRESS.match(told), _EXISTS.match(told)
    if building is not None:
        return "getTaskInfo", (int(building[1]),), {"request": True}
    return ("getBuild", (int(exists[1]),), {}) if exists is not None else None


def judge_winner(task: Mapping[str, Any], lost: Verdict, winner: object) -> Verdict:
    """Return how a task ended whose NVR somebody else has: the same commit is followed, another one is the reason.

    ``winner`` is the answer to ``call_for_winner``, ``lost`` the verdict without it.
    """
    if not isinstance(winner, dict):
        return lost
    request, ours = winner.get("request"), task.get("request")
    by_task = isinstance(request, list) and bool(request)
    made_from = request[0] if isinstance(request, list) and request else winner.get("source")
    number = winner.get("id") if by_task else winner.get("task_id")
    source = str(ours[0]) if isinstance(ours, list) and ours else ""
    if isinstance(number, int) and number != task.get("id") and same_source(made_from, source):
        return Verdict("", f"task {number} has the same commit and was there first", instead=number)
    who = f"task {number}" if isinstance(number, int) else "an imported build"
    return Verdict(BuildState.ERRORED.value, f"{lost.reason}; {who} has it, made from {str(made_from)[:200]}")
