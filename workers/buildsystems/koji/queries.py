"""Asks a hub about tasks and the builds that they made: progress, tags, RPMs and logs; and finds tasks by their token.

Many tasks are read with one request, and a few more for those that have ended or have a build. No query needs a log-in
but the search, which reads the tasks of our account.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.domain.reports import BuildRef, BuildReport, PollProblem, Tagging, TagReport
from service.domain.states import BuildState
from workers.buildsystems import BuildSystemUnavailable, BuildVanished, timestamp
from workers.buildsystems.koji.client import Call, Kind, KojiClient, KojiTrouble
from workers.buildsystems.koji.nvr import call_for_winner, judge_winner
from workers.buildsystems.koji.reports import (
    BUILD_STATES,
    TOKEN,
    Build,
    Links,
    Task,
    Verdict,
    arch_task,
    is_scratch,
    is_task_id,
    judge_failure,
    metadata,
    report,
    rpm_addresses,
    state_of,
)

NVR_LENGTH = 200
_NVR = re.compile(r"[A-Za-z0-9][\w.+~^-]*-[\w.+~^]+-[\w.+~^]+", re.ASCII)
# Bytes of a log in one answer.
PIECE = 1024 * 1024
# Tasks in one answer of a search, and how many answers are read.
PAGE = 100
MAX_PAGES = 200
# Of several tasks under one token the finished one is kept, then a live one; a failed one only if it is alone.
RANK = {Task.CLOSED: 0, Task.OPEN: 1, Task.ASSIGNED: 1, Task.FREE: 1, Task.FAILED: 2, Task.CANCELED: 3}

Row = Mapping[str, Any]


def read_tasks(
    client: KojiClient, links: Links, refs: Sequence[BuildRef]
) -> dict[BuildRef, BuildReport | PollProblem]:
    """Read tasks and return the report of each. Raises KojiTrouble where the hub as a whole gives no answer."""
    answers: dict[BuildRef, BuildReport | PollProblem] = {}
    numbers: dict[BuildRef, int] = {}
    for ref in refs:
        if is_task_id(ref.external_id):
            numbers[ref] = int(ref.external_id)
        else:
            answers[ref] = PollProblem(f"'{ref.external_id[:40]}' is not the id of a Koji task")
    asked = [call for number in numbers.values() for call in _task_calls(number)]
    told = client.multicall(asked)
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


def _task_calls(number: int) -> list[Call]:
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
    """Return whether a task may have a build at the hub: a scratch task never, others after their source step."""
    begun = any(row.get("label") == "srpm" and state_of(row) is Task.CLOSED for row in children)
    return not is_scratch(task) and (begun or state_of(task) is Task.CLOSED)


def _verdicts(
    client: KojiClient, found: Mapping[BuildRef, tuple[Row, list[Row]]]
) -> tuple[dict[BuildRef, Verdict | PollProblem], dict[BuildRef, str]]:
    """Return how those tasks ended that have ended, and the NVRs of the tasks' builds.

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
    results = client.multicall(
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
    histories = client.multicall(
        [("queryHistory", (), {"tables": ["tag_listing"], "build": build["nvr"]}) for build in known.values()]
    )
    tags = dict(zip(known, histories, strict=True))
    for ref, build in builds.items():
        if isinstance(build, PollProblem):
            verdicts[ref] = build
        else:
            verdicts[ref] = _tagged_verdict(built[ref], build, targets[ref], tags[ref])
    return verdicts, {ref: nvr_of(build_of_task(task["id"], rows[ref])) for ref, task in named.items()}


def _winners(
    client: KojiClient,
    failed: Mapping[BuildRef, Row],
    results: Mapping[BuildRef, Any],
    verdicts: Mapping[BuildRef, Verdict | PollProblem],
) -> dict[BuildRef, Verdict | PollProblem]:
    """Return better verdicts on tasks that failed because somebody else's build has their name-version-release."""
    calls = {ref: call for ref in failed if (call := call_for_winner(results[ref])) is not None}
    answers = client.multicall(list(calls.values()))
    better: dict[BuildRef, Verdict | PollProblem] = {}
    for ref, winner in zip(calls, answers, strict=True):
        lost = verdicts[ref]
        if isinstance(winner, KojiTrouble):
            better[ref] = PollProblem(f"who has its name-version-release could not be read: {winner}")
        elif isinstance(lost, Verdict):
            better[ref] = judge_winner(failed[ref], lost, winner)
    return better


def build_of_task(number: int, rows: object) -> Row | None:
    """Return the build of a task out of the answer of ``listBuilds``; None where it has none, or none any more."""
    known = rows if isinstance(rows, list) else []
    ours = [row for row in known if isinstance(row, dict) and row.get("task_id") == number]
    return ours[-1] if ours else None


def nvr_of(build: Row | None) -> str:
    """Return the hub's NVR of a build; empty for a text that cannot be one."""
    told = build.get("nvr") if build is not None else None
    return told if isinstance(told, str) and len(told) <= NVR_LENGTH and _NVR.fullmatch(told) else ""


def _own_build(task: Row, rows: Any) -> Row | PollProblem:
    """Return the build that a closed task made: complete, and still this task's."""
    number = task["id"]
    if not isinstance(rows, list):
        return PollProblem(f"the build of task {number} could not be read: {rows}")
    build = build_of_task(number, rows)
    if build is None:
        return PollProblem(f"task {number} is closed, and the hub shows no build of it; looking again")
    if BUILD_STATES.get(build.get("state", -1)) is not Build.COMPLETE or not nvr_of(build):
        told = BUILD_STATES.get(build.get("state", -1), "unknown")
        return PollProblem(
            f"task {number} is closed, and its build {build.get('nvr')} is {told}; looking again"
        )
    return build


def _tagged_verdict(task: Row, build: Row, target: Any, history: Any) -> Verdict | PollProblem:
    """Return success if the target's tag was ever put on the build: tags move on, so the present ones prove nothing."""
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


def read_tags(client: KojiClient, refs: Sequence[BuildRef]) -> dict[BuildRef, TagReport | PollProblem]:
    """Read the tags, present and past, of the builds that tasks made, with two requests. Raises KojiTrouble."""
    answers: dict[BuildRef, TagReport | PollProblem] = {
        ref: PollProblem(f"'{ref.external_id[:40]}' is not the id of a Koji task") for ref in refs
    }
    numbers = {ref: int(ref.external_id) for ref in refs if is_task_id(ref.external_id)}
    told = client.multicall(
        [("getTaskInfo", (number,), {"request": True}) for number in numbers.values()]
        + [("listBuilds", (), {"taskID": number}) for number in numbers.values()]
    )
    tasks, rows = told[: len(numbers)], told[len(numbers) :]
    nvrs: dict[BuildRef, str] = {}
    for (ref, number), task, builds in zip(numbers.items(), tasks, rows, strict=True):
        found = _tagged_nvr(ref, number, task, builds)
        if isinstance(found, str):
            nvrs[ref] = found
        else:
            answers[ref] = found
    histories = client.multicall(
        [("queryHistory", (), {"tables": ["tag_listing"], "build": nvr}) for nvr in nvrs.values()]
    )
    for (ref, nvr), history in zip(nvrs.items(), histories, strict=True):
        answers[ref] = _taggings(ref, nvr, history)
    return answers


def _tagged_nvr(ref: BuildRef, number: int, task: Any, builds: Any) -> str | TagReport | PollProblem:
    """Return the NVR of the complete build that a task made, or the report or problem where it has none."""
    if isinstance(task, KojiTrouble) or not isinstance(builds, list):
        trouble = task if isinstance(task, KojiTrouble) else builds
        return PollProblem(f"the build of task {number} could not be read: {trouble}")
    build = build_of_task(number, builds)
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
        since, until = timestamp(row.get("create_ts")), timestamp(row.get("revoke_ts"))
        if since is None or (until is None and not row.get("active")):
            return PollProblem(f"the hub's answer about the tags of {nvr} has no times")
        taggings.append(Tagging(row["tag.name"], since, None if row.get("active") else until))
    return TagReport(ref, nvr, tuple(taggings))


def read_output(client: KojiClient, task: int, name: str, sink: Callable[[bytes], None]) -> None:
    """Read a file of a task's output and pass it to ``sink`` in pieces of at most ``PIECE`` bytes.

    Raises BuildVanished where the hub has no such file, BuildSystemUnavailable.
    """
    offset = 0
    while piece := _piece(client, task, name, offset):
        sink(piece)
        offset += len(piece)


def _piece(client: KojiClient, task: int, name: str, offset: int) -> bytes:
    """Return the next bytes of a task's output, none at its end."""
    try:
        told = client.call("downloadTaskOutput", task, name, offset=offset, size=PIECE)
        return base64.b64decode(told, validate=True)
    except KojiTrouble as error:
        kind = BuildVanished if error.kind is Kind.REFUSED else BuildSystemUnavailable
        raise kind(str(error)) from None
    except (TypeError, ValueError):
        raise BuildSystemUnavailable(f"the hub's answer about {name} of task {task} is no file") from None


def read_rpms(client: KojiClient, links: Links, number: int, chroot: str) -> tuple[str, ...]:
    """Return the addresses of the binary RPMs that a task built for a chroot, by the result of its child.

    Raises BuildVanished for a task that the hub does not know, KojiTrouble.
    """
    task, children, builds = client.multicall(
        [
            ("getTaskInfo", (number,), {"request": True}),
            ("getTaskChildren", (number,), {}),
            ("listBuilds", (), {"taskID": number}),
        ]
    )
    for answer in (task, children, builds):
        if isinstance(answer, KojiTrouble):
            raise answer
    if not isinstance(task, dict):
        raise BuildVanished(f"Koji does not know task {number} any more")
    child = arch_task([row for row in children if isinstance(row, dict)], chroot.rpartition("-")[2])
    if child is None:
        return ()
    (result,) = client.multicall([("getTaskResult", (child,), {"raise_fault": False})])
    if isinstance(result, KojiTrouble):
        if result.kind is Kind.REFUSED:
            return ()
        raise result
    kept = None if is_scratch(task) else next((row for row in builds if _is_complete(row, number)), None)
    return rpm_addresses(links, child, result, kept)


def _is_complete(row: object, task: int) -> bool:
    return (
        isinstance(row, dict)
        and row.get("task_id") == task
        and BUILD_STATES.get(row.get("state", -1)) is Build.COMPLETE
    )


def newest_task(client: KojiClient, user_id: int) -> int:
    """Return the id of this user's newest build task, 0 without one. Raises KojiTrouble."""
    rows = _page(client, user_id, limit=1, offset=0, decode=False)
    return int(rows[0]["id"]) if rows else 0


def search_tasks(client: KojiClient, user_id: int, token: str, after: int) -> list[int]:
    """Return the ids of this user's build tasks above ``after`` that carry the token, best first.

    Raises KojiTrouble.
    """
    found: dict[int, Row] = {}
    for page in range(MAX_PAGES):
        # New tasks push older ones towards later pages, so a shift repeats rows and hides none.
        rows = _page(client, user_id, limit=PAGE, offset=page * PAGE, decode=True)
        for row in rows:
            if row["id"] > after and metadata(row).get(TOKEN) == token:
                found[row["id"]] = row
        if len(rows) < PAGE or min(row["id"] for row in rows) <= after:
            return sorted(found, key=lambda number: _order(number, found[number]))
    raise KojiTrouble(
        Kind.UNCLEAR, f"more than {PAGE * MAX_PAGES} tasks since the submission; the search gave up"
    )


def _order(number: int, row: Row) -> tuple[int, int]:
    state = state_of(row)
    rank = RANK[state] if state is not None else 1
    # Somebody who submits a failed task again makes a new one with the same token, and that one counts.
    return rank, -number if rank > 1 else number


def _page(client: KojiClient, user_id: int, *, limit: int, offset: int, decode: bool) -> list[Row]:
    # Neither createdAfter, which has no index and is 40 times slower, nor a state: an ended task is found too.
    options = {"owner": user_id, "method": "build", **({"decode": True} if decode else {})}
    rows = client.call("listTasks", options, {"order": "-id", "limit": limit, "offset": offset})
    # An answer of another form must never look like an empty list, the proof that a task is not there.
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("id"), int) for row in rows
    ):
        raise KojiTrouble(Kind.UNCLEAR, "the hub's list of tasks has an unknown form")
    return rows
