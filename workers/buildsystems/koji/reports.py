"""One Koji task with its children becomes one of our reports. Pure; odd data become a PollProblem.

The parent alone decides when a build has ended: its children may fail and be made again with a restarted parent,
and between the last architecture and the tag all of them are closed although the build is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from service.domain.reports import BuildRef, BuildReport, ChrootReport, PollProblem
from service.domain.states import BuildState, ChrootState
from workers.buildsystems.koji.states import (
    CHROOT_STATES,
    ENDED_TASK,
    NOT_THE_PACKAGE,
    PACKAGE_FAULTS,
    TASK_STATES,
    Task,
)
from workers.buildsystems.koji.trouble import one_line

Row = Mapping[str, Any]

TOKEN = "cryopack_submission"
CHROOTS = "cryopack_chroots"
EXCLUDED = "excluded by ExcludeArch or ExclusiveArch"
FOR_ALL = "noarch"
SIBLING = "canceled by Koji: another architecture failed, or the build was canceled"


@dataclass(frozen=True)
class Links:
    """Where a hub shows its tasks and their files; ``topurl`` may be empty."""

    weburl: str
    topurl: str

    def task(self, number: int) -> str:
        return f"{self.weburl}/taskinfo?taskID={number}" if self.weburl else ""

    def log(self, number: int, name: str) -> str:
        parts = (self.topurl, "work", "tasks", str(number % 10000), str(number), name)
        return "/".join(parts) if self.topurl else ""


@dataclass(frozen=True)
class Verdict:
    """How a closed or failed task really ended; an empty ``ended`` means that more has to be seen first.

    ``instead`` is the task of somebody else that makes the same build; ours gave way to it.
    """

    ended: str
    reason: str = ""
    tagged: bool = False
    instead: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def metadata(task: Row) -> Row:
    """What we wrote into a task's request; empty where it is not ours. Its request may be anything."""
    request = task.get("request")
    options = request[2] if isinstance(request, list) and len(request) > 2 else None
    told = options.get("custom_user_metadata") if isinstance(options, dict) else None
    return told if isinstance(told, dict) else {}


def is_scratch(task: Row) -> bool:
    """Whether the task makes no build that stays."""
    request = task.get("request")
    options = request[2] if isinstance(request, list) and len(request) > 2 else None
    return isinstance(options, dict) and bool(options.get("scratch"))


def state_of(task: Row) -> Task | None:
    """The task's state, or None for one that nobody knows."""
    number = task.get("state")
    return TASK_STATES.get(number) if isinstance(number, int) and not isinstance(number, bool) else None


def judge_failure(result: object) -> Verdict:
    """A failed task: the package's fault only where its builder says so, and never where a machine broke off."""
    code = result.get("faultCode") if isinstance(result, dict) else None
    told = one_line(str(result.get("faultString") or "")) if isinstance(result, dict) else ""
    told = told or "Koji gives no reason"
    if code in PACKAGE_FAULTS and not any(text in told for text in NOT_THE_PACKAGE):
        return Verdict(BuildState.FAILED.value, told)
    if told.startswith(("Build already exists", "Build already in progress")):
        head = told.split(": {", 1)[0]
        return Verdict(
            BuildState.ERRORED.value,
            f"{head}; its name-version-release is taken: raise the release, or keep that build",
        )
    return Verdict(
        BuildState.ERRORED.value,
        f"not the package's fault, as far as Koji tells: {told}; retry when it is mended",
    )


def report(
    ref: BuildRef,
    task: Row,
    children: Sequence[Row],
    links: Links,
    verdict: Verdict | None = None,
    *,
    nvr: str = "",
) -> BuildReport | PollProblem:
    """A report from a task and its children. ``verdict`` says how a closed or failed task ended, once that is known."""
    state = state_of(task)
    if state is None:
        return PollProblem(
            f"task {ref.external_id} has the state '{task.get('state')}', which is not known here"
        )
    if verdict is not None and verdict.instead is not None:
        other = replace(ref, external_id=str(verdict.instead), web_url=links.task(verdict.instead))
        return BuildReport(ref, (), BuildState.RUNNING.value, verdict.reason, state.value, instead=other)
    ended, reason = _end(state, verdict)
    seen = _by_arch(children)
    expected = metadata(task).get(CHROOTS)
    # What somebody else has submitted does not say which chroots we want of it.
    names = [
        name for name in (expected if isinstance(expected, list) else ref.chroots) if isinstance(name, str)
    ]
    chroots = _chroots(names, seen, (state, ended), links, reason)
    if not ended and chroots and all(one.state is ChrootState.SUCCEEDED for one in chroots):
        # All architectures are done and the build is not: it is being tagged or moved.
        ended = BuildState.RUNNING.value
    return BuildReport(
        ref=ref,
        chroots=tuple(chroots),
        ended=ended,
        reason=reason,
        vendor_state=state.value,
        source_log_url=_source_log(children, links),
        tagged=verdict is not None and verdict.tagged,
        nvr=nvr,
        facts=verdict.facts if verdict else {},
    )


def _end(state: Task, verdict: Verdict | None) -> tuple[str, str]:
    if state is Task.CANCELED:
        return BuildState.CANCELED.value, "canceled at Koji"
    if state in ENDED_TASK and verdict is not None and verdict.ended:
        return verdict.ended, verdict.reason
    # Running says it where the roll-up of finished architectures would say otherwise.
    return (BuildState.RUNNING.value, "") if state in ENDED_TASK else ("", "")


@dataclass(frozen=True)
class _Arch:
    label: str
    number: int
    state: Task
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def read(cls, row: Row) -> _Arch | None:
        state, label, number = state_of(row), row.get("label"), row.get("id")
        if row.get("method") != "buildArch" or state is None:
            return None
        if not isinstance(label, str) or not isinstance(number, int):
            return None
        return cls(label, number, state, time_of(row.get("start_ts")), time_of(row.get("completion_ts")))


def _by_arch(children: Sequence[Row]) -> dict[str, _Arch]:
    """The newest child of each architecture."""
    return {one.label: one for one in map(_Arch.read, sorted(children, key=_number)) if one is not None}


def arch_task(children: Sequence[Row], arch: str) -> int | None:
    """The number of the task that built an architecture: its own, or the one that built for all; None without any."""
    seen = _by_arch(children)
    found = seen.get(arch) or seen.get(FOR_ALL)
    return found.number if found else None


def _number(row: Row) -> int:
    number = row.get("id")
    return number if isinstance(number, int) else 0


def _chroots(
    names: Sequence[str], seen: Mapping[str, _Arch], parent: tuple[Task, str], links: Links, reason: str
) -> list[ChrootReport]:
    """Every chroot that was asked for, and those that Koji's tag adds. A newer child of an arch hides the older."""
    release = names[0].rpartition("-")[0] if names else ""
    arches = {name.rpartition("-")[2]: name for name in names}
    # A package without architecture is built once, for all of them.
    for_all = seen.get(FOR_ALL)
    if release:
        arches |= {label: f"{release}-{label}" for label in seen if label not in arches and label != FOR_ALL}
    return [
        _chroot(name, seen.get(arch) or for_all, parent, links, reason)
        for arch, name in sorted(arches.items())
    ]


def _chroot(
    name: str, arch: _Arch | None, whole: tuple[Task, str], links: Links, reason: str
) -> ChrootReport:
    parent, ended = whole
    if arch is None:
        if parent is Task.CLOSED:
            return ChrootReport(name, ChrootState.SKIPPED, reason=EXCLUDED)
        state = ChrootState.PENDING
        if parent in ENDED_TASK:
            state = ChrootState.FAILED if ended == BuildState.FAILED else ChrootState.CANCELED
        return ChrootReport(name, state, reason=reason or "waits for Koji's source step")
    state = CHROOT_STATES[arch.state]
    told = {ChrootState.PENDING: "waits for a builder", ChrootState.CANCELED: SIBLING}.get(state, "")
    if state is ChrootState.PENDING and arch.started_at:
        state, told = ChrootState.RUNNING, "given back by its builder; waits for another one"
    elif state is ChrootState.FAILED:
        told = reason if arch.label in reason or not reason else "the build failed there; see its log"
    if state in {ChrootState.FAILED, ChrootState.CANCELED} and parent not in ENDED_TASK:
        # The parent may still be restarted, and then makes new children.
        state, told = ChrootState.RUNNING, f"{told or 'failed'}; Koji has not ended the build yet"
    begun = arch.started_at is not None
    return ChrootReport(
        chroot=name,
        state=state,
        started_at=arch.started_at,
        ended_at=arch.ended_at if state not in {ChrootState.RUNNING, ChrootState.PENDING} else None,
        result_url=links.task(arch.number),
        log_url=links.log(arch.number, "build.log") if begun else "",
        reason=told or ("failed" if state is ChrootState.FAILED else ""),
    )


def _source_log(children: Sequence[Row], links: Links) -> str:
    for row in children:
        if row.get("label") == "srpm" and row.get("start_ts") and isinstance(row.get("id"), int):
            # A source step that failed in mock leaves no build.log.
            name = "root.log" if state_of(row) is Task.FAILED else "build.log"
            return links.log(row["id"], name) or links.task(row["id"])
    return ""


def time_of(value: object) -> datetime | None:
    """One of the hub's ``*_ts``, in seconds; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 2**40:
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
