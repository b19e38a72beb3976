"""A name-version-release exists once at a hub, for ever: what the one that we want means before we build it."""

from __future__ import annotations

from typing import Any

from workers.buildsystems import SubmissionRefused
from workers.buildsystems.koji_client import KojiClient
from workers.buildsystems.koji_states import BUILD_STATES, Build
from workers.buildsystems.koji_trouble import Kind, KojiTrouble


def check_nvr(client: KojiClient, nvr: str, source: str) -> int | None:
    """The task of a build that is already what we want, or None where the way is free.

    The same commit, complete or being built, is adopted, whoever asked for it. A failed or cancelled build is made
    again by Koji under the same id. Anything else has taken the name: SubmissionRefused says what to do. Without an
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
        raise SubmissionRefused(
            f"Koji had a build {nvr} and has deleted it; the name is used up: raise the release"
        )
    return _adoptable(build, nvr, source, state)


def _adoptable(build: dict[str, Any], nvr: str, source: str, state: Build) -> int:
    task, made_from = build.get("task_id"), build.get("source")
    if made_from != source:
        raise SubmissionRefused(
            f"Koji has {nvr} already ({state}), made from {str(made_from)[:200]}; raise the release to build {source}"
        )
    if not isinstance(task, int):
        raise SubmissionRefused(
            f"Koji has {nvr} already ({state}), imported without a task: there is nothing to build"
        )
    return task
