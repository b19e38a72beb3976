"""The frozen rows of builds and chroots, and the columns that make them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from service.domain.errors import DomainError
from service.domain.fedora import Chroot
from service.domain.states import LIVE_BUILD, ChrootState
from service.domain.versions import Nvr, Version
from service.store.schema import ChrootBuild, PackageBuild


@dataclass(frozen=True)
class ChrootRow:
    """One chroot of a build. ``arch`` is the last word of its name."""

    chroot: str
    arch: str
    state: str
    reason: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    result_url: str = ""
    log_url: str = ""


@dataclass(frozen=True)
class BuildRow:
    """One attempt to build one release for one target.

    ``nvr`` is what the build system calls the build, or what our SRPM is called; empty while neither is known.
    """

    id: int
    family: str
    stream: str
    package: str
    version: str
    nvr: str
    target: str
    branch: str
    system: str
    project: str
    attempt: int
    state: str
    reason: str
    note: str
    cause: str
    soundness: str
    shipped: str
    shipped_at: datetime | None
    external_id: str | None
    web_url: str
    requested_by: str | None
    created_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None
    spec_sha256: str | None
    srpm_name: str | None
    srpm_sha256: str | None
    chroots: tuple[ChrootRow, ...] = ()

    @property
    def is_live(self) -> bool:
        return self.state in LIVE_BUILD


_B = PackageBuild
BUILD_COLUMNS = (
    _B.id, _B.family, _B.stream, _B.package, _B.version, _B.built_nvr, _B.release_number, _B.dist, _B.target, _B.branch,
    _B.system, _B.project, _B.attempt, _B.state, _B.reason, _B.note, _B.cause, _B.soundness,
    _B.shipped, _B.shipped_at, _B.external_id, _B.web_url, _B.requested_by, _B.created_at, _B.submitted_at,
    _B.ended_at, _B.options,
    _B.spec_sha256, _B.srpm_name, _B.srpm_sha256,
)  # fmt: skip


def build_row(row: Row[Any] | Mapping[str, Any], chroots: Iterable[ChrootRow] = ()) -> BuildRow:
    """A row of BUILD_COLUMNS as a BuildRow; a live one without chroots shows those planned."""
    values = dict(row._mapping) if isinstance(row, Row) else dict(row)
    options = values.pop("options") or {}
    told = values.pop("built_nvr"), values.pop("release_number"), values.pop("dist")
    found = tuple(chroots)
    if not found and values["state"] in LIVE_BUILD:
        found = planned_chroots(options)
    return BuildRow(nvr=nvr_text(values["package"], values["version"], *told), chroots=found, **values)


def build_rows(session: Session, rows: Iterable[Row[Any]]) -> tuple[BuildRow, ...]:
    """Rows of BUILD_COLUMNS with their chroots: one further statement, however many rows."""
    found = list(rows)
    chroots = chroots_of(session, [row.id for row in found])
    return tuple(build_row(row, chroots.get(row.id, ())) for row in found)


def chroots_of(session: Session, build_ids: Iterable[int]) -> dict[int, list[ChrootRow]]:
    """The chroots of several builds, by build, in the order of their names."""
    ids = list(build_ids)
    chroots: dict[int, list[ChrootRow]] = {}
    if not ids:
        return chroots
    c = ChrootBuild
    statement = (
        select(
            c.build_id, c.chroot, c.state, c.reason, c.started_at, c.ended_at, c.result_url, c.log_url
        )
        .where(c.build_id.in_(ids))
        .order_by(c.build_id, c.chroot)
    )  # fmt: skip
    for build_id, chroot, state, reason, started_at, ended_at, result_url, log_url in session.execute(
        statement
    ):
        chroots.setdefault(build_id, []).append(
            ChrootRow(chroot, arch_of(chroot), state, reason, started_at, ended_at, result_url, log_url)
        )
    return chroots


def planned_chroots(options: Mapping[str, Any]) -> tuple[ChrootRow, ...]:
    """The chroots that a build was planned for, as not begun."""
    names = options.get("chroots") or ()
    return tuple(ChrootRow(name, arch_of(name), ChrootState.PENDING.value) for name in sorted(names))


def arch_of(chroot: str) -> str:
    """``fedora-43-x86_64`` to ``x86_64``; a name of another form stays whole."""
    try:
        return Chroot.parse(chroot).arch
    except DomainError:
        return chroot


def nvr_text(package: str, version: str, built: str, number: int | None, dist: str) -> str:
    """What its build system calls a build, else the name of our SRPM with Release ``0.<number>``, else empty."""
    if built or number is None:
        return built
    return str(Nvr(package, Version.parse(version).rpm, f"0.{number}{dist}"))
