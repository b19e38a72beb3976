"""One COPR build, as its API tells it, becomes one of our reports. Pure; never raises for odd data but PollProblem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from service.domain.reports import BuildRef, BuildReport, ChrootReport, PollProblem
from service.domain.states import ENDED_CHROOT, ChrootState
from workers.buildsystems.copr_states import BUILD_STATES, CHROOT_STATES


def needs_chroots(build: Mapping[str, Any]) -> bool:
    """Whether a look at the chroots can tell more than the build's own state."""
    return BUILD_STATES.get(str(build.get("state")), "chroots") != "open"


def report(
    ref: BuildRef, build: Mapping[str, Any], chroots: Sequence[Mapping[str, Any]] | None, source: str
) -> BuildReport | PollProblem:
    """A report from a build, its chroots (None where they were not asked for) and the source step's state.

    ``source`` is the source chroot's state, empty where it is not known.
    """
    vendor = str(build.get("state"))
    meaning = BUILD_STATES.get(vendor)
    if meaning is None:
        return PollProblem(
            f"COPR build {ref.external_id} has the state '{vendor[:40]}', which we do not know"
        )
    seen: list[ChrootReport] = []
    for row in chroots or ():
        one = _chroot(row, vendor)
        if one is None:
            odd = str(row.get("state"))[:40]
            return PollProblem(
                f"a chroot of COPR build {ref.external_id} has the state '{odd}', which we do not know"
            )
        seen.append(one)
    ended, reason = _end(meaning, vendor, seen, source)
    return BuildReport(
        ref=ref,
        chroots=tuple(seen),
        ended=ended,
        reason=reason,
        vendor_state=vendor,
        source_log_url=source_log_url(build),
    )


def source_log_url(build: Mapping[str, Any]) -> str:
    """The log of the source step: known as soon as the build has an id and a results address."""
    base, number = str(build.get("repo_url") or ""), build.get("id")
    if not base or not isinstance(number, int):
        return ""
    return f"{base}/srpm-builds/{number:08d}/builder-live.log.gz"


def _end(meaning: str, vendor: str, seen: Sequence[ChrootReport], source: str) -> tuple[str, str]:
    if meaning == "canceled":
        return "canceled", "canceled at COPR"
    if source == "failed":
        return (
            "failed",
            "COPR's source step failed: the SRPM could not be read or imported; see the source log",
        )
    states = {one.state for one in seen}
    open_states = states - ENDED_CHROOT
    if vendor == "failed" and not seen:
        return "failed", "COPR's source step failed before any chroot was chosen; see the source log"
    if (
        vendor == "failed"
        and seen
        and all(one.state is ChrootState.FAILED and not one.result_url for one in seen)
    ):
        return "failed", "COPR failed before any chroot began (source step or import); see the source log"
    if vendor == "unknown" and not open_states:
        return "canceled", "COPR canceled every chroot (end of life?), and calls the build unknown"
    return "", ""


def _chroot(row: Mapping[str, Any], vendor: str) -> ChrootReport | None:
    state = CHROOT_STATES.get(str(row.get("state")))
    if state is None:
        return None
    result = str(row.get("result_url") or "")
    ended = state in ENDED_CHROOT
    log = f"{result.rstrip('/')}/builder-live.log{'.gz' if ended else ''}" if result else ""
    return ChrootReport(
        chroot=str(row.get("name")),
        state=state,
        started_at=_time(row.get("started_on")),
        ended_at=_time(row.get("ended_on")),
        result_url=result,
        log_url=log,
        reason=_reason(state, result, vendor),
    )


def _reason(state: ChrootState, result: str, vendor: str) -> str:
    if state is ChrootState.FAILED:
        return (
            "the build failed there; see its log" if result else "failed before it began; see the source log"
        )
    if state is ChrootState.CANCELED:
        if vendor == "canceled":
            return "canceled at COPR"
        return "COPR canceled this chroot alone; it may have reached its end of life"
    if state is ChrootState.SKIPPED:
        return "excluded by ExcludeArch or ExclusiveArch"
    return ""


def _time(value: object) -> datetime | None:
    if isinstance(value, (int, float)) and value > 0:
        return datetime.fromtimestamp(value, UTC)
    return None
