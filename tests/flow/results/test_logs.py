"""Logs from the farm to the page: fetched, kept when the build system has deleted its copy, removed in the end."""

from __future__ import annotations

import gzip
import os
import shutil
import time
import zlib
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from service.board.logs import LogRow, logs_of
from service.logs import blocks
from service.store.schema import BuildEvent, BuildLog, FollowUp, LogTail
from service.store.session import database_now
from tests.flow.house import House
from tests.flow.killing import Killed
from tests.web.live import serving
from workers import follow_ups
from workers.results import build_logs

BAD, GOOD = "fedora-44-aarch64", "fedora-44-x86_64"


@pytest.fixture
def house(sqlite_house: House) -> House:
    sqlite_house.only("f44-copr")
    return sqlite_house


def kept(house: House) -> dict[tuple[str, str], LogRow]:
    with house.context.db.reader() as session:
        rows = logs_of(session, house.builds()[0].id)
    return {(row.chroot, row.kind): row for row in rows}


def outcomes(house: House, kind: str = "logs") -> dict[str, str]:
    with house.context.db.reader() as session:
        rows = session.scalars(select(FollowUp).where(FollowUp.kind == kind)).all()
        return {row.subject: row.outcome for row in rows}


def built(house: House, log: str) -> None:
    house.farm.set_outcome("failed", chroot=BAD, log=log)
    house.announce("v1.35.6")
    house.run()
    house.settle(60)


def page_settings(house: House) -> tuple[str, dict[str, object]]:
    return house.settings.database(), {"state_dir": house.settings.state_dir}


def test_every_ended_chroot_has_its_logs_even_after_the_build_system_deleted_them(house: House) -> None:
    log = "start\n" + "".join(f"line {n}\n" for n in range(5000)) + "error: <b>bold</b> \x1b[31mred\x1b[0m\n"
    built(house, log)
    rows = kept(house)
    assert set(rows) == {(c, k) for c in (BAD, GOOD) for k in ("builder", "root", "backend")}
    assert all(row.is_stored for row in rows.values())
    assert set(outcomes(house).values()) == {"stored: backend, builder, root"}
    (build,) = house.builds()
    with house.context.db.reader() as session:
        told = set(session.scalars(select(BuildEvent.chroot).where(BuildEvent.kind == "logs")))
    assert told == {BAD, GOOD}

    shutil.rmtree(house.farm.state_dir / "results")
    url, changes = page_settings(house)
    with serving(url, **changes) as live:
        page = live.get(f"/builds/{build.id}/logs/{BAD}")
        assert page.status_code == 200 and "&lt;b&gt;bold&lt;/b&gt; red" in page.text
        assert page.text.count('class="row"') == 1000, "a window, not the whole"
        assert 'id="L5008"' not in page.text or 'id="L1"' not in page.text
        first = live.get(f"/builds/{build.id}/logs/{BAD}?line=1")
        assert 'id="L1"' in first.text and "SIMULATED" in first.text
        found = live.get(f"/builds/{build.id}/logs/{BAD}?q=LINE+4321")
        assert "1 line holds" in found.text and "line=4" in found.text
        whole = live.get(f"/api/v1/builds/{build.id}/logs/{BAD}")
        assert whole.status_code == 200 and whole.text.endswith(log)
        part = live.get(f"/api/v1/builds/{build.id}/logs/{BAD}", range="bytes=-20")
        assert (part.status_code, part.content) == (206, whole.content[-20:])
        lines = live.get(f"/api/v1/builds/{build.id}/logs/{BAD}?first_line=2&lines=1")
        assert lines.content == whole.content.split(b"\n")[1] + b"\n"
        root = live.get(f"/api/v1/builds/{build.id}/logs/{GOOD}?kind=root")
        assert "buildroot" in root.text
        hits = live.get(f"/api/v1/builds/{build.id}/logs/{BAD}/search?q=line%204321").json()
        assert [hit["text"] for hit in hits["hits"]] == ["line 4321"] and hits["complete"]
        told = live.get(f"/api/v1/builds/{build.id}/logs/{BAD}", accept="application/json").json()
        assert {row["kind"] for row in told["kept"]} == {"builder", "root", "backend"}
        assert f"/builds/{build.id}/logs/{GOOD}" in live.get(f"/builds/{build.id}").text


def test_a_source_step_that_failed_has_its_log(house: House) -> None:
    house.farm.set_outcome("failed", chroot="srpm-builds", log="cannot read the source RPM\n")
    house.announce("v1.35.6")
    house.run()
    house.settle(60)
    (build,) = house.builds()
    rows = kept(house)
    assert set(rows) == {("source", "source")} and rows["source", "source"].is_stored
    url, changes = page_settings(house)
    with serving(url, **changes) as live:
        assert "cannot read the source RPM" in live.get(f"/builds/{build.id}/logs/source").text


def test_logs_that_appear_late_are_fetched_late(house: House) -> None:
    # Right after the end there is neither the plain nor the compressed log.
    house.farm.fault("answer", "/results/*", times=6, status=404, body="not found")
    built(house, "error: late\n")
    rows = kept(house)
    assert all(row.is_stored for row in rows.values()) and len(rows) == 6


def test_a_results_server_that_is_away_costs_no_tries(house: House) -> None:
    house.farm.set_outcome("failed", chroot=BAD, log="error: away\n")
    house.farm.fault("answer", "/results/*", times=None, status=503, body="away")
    house.announce("v1.35.6")
    house.run()
    until = time.monotonic() + 3
    while time.monotonic() < until:
        house.turn()
        time.sleep(0.05)
    with house.context.db.reader() as session:
        rows = session.scalars(select(FollowUp).where(FollowUp.kind == "logs")).all()
        session.expunge_all()
    assert rows and all(row.ended_at is None and row.tries <= 1 and "503" in row.outcome for row in rows)
    house.farm.clear_faults()
    house.settle(60)
    assert all(row.is_stored for row in kept(house).values())


def test_logs_that_are_gone_for_good_are_told_with_their_reason(house: House) -> None:
    house.farm.fault("answer", "/results/*", times=None, status=404, body="not found")
    built(house, "error: gone\n")
    rows = kept(house)
    assert rows and all(not row.is_stored and "404" in row.problem for row in rows.values())
    (build,) = house.builds()
    url, changes = page_settings(house)
    with serving(url, **changes) as live:
        assert "Not here: 127.0.0.1 answers 404" in live.get(f"/builds/{build.id}/logs/{BAD}").text


def test_a_redirect_to_another_place_is_not_followed(house: House) -> None:
    house.farm.fault(
        "answer", "/results/*", times=None, status=302, body="", headers={"location": "http://127.0.0.2:1/x"}
    )
    built(house, "error: elsewhere\n")
    assert all("redirects to another place" in row.problem for row in kept(house).values())


def test_a_killed_worker_repeats_one_log_and_doubles_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.farm.set_outcome("failed", chroot=BAD, log="error: killed\n")
    house.announce("v1.35.6")
    house.run_to("failed")
    with house.context.db.reader() as session:
        ids = session.scalars(select(FollowUp.id).where(FollowUp.kind == "logs")).all()
    real = build_logs.record_log
    for _ in range(2):
        monkeypatch.setattr(build_logs, "record_log", lambda *_: (_ for _ in ()).throw(Killed))
        for follow_up in ids:
            with house.context.db.transaction() as session:
                row = session.get_one(FollowUp, follow_up)
                if row.ended_at is None:
                    row.lease_until = None
                    row.due_at = database_now(session)
            try:
                follow_ups.run_follow_up(house.context, follow_up)
            except Killed:
                continue
        monkeypatch.setattr(build_logs, "record_log", real)
    with house.context.db.transaction() as session:
        for row in session.scalars(select(FollowUp).where(FollowUp.ended_at.is_(None))):
            row.lease_until = None
            row.due_at = database_now(session)
    house.settle(60)
    rows = kept(house)
    assert len(rows) == 6 and all(row.is_stored for row in rows.values())
    keys = {found.key.partition("/")[2][:64] for found in house.context.logs.objects()}
    assert keys == {row.sha256 for row in rows.values()}
    assert not list((house.settings.state_dir / "spool").iterdir())


def test_the_end_of_a_growing_log_is_shown(house: House) -> None:
    house.farm.pause()
    house.announce("v1.35.6")
    house.run_to("running", 60)
    (build,) = house.builds()
    for _ in range(20):
        found = list((house.farm.state_dir / "results").rglob("fedora-44-*/*/builder-live.log"))
        if found:
            break
        house.farm.step()
    live_log = found[0]
    chroot = live_log.parents[1].name
    house.run(lambda builds: house.chroots(build.id)[chroot].state == "running", 60)
    with live_log.open("ab") as log:
        log.write(b"x" * 100_000 + b"\nnow compiling \x1b[1mcrio\x1b[0m\n")
    url, changes = page_settings(house)
    with serving(url, **changes) as live:
        assert "is being fetched" in live.get(f"/builds/{build.id}/logs/{chroot}").text
        build_logs.tail_log(house.context, build.id, chroot)
        page = live.get(f"/builds/{build.id}/logs/{chroot}").text
        assert "now compiling crio" in page and 'http-equiv="refresh"' in page
        with live_log.open("ab") as log:
            log.write(b"now linking\n")
        build_logs.tail_log(house.context, build.id, chroot)
        assert "now linking" not in live.get(f"/builds/{build.id}/logs/{chroot}").text, "it is fresh enough"
    with house.context.db.transaction() as session:
        (tail,) = session.scalars(select(LogTail)).all()
        assert len(tail.tail) <= build_logs.TAIL_BYTES < tail.size
        tail.fetched_at = database_now(session) - timedelta(minutes=1)
    build_logs.tail_log(house.context, build.id, chroot)
    with house.context.db.reader() as session:
        assert session.scalars(select(LogTail.tail)).one().endswith(b"now linking\n")
    build_logs.tail_log(house.context, build.id, "fedora-1-none")
    house.farm.resume()
    house.run()
    house.settle(60)
    with house.context.db.reader() as session:
        assert session.scalars(select(LogTail).where(LogTail.chroot == chroot)).all() == []


def test_old_logs_are_removed_and_their_rows_say_so(house: House) -> None:
    built(house, "error: old\n")
    (build,) = house.builds()
    assert build_logs.clean(house.context) == 0
    orphan = house.settings.state_dir / "logs" / f"{build.id:06d}" / f"{'0' * 64}.log.gz"
    orphan.write_bytes(gzip.compress(b"left by a crash"))
    os.utime(orphan, (0, 0))
    with house.context.db.transaction() as session:
        for row in session.scalars(select(BuildLog).where(BuildLog.chroot == BAD)):
            row.stored_at = database_now(session) - timedelta(days=100)
    rows = kept(house)
    shared = {row.sha256 for row in rows.values() if row.chroot == GOOD}
    gone = {row.sha256 for row in rows.values() if row.chroot == BAD} - shared
    assert build_logs.clean(house.context) == len(gone) + 1 and not orphan.exists()
    rows = kept(house)
    assert all(row.is_stored is (row.chroot == GOOD) for row in rows.values())
    assert all("removed after 90 days" in row.problem for row in rows.values() if row.chroot == BAD)
    url, changes = page_settings(house)
    with serving(url, **changes) as live:
        assert "removed after 90 days" in live.get(f"/builds/{build.id}/logs/{BAD}").text
        answer = live.get(f"/api/v1/builds/{build.id}/logs/{BAD}")
        assert answer.status_code == 404 and "removed after 90 days" in answer.json()["detail"]
    assert len(list((house.settings.state_dir / "logs").rglob("*.gz"))) == len(shared), (
        "what two chroots share stays"
    )


def test_all_logs_together_stay_below_their_limit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    built(house, "error: much\n")
    settings = house.context.settings.model_copy(update={"log_keep_bytes": 300})
    monkeypatch.setattr(house.context, "settings", settings)
    assert build_logs.clean(house.context) > 0
    rows = kept(house)
    assert sum(row.stored_size for row in rows.values() if row.is_stored) <= 300
    assert any("stay below 300 bytes" in row.problem for row in rows.values())


def test_a_bomb_among_the_logs_costs_neither_memory_nor_disk(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_logs, "READ_AT_MOST", 2)
    runners = follow_ups.RUNNERS
    monkeypatch.setattr(follow_ups, "RUNNERS", {})
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    house.farm.set_outcome("failed", chroot=BAD, log="x\n")
    house.announce("v1.35.6")
    house.run_to("failed")
    zeros = b"\0" * blocks.BLOCK
    bomb = b"".join(packer.compress(zeros) for _ in range(600)) + packer.flush()
    for folder in (house.farm.state_dir / "results").rglob(f"{BAD}/*"):
        if folder.is_dir():
            (folder / "builder-live.log.gz").write_bytes(bomb)
            Path(folder / "builder-live.log").unlink(missing_ok=True)
    settings = house.context.settings.model_copy(update={"log_size_limit": 32 * 1024 * 1024})
    monkeypatch.setattr(house.context, "settings", settings)
    monkeypatch.setattr(follow_ups, "RUNNERS", runners)
    house.settle(60)
    row = kept(house)[BAD, "builder"]
    assert row.is_stored and row.plain_size < 34 * 1024 * 1024 and row.left_out > 0
    assert row.stored_size < 1024 * 1024
