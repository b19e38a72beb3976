"""The pages of the matrix, of a branch and of a package: the state of each package on each target."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from service import board
from service.domain.states import BuildState
from service.web.access.auth import page_needs
from service.web.base.context import context_of
from service.web.base.parameters import known_word, word
from service.web.base.problems import Problem
from service.web.base.render import page

RECENT = 15
EMPTY = "empty"
# Worst first, and last what needs nobody.
CHIP_STATES = (
    BuildState.FAILED, BuildState.ERRORED, BuildState.HELD, BuildState.RUNNING, BuildState.SUBMITTING,
    BuildState.PREPARING, BuildState.PENDING, BuildState.SUCCEEDED, BuildState.CANCELED,
    BuildState.SUPERSEDED,
)  # fmt: skip

router = APIRouter(include_in_schema=False, dependencies=[page_needs("read")])


@dataclass(frozen=True)
class MatrixFilter:
    """The filters of the matrix page, as its address gives them."""

    family: str = ""
    stream: str = ""
    branch: str = ""
    state: str = ""
    failing: bool = False
    behind: bool = False

    @classmethod
    def read(cls, query: QueryParams) -> MatrixFilter:
        return cls(
            family=word(query, "family"),
            stream=word(query, "stream"),
            branch=word(query, "branch"),
            state=word(query, "state"),
            failing=bool(word(query, "failing")),
            behind=bool(word(query, "behind")),
        )

    @property
    def values(self) -> dict[str, str | bool]:
        return dict(vars(self))

    @property
    def active(self) -> bool:
        return any(self.values.values())

    def fits(self, cell: board.Cell) -> bool:
        """Whether a cell passes the filters of state, failing and behind."""
        if self.state and cell.state != self.state:
            return False
        if self.failing and cell.state not in board.FAILING:
            return False
        return cell.behind or not self.behind


@router.get("/")
def show_matrix(request: Request) -> Response:
    """Show the matrix: the home page."""
    context = context_of(request)
    chosen = MatrixFilter.read(request.query_params)
    now = datetime.now(UTC)
    with context.db.reader() as session:
        whole = board.matrix(session, context.catalog, now)
    grid = board.Matrix(
        now,
        tuple(column for column in whole.columns if chosen.branch in ("", column.branch)),
        tuple(
            board.only_branch(row, chosen.branch)
            for row in whole.rows
            if chosen.family in ("", row.family) and chosen.stream in ("", row.stream)
        ),
    )
    fitting = {(cell.package, cell.target) for cell in grid.cells if chosen.fits(cell)}
    rows = tuple(
        row for row in grid.rows if any((cell.package, cell.target) in fitting for cell in row.cells)
    )
    values = {
        "grid": board.Matrix(now, grid.columns, rows),
        "counts": grid.counts,
        "total": sum(1 for _ in grid.cells),
        "chosen": chosen,
        "fitting": fitting,
        "has_releases": any(row.newest for row in whole.rows),
        "chip_states": CHIP_STATES,
        "families": sorted({row.family for row in whole.rows}),
        "all_streams": [row.stream for row in whole.rows],
        "all_branches": list(dict.fromkeys(column.branch for column in whole.columns)),
        "all_states": [*BuildState, EMPTY],
        "now": now,
    }
    return page(request, "matrix.html", values)


@router.get("/branches/{name}")
def show_branch(request: Request, name: str) -> Response:
    """Show one Fedora branch with the state of every package on it."""
    context = context_of(request)
    policy = context.catalog.branches.get(known_word(name, "branch"))
    now = datetime.now(UTC)
    with context.db.reader() as session:
        grid = board.matrix(session, context.catalog, now, branch=name)
        recent = board.list_builds(session, board.BuildFilter(branch=name), limit=RECENT).items
        side_tags = board.live_side_tags(session, branch=name)
    if policy is None and not recent:
        raise Problem(404, f"The catalogue has no branch {name}.")
    ordered = sorted(context.catalog.branches.values(), key=lambda each: each.branch)
    values = {
        "name": name,
        "policy": policy,
        "is_eol": policy is not None and policy.is_eol(now.date()),
        "others": [each.branch.name for each in ordered if each.branch.name != name],
        "grid": grid,
        "first": "Package",
        "recent": recent,
        "side_tags": side_tags,
        "now": now,
    }
    return page(request, "branch.html", values)


@router.get("/packages/{name}")
def show_package(request: Request, name: str) -> Response:
    """Show one package: its cells, the releases of its stream, its SRPMs."""
    context = context_of(request)
    known_word(name, "package")
    now = datetime.now(UTC)
    with context.db.reader() as session:
        grid = board.matrix(session, context.catalog, now, package=name)
        if not grid.rows:
            raise Problem(404, f"There is no package {name}.")
        row = grid.rows[0]
        values = {
            "row": row,
            "grid": grid,
            "first": "Branch",
            "releases": board.newest_of_stream(session, row.family, row.stream),
            "srpms": board.list_srpms(session, name),
            "recent": board.list_builds(session, board.BuildFilter(package=name), limit=RECENT).items,
            "badge_branches": list(dict.fromkeys(column.branch for column in grid.columns)),
            "now": now,
        }
    return page(request, "package.html", values)
