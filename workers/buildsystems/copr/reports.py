"""Translates a COPR build, as its API tells it, into a BuildReport, and names the addresses of its logs and RPMs.

Pure: nothing is asked here, and data of an unknown form become a PollProblem. Both tables of states are complete: a
test compares them with COPR's own lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from service.domain.reports import BuildRef, BuildReport, ChrootReport, PollProblem, ResultPlace
from service.domain.states import ENDED_CHROOT, ChrootState
from workers.buildsystems import timestamp

Row = Mapping[str, Any]

_WORD = re.compile(r"[A-Za-z0-9._+~^-]{1,100}", re.ASCII)


class StateMeaning(StrEnum):
    """What COPR's state of a whole build tells us. COPR computes it from the chroots, and it goes back and forth."""

    WAITS = "waits"
    ASK_CHROOTS = "ask the chroots"
    CANCELED = "canceled"


CHROOT_STATES: Mapping[str, ChrootState] = {
    "waiting": ChrootState.PENDING,
    "pending": ChrootState.PENDING,
    "starting": ChrootState.RUNNING,
    "running": ChrootState.RUNNING,
    "succeeded": ChrootState.SUCCEEDED,
    "failed": ChrootState.FAILED,
    "canceled": ChrootState.CANCELED,
    "skipped": ChrootState.SKIPPED,
    # A copy of another project's finished result: there is an RPM, and nothing will run.
    "forked": ChrootState.SUCCEEDED,
}

BUILD_STATES: Mapping[str, StateMeaning] = {
    "pending": StateMeaning.WAITS,
    "importing": StateMeaning.WAITS,
    "starting": StateMeaning.ASK_CHROOTS,
    "running": StateMeaning.ASK_CHROOTS,
    "succeeded": StateMeaning.ASK_CHROOTS,
    "failed": StateMeaning.ASK_CHROOTS,
    "skipped": StateMeaning.ASK_CHROOTS,
    "forked": StateMeaning.ASK_CHROOTS,
    "unknown": StateMeaning.ASK_CHROOTS,
    # The only final word on the whole build; its chroots lag behind, and its end time may stay empty.
    "canceled": StateMeaning.CANCELED,
}

NO_RESULTS = "failed before anything was built there; see the source log"
SOURCE_FAILED = "COPR's source step failed: it could not read the source RPM; see the source log"
IMPORT_FAILED = "COPR could not import the source RPM, so no chroot has built it"


def needs_chroots(build: Row) -> bool:
    """Return whether the chroots must be read, too: not while all of them wait for the source step.

    A pending build may have finished chroots (it is pending again after the import), and then it has begun.
    """
    waits = BUILD_STATES.get(str(build.get("state"))) is StateMeaning.WAITS
    return not waits or build.get("started_on") is not None


def needs_source_step(build: Row, chroots: Sequence[Row]) -> bool:
    """Return whether only the source step can say why a build failed: no chroot ever had a place for results."""
    return build.get("state") == "failed" and not any(row.get("result_url") for row in chroots)


def report(
    ref: BuildRef, build: Row, chroots: Sequence[Row] | None, source: Row | None = None
) -> BuildReport | PollProblem:
    """Return the report of a build from its rows, those of its chroots and its source step's.

    ``chroots`` and ``source`` are None where they were not read, or COPR did not tell them yet.
    """
    vendor = str(build.get("state"))[:40]
    if vendor not in BUILD_STATES:
        return PollProblem(f"build {ref.external_id} has the state '{vendor}', which is not known here")
    # COPR makes all chroots of a build at once, so the list that it gives is all there will be.
    complete = bool(chroots)
    if chroots is None:
        names = build.get("chroots")
        chroots = [{"name": name, "state": "waiting"} for name in names] if isinstance(names, list) else []
    seen: dict[str, ChrootReport] = {}
    for row in chroots:
        one = _chroot(row)
        if one is None:
            shown = f"{row.get('name')}: {row.get('state')}"[:80]
            return PollProblem(f"build {ref.external_id} has a chroot that is not understood here ({shown})")
        seen[one.chroot] = one
    ended, reason = _whole_end(vendor, list(seen.values()), source, read=_source_was_read(build))
    if ended:
        state = ChrootState.CANCELED if ended == "canceled" else ChrootState.FAILED
        seen = {name: _closed(one, state, reason) for name, one in seen.items()}
    return BuildReport(
        ref=ref,
        chroots=tuple(seen[name] for name in sorted(seen)),
        ended=ended,
        reason=reason,
        vendor_state=vendor,
        source_log_url=_source_log(build, source),
        complete=complete,
        facts=_facts(build),
    )


def _whole_end(
    vendor: str, seen: Sequence[ChrootReport], source: Row | None, *, read: bool
) -> tuple[str, str]:
    """Return the end of the whole build that its chroots do not show, and the reason; empty where they show it."""
    if BUILD_STATES[vendor] is StateMeaning.CANCELED:
        return "canceled", "canceled at COPR"
    if vendor == "failed":
        failed = any(one.state is ChrootState.FAILED for one in seen)
        ended = all(one.state in ENDED_CHROOT for one in seen)
        untouched = failed and ended and not any(one.result_url for one in seen)
        if not seen or untouched or (source or {}).get("state") == "failed":
            # COPR calls the source step failed for both; the package has a name once the first one was good.
            return "failed", IMPORT_FAILED if read else SOURCE_FAILED
    if vendor == "skipped" and not seen:
        return "failed", "excluded by ExcludeArch or ExclusiveArch everywhere"
    return "", ""


def _closed(one: ChrootReport, state: ChrootState, reason: str) -> ChrootReport:
    """Return a chroot of a build that has ended as a whole: nothing more will come for those that lag behind."""
    return one if one.state in ENDED_CHROOT else replace(one, state=state, reason=reason)


def _chroot(row: Row) -> ChrootReport | None:
    name, vendor = row.get("name"), row.get("state")
    if not isinstance(name, str) or not name or not isinstance(vendor, str) or vendor not in CHROOT_STATES:
        return None
    state = CHROOT_STATES[vendor]
    result = _address(row.get("result_url"))
    return ChrootReport(
        chroot=name,
        state=state,
        started_at=timestamp(row.get("started_on")),
        ended_at=timestamp(row.get("ended_on")),
        result_url=result,
        log_url=_log(result, ended=state in ENDED_CHROOT),
        reason=_reason(vendor, result),
    )


def _reason(vendor: str, result: str) -> str:
    if vendor == "failed":
        return "the build failed there; see its log" if result else NO_RESULTS
    return {
        "waiting": "waits for COPR's source step",
        "pending": "waits for a builder",
        "canceled": "COPR canceled this chroot: by hand, or at its end of life",
        "skipped": "excluded by ExcludeArch or ExclusiveArch",
        "forked": "copied from another project, not built here",
    }.get(vendor, "")


def _log(result_url: str, *, ended: bool) -> str:
    """Return the log's address; it is compressed at the end, a little later than the state says so."""
    if not result_url:
        return ""
    return f"{result_url.rstrip('/')}/builder-live.log{'.gz' if ended else ''}"


def log_addresses(place: ResultPlace) -> dict[str, tuple[str, ...]]:
    """Return the addresses of each log of a chroot or of the source step, best first.

    The compressed ones exist some time after the end, the plain ones until then.
    """
    if place.chroot == "source":
        return {"source": _compressed_and_plain(place.log_url)} if place.log_url else {}
    if not place.result_url:
        return {}
    folder = place.result_url.rstrip("/")
    return {
        "builder": (*_compressed_and_plain(f"{folder}/builder-live.log"), f"{folder}/build.log.gz"),
        "root": _compressed_and_plain(f"{folder}/root.log"),
        "backend": _compressed_and_plain(f"{folder}/backend.log"),
    }


def rpm_addresses(place: ResultPlace, packages: Sequence[Row]) -> tuple[str, ...]:
    """Return the addresses of the binary RPMs among a chroot's results, without those for debuggers.

    Rows of an unknown form are left out.
    """
    folder = place.result_url.rstrip("/")
    found = []
    for row in packages:
        words = [row.get(key) for key in ("name", "version", "release", "arch")]
        if not folder or not all(isinstance(word, str) and _WORD.fullmatch(word) for word in words):
            continue
        name, version, release, arch = words
        if arch != "src" and not str(name).endswith(("-debuginfo", "-debugsource")):
            found.append(f"{folder}/{name}-{version}-{release}.{arch}.rpm")
    return tuple(sorted(found))


def _compressed_and_plain(address: str) -> tuple[str, str]:
    plain = address.removesuffix(".gz")
    return f"{plain}.gz", plain


def _source_log(build: Row, source: Row | None) -> str:
    """Return the address of the source step's log, once that step has begun; else empty text."""
    told = _address((source or {}).get("result_url"))
    if told:
        return _log(told, ended=(source or {}).get("state") not in {"starting", "running"})
    vendor, number = build.get("state"), build.get("id")
    read = _source_was_read(build)
    base, dirname = _address(build.get("repo_url")), build.get("project_dirname")
    begun = read or vendor in {"starting", "running", "failed"}
    if not base or not isinstance(number, int) or not isinstance(dirname, str) or not begun:
        return ""
    # ``repo_url`` names the main directory even for a build in another one.
    results = f"{base.rstrip('/').rpartition('/')[0]}/{dirname}/srpm-builds/{number:08d}"
    return _log(results, ended=read or vendor == "failed")


def _source_was_read(build: Row) -> bool:
    """Return whether the source step got as far as the package's name."""
    package = build.get("source_package")
    return isinstance(package, Mapping) and bool(package.get("name"))


def _facts(build: Row) -> dict[str, str]:
    package = build.get("source_package")
    told = {
        "package": package.get("name") if isinstance(package, Mapping) else None,
        "version": package.get("version") if isinstance(package, Mapping) else None,
        "submitter": build.get("submitter"),
    }
    return {name: value for name, value in told.items() if isinstance(value, str) and value}


def _address(value: object) -> str:
    """Return a web address, or empty text: what is no address must not become a link on our pages."""
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else ""
