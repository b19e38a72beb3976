"""Translates a Koji task and its children into a BuildReport, and names the addresses of its logs and RPMs.

Pure: the hub is not asked here, and data of an unknown form become a PollProblem. The parent alone decides when a
build has ended: its children may fail and be made again with a restarted parent, and between the last architecture and
the tag all of them are closed although the build is not. The tables of states are complete: a test compares them with
Koji's own lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from service.domain.reports import BuildRef, BuildReport, ChrootReport, PollProblem, ResultPlace
from service.domain.states import BuildState, ChrootState
from workers.buildsystems import timestamp
from workers.buildsystems.koji.client import one_line

Row = Mapping[str, Any]


class Task(StrEnum):
    """The states of a task by Koji's names."""

    FREE = "free"
    OPEN = "open"
    CLOSED = "closed"
    CANCELED = "canceled"
    ASSIGNED = "assigned"
    FAILED = "failed"


TASK_STATES: Mapping[int, Task] = {
    0: Task.FREE,
    1: Task.OPEN,
    2: Task.CLOSED,
    3: Task.CANCELED,
    4: Task.ASSIGNED,
    5: Task.FAILED,
}
ENDED_TASK = frozenset({Task.CLOSED, Task.CANCELED, Task.FAILED})

# What one buildArch task says of its chroot.
CHROOT_STATES: Mapping[Task, ChrootState] = {
    Task.FREE: ChrootState.PENDING,
    Task.ASSIGNED: ChrootState.PENDING,
    Task.OPEN: ChrootState.RUNNING,
    Task.CLOSED: ChrootState.SUCCEEDED,
    Task.CANCELED: ChrootState.CANCELED,
    Task.FAILED: ChrootState.FAILED,
}


class Build(StrEnum):
    """The states of a build by Koji's names."""

    BUILDING = "building"
    COMPLETE = "complete"
    DELETED = "deleted"
    FAILED = "failed"
    CANCELED = "canceled"


BUILD_STATES: Mapping[int, Build] = {
    0: Build.BUILDING,
    1: Build.COMPLETE,
    2: Build.DELETED,
    3: Build.FAILED,
    4: Build.CANCELED,
}

# The faults that a builder raises when the package itself did not build. Every other one has another cause.
PACKAGE_FAULTS = frozenset({1005, 1010, 1011, 1012})
# Texts of those codes that are nevertheless about the hub's rules.
NOT_THE_PACKAGE = ("not in list for tag", "is locked", "policy", "No matching arches")

TOKEN = "cryopack_submission"
CHROOTS = "cryopack_chroots"
EXCLUDED = "excluded by ExcludeArch or ExclusiveArch"
FOR_ALL = "noarch"
SIBLING = "canceled by Koji: another architecture failed, or the build was canceled"

# The page that a hub has for each task; its number is all that its API needs.
_TASK_PAGE = re.compile(r"/taskinfo\?taskID=(\d{1,18})$", re.ASCII)
OUTPUT = "koji-task:"
# A file's name becomes a part of an address: nothing in it may lead elsewhere. The last word is the arch.
_RPM = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.+~^-]{0,200})-[\w.+~^]{1,100}-[\w.+~^]{1,100}\.(?P<arch>\w{1,20})\.rpm"
)
_WORD = re.compile(r"[\w.+~^-]{1,150}")
_FOR_DEBUGGERS = ("-debuginfo", "-debugsource")


@dataclass(frozen=True)
class Links:
    """The addresses of a hub's task pages and of its files; both may be empty."""

    weburl: str
    topurl: str

    def task(self, number: int) -> str:
        """Return the address of a task's page."""
        return f"{self.weburl}/taskinfo?taskID={number}" if self.weburl else ""

    def file(self, number: int, name: str) -> str:
        """Return the address of a file in a task's own folder."""
        parts = (self.topurl, "work", "tasks", str(number % 10000), str(number), name)
        return "/".join(parts) if self.topurl else ""


@dataclass(frozen=True)
class Verdict:
    """How a closed or failed task really ended; an empty ``ended`` means that it is not known yet.

    ``instead`` is the task of somebody else that makes the same build; ours gave way to it.
    """

    ended: str
    reason: str = ""
    tagged: bool = False
    instead: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def is_task_id(text: str) -> bool:
    """Return whether an external id can be a task's."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def metadata(task: Row) -> Row:
    """Return the user metadata that we wrote into a task's request; empty where the task is not ours."""
    request = task.get("request")
    options = request[2] if isinstance(request, list) and len(request) > 2 else None
    told = options.get("custom_user_metadata") if isinstance(options, dict) else None
    return told if isinstance(told, dict) else {}


def is_scratch(task: Row) -> bool:
    """Return whether the task is a scratch build."""
    request = task.get("request")
    options = request[2] if isinstance(request, list) and len(request) > 2 else None
    return isinstance(options, dict) and bool(options.get("scratch"))


def state_of(task: Row) -> Task | None:
    """Return the task's state, or None for a number that is not Koji's."""
    number = task.get("state")
    return TASK_STATES.get(number) if isinstance(number, int) and not isinstance(number, bool) else None


def judge_failure(result: object) -> Verdict:
    """Return how a failed task ended: failed only where its builder blames the package, else errored."""
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
    """Return the report of a task. ``verdict`` says how a closed or failed task ended, once that is known."""
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
class _ArchTask:
    """A ``buildArch`` task."""

    label: str
    number: int
    state: Task
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def read(cls, row: Row) -> _ArchTask | None:
        state, label, number = state_of(row), row.get("label"), row.get("id")
        if row.get("method") != "buildArch" or state is None:
            return None
        if not isinstance(label, str) or not isinstance(number, int):
            return None
        return cls(label, number, state, timestamp(row.get("start_ts")), timestamp(row.get("completion_ts")))


def _by_arch(children: Sequence[Row]) -> dict[str, _ArchTask]:
    """Return the newest child of each architecture."""
    return {one.label: one for one in map(_ArchTask.read, sorted(children, key=_number)) if one is not None}


def arch_task(children: Sequence[Row], arch: str) -> int | None:
    """Return the task that built an architecture: its own, or the one that built for all; None without any."""
    seen = _by_arch(children)
    found = seen.get(arch) or seen.get(FOR_ALL)
    return found.number if found else None


def _number(row: Row) -> int:
    number = row.get("id")
    return number if isinstance(number, int) else 0


def _chroots(
    names: Sequence[str], seen: Mapping[str, _ArchTask], parent: tuple[Task, str], links: Links, reason: str
) -> list[ChrootReport]:
    """Return every chroot that was asked for, and those that Koji's tag adds."""
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
    name: str, arch: _ArchTask | None, whole: tuple[Task, str], links: Links, reason: str
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
        log_url=links.file(arch.number, "build.log") if begun else "",
        reason=told or ("failed" if state is ChrootState.FAILED else ""),
    )


def _source_log(children: Sequence[Row], links: Links) -> str:
    for row in children:
        if row.get("label") == "srpm" and row.get("start_ts") and isinstance(row.get("id"), int):
            # A source step that failed in mock leaves no build.log.
            name = "root.log" if state_of(row) is Task.FAILED else "build.log"
            return links.file(row["id"], name) or links.task(row["id"])
    return ""


def log_addresses(place: ResultPlace) -> dict[str, tuple[str, ...]]:
    """Return the addresses of the build log, mock's root log, and mock's own output or else its states with times.

    Where the place has a task's page and no log file, they are for the hub's own API: ``koji-task:7/build.log``.
    """
    folder, _, name = place.log_url.rpartition("/")
    if not name.endswith(".log"):
        page = _TASK_PAGE.search(place.result_url or place.log_url)
        if page is None:
            return {}
        folder = f"{OUTPUT}{page[1]}"
    if place.chroot == "source":
        return {
            "source": (
                place.log_url if name.endswith(".log") else f"{folder}/build.log",
                f"{folder}/root.log",
            )
        }
    return {
        "builder": (f"{folder}/build.log",),
        "root": (f"{folder}/root.log",),
        "backend": (f"{folder}/mock_output.log", f"{folder}/state.log"),
    }


def rpm_addresses(links: Links, child: int, result: object, build: Row | None) -> tuple[str, ...]:
    """Return the addresses of one ``buildArch`` task's binary RPMs by its result, without those for debuggers.

    ``build`` is the complete build that the hub keeps them in (shape as ``getBuild``); None where they are still in the
    task's own folder, as after a scratch build.
    """
    told = result.get("rpms") if isinstance(result, dict) else None
    folder = _folder(links, build) if build is not None else ""
    found = []
    for path in told if isinstance(told, list) else []:
        file = str(path).rpartition("/")[2]
        rpm = _RPM.fullmatch(file)
        if rpm is None or rpm["arch"] == "src" or rpm["name"].endswith(_FOR_DEBUGGERS):
            continue
        found.append(f"{folder}/{rpm['arch']}/{file}" if folder else links.file(child, file))
    return tuple(sorted(address for address in found if address))


def _folder(links: Links, build: Row) -> str:
    """Return where the hub keeps a build that stays: below its volume, by name, version and release."""
    words = [str(build.get(key) or "") for key in ("name", "version", "release")]
    volume = str(build.get("volume_name") or "DEFAULT")
    if not links.topurl or not all(_WORD.fullmatch(word) for word in (*words, volume)):
        return ""
    top = links.topurl if volume == "DEFAULT" else f"{links.topurl}/vol/{volume}"
    return "/".join((top, "packages", *words))
