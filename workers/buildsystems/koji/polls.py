"""Reading many tasks of one hub: one request, and more only for those that have ended or have a build."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from service.domain.reports import BuildRef, BuildReport, PollProblem
from service.domain.states import BuildState
from workers.buildsystems.koji.client import KojiClient
from workers.buildsystems.koji.reports import Links, Verdict, is_scratch, judge_failure, report, state_of
from workers.buildsystems.koji.scm import asks_for_winner, judge_winner
from workers.buildsystems.koji.states import BUILD_STATES, Build, Task
from workers.buildsystems.koji.trouble import Kind, KojiTrouble

Row = Mapping[str, Any]
NVR_LENGTH = 200
_NVR = re.compile(r"[A-Za-z0-9][\w.+~^-]*-[\w.+~^]+-[\w.+~^]+", re.ASCII)
Answers = dict[BuildRef, BuildReport | PollProblem]


def is_number(text: str) -> bool:
    """Whether an external id can be a task's."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def read_tasks(client: KojiClient, links: Links, refs: Sequence[BuildRef]) -> Answers:
    """Every ref with what the hub says of it. Raises KojiTrouble where the hub as a whole gives no answer."""
    answers: Answers = {}
    numbers: dict[BuildRef, int] = {}
    for ref in refs:
        if is_number(ref.external_id):
            numbers[ref] = int(ref.external_id)
        else:
            answers[ref] = PollProblem(f"'{ref.external_id[:40]}' is not the id of a Koji task")
    asked = [call for number in numbers.values() for call in _task_calls(number)]
    told = client.many(asked)
    found: dict[BuildRef, tuple[Row, list[Row]]] = {}
    for place, (ref, number) in enumerate(numbers.items()):
        task, children = told[2 * place], told[2 * place + 1]
        problem = _problem(number, task, children)
        if problem is None:
            found[ref] = (task, [row for row in children if isinstance(row, dict)])
        else:
            answers[ref] = problem
    verdicts, names = _verdicts(client, found)
    for ref, (task, children) in found.items():
        verdict = verdicts.get(ref)
        answers[ref] = (
            verdict
            if isinstance(verdict, PollProblem)
            else report(ref, task, children, links, verdict, nvr=names.get(ref, ""))
        )
    return answers


def _task_calls(number: int) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    return [("getTaskInfo", (number,), {"request": True}), ("getTaskChildren", (number,), {})]


def _problem(number: int, task: Any, children: Any) -> PollProblem | None:
    if isinstance(task, KojiTrouble) or isinstance(children, KojiTrouble):
        return PollProblem(
            f"task {number} could not be read: {task if isinstance(task, KojiTrouble) else children}"
        )
    if task is None:
        return PollProblem(f"the hub has no task {number}", vanished=True)
    if not isinstance(task, dict) or task.get("id") != number or not isinstance(children, list):
        return PollProblem(f"the hub's answer about task {number} is about something else")
    if task.get("method") != "build":
        return PollProblem(f"task {number} is no build but '{str(task.get('method'))[:40]}'")
    return None


def _has_build(task: Row, children: Sequence[Row]) -> bool:
    """Whether a task may have a build at the hub by now: not before its source step is over, and never of scratch."""
    begun = any(row.get("label") == "srpm" and state_of(row) is Task.CLOSED for row in children)
    return not is_scratch(task) and (begun or state_of(task) is Task.CLOSED)


def _verdicts(
    client: KojiClient, found: Mapping[BuildRef, tuple[Row, list[Row]]]
) -> tuple[dict[BuildRef, Verdict | PollProblem], dict[BuildRef, str]]:
    """How those tasks ended that have, and what the hub calls their builds.

    Failed ones are judged by their result, real builds by their build and its tags.
    """
    verdicts: dict[BuildRef, Verdict | PollProblem] = {}
    tasks = {ref: task for ref, (task, _) in found.items()}
    named = {ref: task for ref, (task, children) in found.items() if _has_build(task, children)}
    failed = {ref: task for ref, task in tasks.items() if state_of(task) is Task.FAILED}
    built: dict[BuildRef, Row] = {}
    for ref, task in tasks.items():
        if state_of(task) is Task.CLOSED:
            if is_scratch(task):
                verdicts[ref] = Verdict(BuildState.SUCCEEDED.value)
            else:
                built[ref] = task
    results = client.many(
        [("getTaskResult", (task["id"],), {"raise_fault": False}) for task in failed.values()]
        + [("listBuilds", (), {"taskID": task["id"]}) for task in named.values()]
        + [("getBuildTarget", (task["request"][1],), {}) for task in built.values()]
    )
    for (ref, task), result in zip(failed.items(), results, strict=False):
        if isinstance(result, KojiTrouble) and result.kind is not Kind.REFUSED:
            verdicts[ref] = PollProblem(f"the result of task {task['id']} could not be read: {result}")
        else:
            verdicts[ref] = judge_failure({} if isinstance(result, KojiTrouble) else result)
    verdicts |= _winners(client, failed, dict(zip(failed, results, strict=False)), verdicts)
    first, second = len(failed), len(failed) + len(named)
    rows = dict(zip(named, results[first:second], strict=True))
    targets = dict(zip(built, results[second:], strict=True))
    builds = {ref: _own_build(built[ref], rows[ref]) for ref in built}
    known = {ref: build for ref, build in builds.items() if not isinstance(build, PollProblem)}
    histories = client.many(
        [("queryHistory", (), {"tables": ["tag_listing"], "build": build["nvr"]}) for build in known.values()]
    )
    tags = dict(zip(known, histories, strict=True))
    for ref, build in builds.items():
        if isinstance(build, PollProblem):
            verdicts[ref] = build
        else:
            verdicts[ref] = _complete(built[ref], build, targets[ref], tags[ref])
    return verdicts, {ref: nvr_of(own_row(task["id"], rows[ref])) for ref, task in named.items()}


def _winners(
    client: KojiClient,
    failed: Mapping[BuildRef, Row],
    results: Mapping[BuildRef, Any],
    verdicts: Mapping[BuildRef, Verdict | PollProblem],
) -> dict[BuildRef, Verdict | PollProblem]:
    """Better verdicts on tasks that failed because somebody else's build has their name-version-release."""
    calls = {ref: call for ref in failed if (call := asks_for_winner(results[ref])) is not None}
    answers = client.many(list(calls.values()))
    better: dict[BuildRef, Verdict | PollProblem] = {}
    for ref, winner in zip(calls, answers, strict=True):
        lost = verdicts[ref]
        if isinstance(winner, KojiTrouble):
            better[ref] = PollProblem(f"who has its name-version-release could not be read: {winner}")
        elif isinstance(lost, Verdict):
            better[ref] = judge_winner(failed[ref], lost, winner)
    return better


def own_row(number: int, rows: object) -> Row | None:
    """The build of a task among what ``listBuilds`` told; None where it has none, or none any more."""
    known = rows if isinstance(rows, list) else []
    ours = [row for row in known if isinstance(row, dict) and row.get("task_id") == number]
    return ours[-1] if ours else None


def nvr_of(build: Row | None) -> str:
    """What the hub calls a build; empty for what cannot be the name of one."""
    told = build.get("nvr") if build is not None else None
    return told if isinstance(told, str) and len(told) <= NVR_LENGTH and _NVR.fullmatch(told) else ""


def _own_build(task: Row, rows: Any) -> Row | PollProblem:
    """The build that a closed task made: complete, and still this task's."""
    number = task["id"]
    if not isinstance(rows, list):
        return PollProblem(f"the build of task {number} could not be read: {rows}")
    build = own_row(number, rows)
    if build is None:
        return PollProblem(f"task {number} is closed, and the hub shows no build of it; looking again")
    if BUILD_STATES.get(build.get("state", -1)) is not Build.COMPLETE or not nvr_of(build):
        told = BUILD_STATES.get(build.get("state", -1), "unknown")
        return PollProblem(
            f"task {number} is closed, and its build {build.get('nvr')} is {told}; looking again"
        )
    return build


def _complete(task: Row, build: Row, target: Any, history: Any) -> Verdict | PollProblem:
    """Success, if the target's tag was ever put on the build: tags move on, so the present ones prove nothing."""
    if not isinstance(history, dict) or not isinstance(history.get("tag_listing"), list):
        return PollProblem(f"the tags of {build['nvr']} could not be read: {history}")
    rows = [row for row in history["tag_listing"] if isinstance(row, dict)]
    ever = {str(row.get("tag.name")) for row in rows}
    now = {str(row.get("tag.name")) for row in rows if row.get("active")}
    wanted = target.get("dest_tag_name") if isinstance(target, dict) else None
    skipped = bool(task["request"][2].get("skip_tag")) if len(task["request"]) > 2 else False
    if not skipped and (wanted not in ever if wanted else not ever):
        return PollProblem(
            f"{build['nvr']} is complete, and was never tagged {wanted or 'at all'}; looking again"
        )
    facts = {
        "koji_build": str(build.get("build_id")),
        "tags": " ".join(sorted(now)),
    }
    return Verdict(BuildState.SUCCEEDED.value, tagged=True, facts=facts)
