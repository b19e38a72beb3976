"""From the board's rows to the API's shapes, where they are not one to one."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from service import board
from service.catalog import Workaround
from service.catalog.model import OPEN_END
from service.web.api import schemas
from service.web.api.distgit_shapes import DistGitShape


def matrix_shape(grid: board.Matrix) -> schemas.MatrixShape:
    """The matrix with ages as of its own time."""
    return schemas.MatrixShape(
        targets=[schemas.Target.model_validate(column) for column in grid.columns],
        rows=[
            schemas.MatrixRow(
                **schemas.StreamShape.model_validate(row).model_dump(),
                cells=[_cell(cell, grid.now) for cell in row.cells],
            )
            for row in grid.rows
        ],
        counts=dict(grid.counts),
    )


def _cell(cell: board.Cell, now: datetime) -> schemas.MatrixCell:
    build = cell.build
    return schemas.MatrixCell(
        target=cell.target,
        branch=cell.branch,
        system=cell.system,
        state=cell.state,
        reason=build.reason if build else cell.refusal,
        soundness=build.soundness if build else "unknown",
        shipped=build.shipped if build else "",
        nvr=build.nvr if build else "",
        version=build.version if build else "",
        age_seconds=age_seconds(build, now) if build else None,
        behind=cell.behind,
        planned=not cell.refusal,
        build=schemas.Build.model_validate(build) if build else None,
        last_good=schemas.LastGood.model_validate(cell.good) if cell.good else None,
    )


def age_seconds(build: board.BuildRow, now: datetime) -> int:
    """Whole seconds since the build ended, or since it was planned if it has not."""
    return max(int((now - (build.ended_at or build.created_at)).total_seconds()), 0)


def build_shape(detail: board.BuildDetail, *, confirmed: bool) -> schemas.BuildWithHistory:
    """One build with how it was made."""
    own = schemas.Build.model_validate(detail.build).model_dump()
    rest: dict[str, Any] = {
        name: getattr(detail, name)
        for name in schemas.BuildWithHistory.model_fields
        if name not in own and name not in ("attempts", "last_good", "confirmed", "dist_git")
    }
    return schemas.BuildWithHistory(
        **own,
        **rest,
        attempts=[attempt.id for attempt in detail.attempts],
        last_good=detail.last_good.id if detail.last_good else None,
        confirmed=confirmed,
        dist_git=DistGitShape.model_validate(detail.dist_git) if detail.dist_git else None,
    )


def release_shape(detail: board.ReleaseDetail) -> schemas.ReleaseWithBuilds:
    """One release with its source and builds."""
    return schemas.ReleaseWithBuilds(
        **schemas.Release.model_validate(detail.release).model_dump(),
        package=detail.package,
        facts=dict(detail.facts),
        delivery=detail.delivery.guid if detail.delivery else None,
        attempts=[schemas.Build.model_validate(build) for build in detail.builds],
        not_planned=[schemas.Skipped.model_validate(skipped) for skipped in detail.not_planned],
        disagreements=[schemas.DisagreementShape.model_validate(each) for each in detail.disagreements],
        confirmed=detail.confirmed,
        bugs=list(detail.bugs),
    )


def spec_shape(change: board.SpecChange) -> schemas.SpecShape:
    """A spec with its diff."""
    spec = change.spec
    return schemas.SpecShape(
        build_id=spec.build_id,
        package=spec.package,
        version=spec.version,
        target=spec.target,
        sha256=spec.sha256,
        text=spec.text,
        previous_build_id=change.previous.build_id if change.previous else None,
        diff=list(change.diff),
    )


def delivery_text(detail: board.DeliveryDetail) -> str:
    """One delivery as JSON; its payload is null where it was too long to read whole, or cannot be said again.

    Payloads are foreign: numbers beyond all bounds, half characters and endless nesting are in some of them.
    """
    known = delivery_shape(detail).model_dump(mode="json")
    if len(detail.payload) < detail.size:
        return json.dumps(known)
    try:
        return json.dumps(known | {"payload": json.loads(detail.payload)}, allow_nan=False)
    except (ValueError, RecursionError):
        return json.dumps(known)


def delivery_shape(detail: board.DeliveryDetail) -> schemas.DeliveryWithPayload:
    """One delivery without its payload."""
    release = None
    if detail.release_family and detail.release_version:
        release = f"{detail.release_family}/{detail.release_version}"
    return schemas.DeliveryWithPayload(
        **asdict(detail.delivery), size=detail.size, payload=None, release=release
    )


def workaround_shape(row: Workaround) -> schemas.WorkaroundShape:
    """One workaround of the catalogue; its branches are those on which its toolchain facts hold, too."""
    first_branch, last_branch = row.branch_range
    return schemas.WorkaroundShape(
        id=row.id,
        families=sorted(row.families),
        strategies=sorted(row.strategies),
        first_stream=str(row.streams.first) if row.streams.first else None,
        last_stream=str(row.streams.last) if row.streams.last else None,
        requires=sorted(row.requires),
        first_branch=first_branch or None,
        last_branch=last_branch if last_branch < OPEN_END else None,
        macros=dict(row.macros),
        linker_flags=list(row.linker_flags),
        build_tags=list(row.build_tags),
        toolchain=[fact.id for fact in row.toolchain],
        symptoms=list(row.symptoms),
        free_of=sorted(row.free_of),
        why=row.why,
        reference=row.reference,
    )
