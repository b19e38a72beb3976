"""The matrix and the lists: right rows in few statements, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from service import board
from service.catalog import Catalog
from service.store.schema import PackageBuild
from service.store.session import Database
from tests.store.deliveries import deliver, payload
from tests.web.scene import Scene, play

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@contextmanager
def statements(db: Database) -> Iterator[list[str]]:
    """The SELECTs that were sent meanwhile."""
    sent: list[str] = []
    engine = db._read_engine

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def scene_db(db: Database, catalog: Catalog) -> Database:
    play(db, catalog)
    return db


def cell(grid: board.Matrix, package: str, branch: str) -> board.Cell:
    return next(cell for cell in grid.cells if (cell.package, cell.branch) == (package, branch))


def grid_of(db: Database, catalog: Catalog, **wanted: str) -> board.Matrix:
    with db.reader() as session:
        return board.matrix(session, catalog, NOW, **wanted)


def test_the_scene_in_the_matrix(scene_db: Database, catalog: Catalog) -> None:
    grid = grid_of(scene_db, catalog)
    assert [row.stream for row in grid.rows][:3] == ["1.99", "1.37", "1.36"]
    assert [column.branch for column in grid.columns] == ["f43", "f44", "f45", "rawhide"]

    good = cell(grid, "cri-o1.34", "f43")
    assert (good.state, good.behind, good.build and good.build.nvr) == (
        "succeeded", False, "cri-o1.34-1.34.2-0.2.fc43",
    )  # fmt: skip
    failed = cell(grid, "cri-o1.34", "f44")
    assert failed.build and failed.good
    assert (failed.state, failed.build.attempt, failed.behind, failed.good.version) == (
        "failed",
        2,
        True,
        "1.34.1",
    )
    assert "text relocations" in failed.build.reason
    assert {row.arch: row.state for row in failed.build.chroots} == {
        "x86_64": "succeeded",
        "aarch64": "failed",
    }
    running = cell(grid, "cri-o1.34", "f45")
    assert running.build and {row.arch: row.state for row in running.build.chroots} == {
        "x86_64": "succeeded", "aarch64": "running",
    }  # fmt: skip
    assert [cell(grid, "cri-o1.33", branch).state for branch in ("f43", "f44", "f45", "rawhide")] == [
        "held", "submitting", "preparing", "canceled",
    ]  # fmt: skip
    assert cell(grid, "cri-o1.34", "rawhide").state == "errored"
    # A first build under way is not behind; a stream without releases is empty and would be built.
    assert not cell(grid, "cri-o1.99", "f43").behind
    empty = cell(grid, "cri-o1.36", "f43")
    assert (empty.state, empty.refusal, empty.behind) == ("empty", "", False)
    old = cell(grid, "cri-o1.29", "f43")
    assert old.state == "empty" and "not built" in old.refusal and not old.behind


def test_rows_say_what_the_catalogue_and_upstream_say(scene_db: Database, catalog: Catalog) -> None:
    rows = {row.stream: row for row in grid_of(scene_db, catalog).rows}
    assert not rows["1.99"].confirmed and rows["1.34"].confirmed
    assert (rows["1.35"].newest, rows["1.35"].buildable) == ("1.35.1-rc.1", "1.35.0")
    assert rows["1.31"].is_eol and rows["1.29"].refusal
    assert (rows["1.36"].newest, rows["1.36"].buildable) == (None, None)


def test_a_stale_green_is_behind(db: Database, catalog: Catalog) -> None:
    scene = Scene(db, catalog)
    scene.announce("v1.34.1")
    scene.succeed("1.34.1", "f43-copr")
    assert not cell(grid_of(db, catalog), "cri-o1.34", "f43").behind
    deliver(db, catalog, payload("v1.34.10"))
    stale = cell(grid_of(db, catalog), "cri-o1.34", "f43")
    assert stale.behind and stale.good and stale.good.version == "1.34.1"
    scene.succeed("1.34.10", "f43-copr")
    fresh = cell(grid_of(db, catalog), "cri-o1.34", "f43")
    # 1.34.10 is newer than 1.34.9 would be: versions are compared, not texts.
    assert fresh.build and (fresh.behind, fresh.build.version) == (False, "1.34.10")


def test_an_end_of_life_branch_says_so(db: Database, catalog: Catalog) -> None:
    scene = Scene(db, catalog)
    scene.announce("v1.34.1")
    scene.succeed("1.34.1", "f43-copr")
    scene.announce("v1.34.2")
    policies = dict(catalog.branches)
    policies["f43"] = type(policies["f43"])(policies["f43"].branch, date(2026, 1, 1))
    ended = type(catalog)(**{**vars(catalog), "branches": policies})
    found = cell(grid_of(db, ended), "cri-o1.34", "f43")
    assert "end of life since 2026-01-01" in found.refusal and not found.behind
    assert grid_of(db, ended).columns[0].is_eol


def test_cutting_the_matrix_down(scene_db: Database, catalog: Catalog) -> None:
    one = grid_of(scene_db, catalog, package="cri-o1.34", branch="f44")
    assert [(len(row.cells), row.package) for row in one.rows] == [(1, "cri-o1.34")]
    assert grid_of(scene_db, catalog, family="kubernetes").rows == ()
    assert grid_of(scene_db, catalog, branch="f1").columns == ()


Read = Callable[[Session, Catalog], object]


@pytest.mark.parametrize(
    ("read", "most"),
    [
        (lambda session, catalog: board.matrix(session, catalog, NOW), 3),
        (lambda session, catalog: board.list_builds(session, board.BuildFilter()), 2),
        (lambda session, catalog: board.list_builds(session, board.BuildFilter(arch="aarch64")), 2),
        (lambda session, catalog: board.list_releases(session), 2),
        (lambda session, catalog: board.list_deliveries(session), 1),
        (lambda session, catalog: board.latest_ends(session), 2),
        (lambda session, catalog: board.build_detail(session, 22), 5),
        (lambda session, catalog: board.release_detail(session, catalog, NOW, "cri-o", "1.34.2"), 4),
    ],
)  # fmt: skip
def test_how_many_statements_a_page_costs(
    scene_db: Database, catalog: Catalog, read: Read, most: int
) -> None:
    with statements(scene_db) as sent, scene_db.reader() as session:
        assert read(session, catalog)
    assert len(sent) <= most, sent


def test_pages_hold_still_while_builds_arrive(scene_db: Database, catalog: Catalog) -> None:
    seen: list[int] = []
    cursor = None
    arrived = 0
    while True:
        with scene_db.reader() as session:
            page = board.list_builds(session, board.BuildFilter(), cursor=cursor, limit=7)
        seen += [build.id for build in page.items]
        cursor = page.next
        if cursor is None:
            break
        if arrived < 3:
            arrived += 1
            deliver(scene_db, catalog, payload(f"v1.34.{50 + arrived}"))
    assert seen == sorted(set(seen), reverse=True)
    with scene_db.reader() as session:
        first = board.list_builds(session, board.BuildFilter(), limit=200).items
    # Everything that was there at the start was seen exactly once, and nothing that came later.
    assert seen == [build.id for build in first if build.id <= seen[0]]
    assert len(first) == len(seen) + 3 * len(catalog.targets)


def test_filters(scene_db: Database) -> None:
    def ids(**wanted: Any) -> list[tuple[str, str, str]]:
        with scene_db.reader() as session:
            found = board.list_builds(session, board.BuildFilter(**wanted)).items
        return [(build.version, build.branch, build.state) for build in found]

    assert ids(states=("held",)) == [("1.33.1", "f43", "held")]
    assert {branch for _, branch, _ in ids(branch="f44")} == {"f44"}
    assert {version for version, _, _ in ids(stream="1.34")} == {"1.34.1", "1.34.2"}
    assert ids(states=("failed", "errored"), package="cri-o1.34") == [
        ("1.34.2", "f44", "failed"), ("1.34.2", "rawhide", "errored"), ("1.34.2", "f44", "failed"),
    ]  # fmt: skip
    assert ids(arch="aarch64", states=("running",)) == [("1.34.2", "f45", "running")]
    assert ids(arch="riscv64") == [] and ids(ids=[]) == []
    assert ids(since=datetime(2100, 1, 1, tzinfo=UTC)) == []


def test_a_release_tells_its_story(scene_db: Database, catalog: Catalog) -> None:
    with scene_db.reader() as session:
        found = board.release_detail(session, catalog, NOW, "cri-o", "1.34.2")
        assert found and found.delivery
        change = board.spec_change(session, found.latest[0].id)
        beside = board.spec_beside(session, found.latest[0].id)
        oldest = board.spec_beside(session, oldest_with_a_spec(session))
    assert (found.release.status, found.package, found.delivery.guid) == (
        "running",
        "cri-o1.34",
        "guid-v1.34.2",
    )
    assert found.release.builds == {"succeeded": 1, "failed": 1, "running": 1, "errored": 1}
    assert [build.attempt for build in found.builds if build.branch == "f44"] == [2, 1]
    assert found.facts["wazero"] == "v1.9.0"
    assert change and change.previous and change.previous.version == "1.34.1"
    assert any(line.startswith("+Version:") and "1.34.2" in line for line in change.diff)
    # 1.33.2 does not exist, so the newest of the stream before stands beside it.
    assert beside and beside.previous and beside.previous.package == "cri-o1.33"
    assert beside.previous.target == change.spec.target
    assert "+Name:           cri-o1.34" in beside.diff
    # The oldest stream has only the one after it.
    assert oldest and oldest.previous
    assert (oldest.spec.package, oldest.previous.package) == ("cri-o1.31", "cri-o1.32")


def oldest_with_a_spec(session: Session) -> int:
    statement = select(PackageBuild.id).where(PackageBuild.spec_text.is_not(None))
    return session.scalars(statement.order_by(PackageBuild.sort_key)).first() or 0


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([], "planned"),
        (["succeeded", "succeeded"], "succeeded"),
        (["succeeded", "superseded"], "succeeded"),
        (["superseded"], "superseded"),
        (["failed", "running", "held"], "running"),
        (["held", "failed"], "held"),
        (["errored", "failed", "canceled"], "failed"),
        (["errored", "canceled", "succeeded"], "errored"),
        (["canceled", "succeeded"], "canceled"),
    ],
)
def test_status_of_a_release(states: list[str], status: str) -> None:
    assert board.status_of(states) == status
