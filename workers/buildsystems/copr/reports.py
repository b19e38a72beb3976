"""One COPR build, as its API tells it, becomes one of our reports. Pure; odd data become a PollProblem."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from service.domain.reports import BuildRef, BuildReport, ChrootReport, PollProblem, ResultPlace
from service.domain.states import ENDED_CHROOT, ChrootState
from workers.buildsystems.copr.states import BUILD_STATES, CHROOT_STATES, Verdict

Row = Mapping[str, Any]
_WORD = re.compile(r"[A-Za-z0-9._+~^-]{1,100}", re.ASCII)

NO_RESULTS = "failed before anything was built there; see the source log"
SOURCE_FAILED = "COPR's source step failed: it could not read the source RPM; see the source log"
IMPORT_FAILED = "COPR could not import the source RPM, so no chroot has built it"


def asks_chroots(build: Row) -> bool:
    """Whether the chroots can tell more than the build: not while all of them wait for the source step.

    A pending build may have finished chroots (it is pending again after the import), and then it has begun.
    """
    waits = BUILD_STATES.get(str(build.get("state"))) is Verdict.WAITS
    return not waits or build.get("started_on") is not None


def asks_source(build: Row, chroots: Sequence[Row]) -> bool:
    """Whether only the source step can say why a build failed: no chroot has ever had a place for results."""
    return build.get("state") == "failed" and not any(row.get("result_url") for row in chroots)


def report(
    ref: BuildRef, build: Row, chroots: Sequence[Row] | None, source: Row | None = None
) -> BuildReport | PollProblem:
    """A report from a build, its chroots and its source step (None: not asked, or not told yet)."""
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
    ended, reason = _end(vendor, list(seen.values()), source, read=_was_read(build))
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


def _end(vendor: str, seen: Sequence[ChrootReport], source: Row | None, *, read: bool) -> tuple[str, str]:
    """The end that the roll-up of the chroots cannot see, and why; empty where they decide."""
    if BUILD_STATES[vendor] is Verdict.CANCELED:
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
    """A chroot of a build that has ended as a whole: nothing more will come for those that lag behind."""
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
        started_at=_time(row.get("started_on")),
        ended_at=_time(row.get("ended_on")),
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
    """The log is compressed at the end; a little later than the state says so."""
    if not result_url:
        return ""
    return f"{result_url.rstrip('/')}/builder-live.log{'.gz' if ended else ''}"


def log_addresses(place: ResultPlace) -> dict[str, tuple[str, ...]]:
    """Every log's addresses, best first: compressed once the end is some time ago, plain until then."""
    if place.chroot == "source":
        return {"source": _both(place.log_url)} if place.log_url else {}
    if not place.result_url:
        return {}
    folder = place.result_url.rstrip("/")
    return {
        "builder": (*_both(f"{folder}/builder-live.log"), f"{folder}/build.log.gz"),
        "root": _both(f"{folder}/root.log"),
        "backend": _both(f"{folder}/backend.log"),
    }


def rpm_addresses(place: ResultPlace, packages: Sequence[Row]) -> tuple[str, ...]:
    """The binary RPMs among a chroot's results; rows that name no file are left out, as is what is for debuggers."""
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


def _both(address: str) -> tuple[str, str]:
    plain = address.removesuffix(".gz")
    return f"{plain}.gz", plain


def _source_log(build: Row, source: Row | None) -> str:
    """The source step's log, once that step has begun. Its name is known as soon as the step has ended."""
    told = _address((source or {}).get("result_url"))
    if told:
        return _log(told, ended=(source or {}).get("state") not in {"starting", "running"})
    vendor, number = build.get("state"), build.get("id")
    read = _was_read(build)
    base, dirname = _address(build.get("repo_url")), build.get("project_dirname")
    begun = read or vendor in {"starting", "running", "failed"}
    if not base or not isinstance(number, int) or not isinstance(dirname, str) or not begun:
        return ""
    # ``repo_url`` names the main directory even for a build in another one.
    results = f"{base.rstrip('/').rpartition('/')[0]}/{dirname}/srpm-builds/{number:08d}"
    return _log(results, ended=read or vendor == "failed")


def _was_read(build: Row) -> bool:
    """Whether the source step got as far as the package's name."""
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
    """A web address, or empty text: what is no address must not become a link on our pages."""
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else ""


def _time(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 2**40:
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
