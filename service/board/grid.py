"""What the matrix is made of: columns, streams and cells. Frozen types, no database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from service.board.rows import BuildRow
from service.domain.states import BuildState

FAILING = frozenset({BuildState.FAILED, BuildState.ERRORED, BuildState.HELD})


@dataclass(frozen=True)
class Good:
    """The last version that succeeded in a cell."""

    build_id: int
    version: str
    nvr: str
    ended_at: datetime
    shipped: str = ""


@dataclass(frozen=True)
class Cell:
    """One package on one target. ``build`` is the newest version's latest attempt.

    ``behind``: upstream has a newer release that this cell should have and that has not succeeded in it.
    ``refusal`` says why the catalogue plans nothing here; empty where it does.
    """

    package: str
    target: str
    branch: str
    system: str
    build: BuildRow | None = None
    good: Good | None = None
    behind: bool = False
    refusal: str = ""
    style: str = "srpm"

    @property
    def state(self) -> str:
        """The build's state; ``empty`` without a build."""
        return self.build.state if self.build else "empty"


@dataclass(frozen=True)
class Column:
    """One target of the catalogue. ``is_eol``: the branch gets no new builds since ``eol``.

    ``style`` tells official builds, made from dist-git, from those of the same branch and system that are not.
    """

    target: str
    branch: str
    system: str
    project: str
    chroots: tuple[str, ...]
    strategy: str
    enabled: bool
    eol: date | None
    is_eol: bool
    style: str


@dataclass(frozen=True)
class StreamRow:
    """One stream, its package and its cells in the columns' order.

    ``newest`` is upstream's newest release not withdrawn, ``buildable`` the newest that we would build.
    ``refusal`` says why the stream is not built. ``confirmed`` is False until a person has looked at it.
    """

    family: str
    stream: str
    package: str
    confirmed: bool
    eol: date | None
    is_eol: bool
    refusal: str
    newest: str | None
    buildable: str | None
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Matrix:
    """Newest stream first. ``now`` is the time for which ends of life and ages hold."""

    now: datetime
    columns: tuple[Column, ...]
    rows: tuple[StreamRow, ...]

    @property
    def cells(self) -> Iterable[Cell]:
        return (cell for row in self.rows for cell in row.cells)

    @property
    def counts(self) -> Mapping[str, int]:
        """Cells by state, and ``behind`` and ``failing`` over them."""
        counts = Counter(cell.state for cell in self.cells)
        counts["behind"] = sum(cell.behind for cell in self.cells)
        counts["failing"] = sum(cell.state in FAILING for cell in self.cells)
        return counts

    @property
    def has_builds(self) -> bool:
        return any(cell.build for cell in self.cells)
