"""The API's matrix: packages × (branches × build systems)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from hashlib import sha256

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service import board
from service.web.access.auth import needs
from service.web.api.builds import Build
from service.web.api.schemas import Shape
from service.web.base.parameters import Context, Word
from service.web.base.problems import READ_PROBLEMS

router = APIRouter(prefix="/api/v1", dependencies=[needs("read")], responses=READ_PROBLEMS)


class LastGood(Shape):
    """The last version that succeeded in a cell."""

    build_id: int
    version: str
    nvr: str
    ended_at: datetime
    shipped: str


class MatrixCell(Shape):
    """One package on one target: the newest version's latest attempt, and whether it is behind upstream."""

    target: str
    branch: str
    system: str
    state: str = Field(description="The build's state, or 'empty'.")
    reason: str = Field(description="Why it is not green; in an empty cell why nothing is planned.")
    soundness: str
    shipped: str = Field(
        description="candidate, testing or stable by the build's tags; empty where not shipped."
    )
    nvr: str
    version: str
    age_seconds: int | None = Field(description="Since the build ended, or began if it has not.")
    behind: bool
    planned: bool
    build: Build | None
    last_good: LastGood | None


class StreamShape(Shape):
    """One stream of a family. 'refusal' says why it is not built."""

    family: str
    stream: str
    package: str
    confirmed: bool
    eol: date | None
    is_eol: bool
    refusal: str
    newest: str | None
    buildable: str | None


class MatrixRow(StreamShape):
    """One stream with its cells, in the order of the matrix's targets."""

    cells: list[MatrixCell]


class Target(Shape):
    """One branch on one build system. 'is_eol': the branch gets no new builds. 'style': srpm or dist-git."""

    target: str
    branch: str
    system: str
    project: str
    chroots: list[str]
    strategy: str
    enabled: bool
    eol: date | None
    is_eol: bool
    style: str


class MatrixShape(Shape):
    """Packages × (branches × build systems), newest stream first."""

    targets: list[Target]
    rows: list[MatrixRow]
    counts: dict[str, int]


@router.get("/matrix", response_model=MatrixShape, tags=["matrix"])
def get_matrix(request: Request, context: Context, family: Word = None) -> Response:
    """Packages × branches × build systems. The ETag changes when anything but the ages has changed."""
    with context.db.reader() as session:
        found = board.matrix(session, context.catalog, datetime.now(UTC), family=family)
    tag = f'W/"{sha256(repr((found.columns, found.rows)).encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if tag in [part.strip() for part in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return JSONResponse(matrix_shape(found).model_dump(mode="json"), headers=headers)


def matrix_shape(grid: board.Matrix) -> MatrixShape:
    """Make the API's matrix from the board's, with ages as of its own time."""
    return MatrixShape(
        targets=[Target.model_validate(column) for column in grid.columns],
        rows=[
            MatrixRow(
                **StreamShape.model_validate(row).model_dump(),
                cells=[_cell(cell, grid.now) for cell in row.cells],
            )
            for row in grid.rows
        ],
        counts=dict(grid.counts),
    )


def _cell(cell: board.Cell, now: datetime) -> MatrixCell:
    build = cell.build
    return MatrixCell(
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
        build=Build.model_validate(build) if build else None,
        last_good=LastGood.model_validate(cell.good) if cell.good else None,
    )


def age_seconds(build: board.BuildRow, now: datetime) -> int:
    """Return the whole seconds since a build ended, or since it was planned if it has not."""
    return max(int((now - (build.ended_at or build.created_at)).total_seconds()), 0)
