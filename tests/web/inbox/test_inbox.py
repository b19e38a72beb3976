"""The inbox under load and in trouble: groups, a broker that is away, a database that is away."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sqlite3
import threading
import time
from collections.abc import Sequence

import httpx2
import psycopg
import pytest
import redis
from sqlalchemy import create_engine, event, func, make_url, select, text

from service.releases.intake import Accepted, Incoming, accept_deliveries
from service.store.schema import WebhookDelivery
from service.store.session import Database
from service.web.base import inbox
from tests.servers import Postgres, Valkey
from tests.web.live import LiveApp, serving

BODY = b'{"action": "published"}'


def burst(live: LiveApp, count: int, *, guid: str = "") -> list[httpx2.Response]:
    """``count`` deliveries at the same time; one guid for all of them if it is given."""

    def send(number: int) -> httpx2.Response:
        return live.deliver(BODY, x_github_delivery=guid or f"burst-{number}")

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(send, range(count)))


def guids(live: LiveApp) -> list[str]:
    with live.context.db.reader() as session:
        return list(session.scalars(select(WebhookDelivery.guid)))


def test_deliveries_that_wait_together_share_a_transaction(live: LiveApp) -> None:
    commits: list[object] = []
    event.listen(live.context.db.engine, "commit", commits.append)
    hold, entered = threading.Event(), threading.Event()

    def slow_begin(_: object) -> None:
        entered.set()
        hold.wait(10)

    event.listen(live.context.db.engine, "begin", slow_begin)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(live.deliver, BODY)
        entered.wait(5)
        others = pool.submit(burst, live, 24)
        deadline = time.monotonic() + 5
        while live.context.inbox._queue.qsize() < 24 and time.monotonic() < deadline:
            time.sleep(0.01)
        hold.set()
        done = [first.result(), *others.result()]
    assert {answer.status_code for answer in done} == {202}
    assert len(commits) == live.context.inbox.groups == 2
    assert len(guids(live)) == live.context.inbox.stored == 25


def test_one_guid_many_times_at_once_is_one_delivery(live: LiveApp) -> None:
    answers = burst(live, 16, guid="the-same")
    assert {answer.status_code for answer in answers} == {202}
    assert [answer.json()["duplicate"] for answer in answers].count(False) == 1
    assert guids(live) == ["the-same"]


def test_a_bad_row_does_not_refuse_its_neighbours(live: LiveApp, monkeypatch: pytest.MonkeyPatch) -> None:
    real = accept_deliveries

    def picky(db: Database, batch: Sequence[Incoming]) -> list[Accepted]:
        if any(item.guid == "burst-3" for item in batch):
            raise ValueError("this row cannot be stored")
        return real(db, batch)

    monkeypatch.setattr(inbox, "accept_deliveries", picky)
    answers = burst(live, 12)
    assert [answer.status_code for answer in answers] == [503 if n == 3 else 202 for n in range(12)]
    assert len(guids(live)) == 11


def test_broker_down(brokerless: LiveApp) -> None:
    live = brokerless
    begun = time.monotonic()
    answers = burst(live, 16)
    assert {answer.status_code for answer in answers} == {202}
    assert time.monotonic() - begun < 5
    assert len(guids(live)) == 16
    ready = live.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")


def test_broker_that_stalls(sqlite_url: str, valkey: Valkey) -> None:
    with serving(sqlite_url, broker_url=valkey.url) as live:
        assert live.deliver(BODY).status_code == 202
        valkey.pause()
        try:
            slowest = 0.0
            for _ in range(10):
                begun = time.monotonic()
                assert live.deliver(BODY).status_code == 202
                slowest = max(slowest, time.monotonic() - begun)
        finally:
            valkey.resume()
        # A request that waited for the broker would last its socket time-out, which is 5 s.
        assert slowest < 4.0, f"an answer took {slowest:.3f} s while the broker stalled"
        assert len(guids(live)) == 11


def test_hints_reach_the_broker_only_for_what_is_due(sqlite_url: str, valkey: Valkey) -> None:
    with serving(sqlite_url, broker_url=valkey.url) as live:
        live.deliver(BODY, x_github_delivery="once")
        live.deliver(BODY, x_github_delivery="once")
        live.deliver(BODY, x_github_event="ping")
        live.context.wake.close()
    assert redis.Redis.from_url(valkey.url).llen("cryopack") in (1, 2)


def test_sqlite_locked_by_somebody_else(sqlite_url: str) -> None:
    path = make_url(sqlite_url).database
    assert path
    with serving(sqlite_url) as live:
        live.context.inbox._answer_seconds = 0.6
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        refused = live.deliver(BODY, x_github_delivery="while-locked")
        waiting = live.deliver(BODY, x_github_delivery="behind-it")
        assert (refused.status_code, waiting.status_code) == (503, 503)
        assert int(refused.headers["retry-after"]) > 0
        assert live.get("/healthz").status_code == 200
        holder.execute("ROLLBACK")
        holder.close()
        deadline = time.monotonic() + 10
        while live.deliver(BODY, x_github_delivery="after").status_code != 202:
            assert time.monotonic() < deadline
        # What the writer had not begun with was refused for good; nobody was told that it is stored.
        assert "behind-it" not in guids(live)


def test_postgres_away_and_back(postgres: tuple[Postgres, str], postgres_url: str) -> None:
    name = make_url(postgres_url).database
    assert name
    with serving(postgres_url) as live:
        assert live.deliver(BODY, x_github_delivery="before").status_code == 202
        admin = create_engine(make_url(postgres_url).set(database="postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
                {"name": name},
            )
        try:
            begun = time.monotonic()
            answers = burst(live, 8)
            assert {answer.status_code for answer in answers} == {503}
            assert all("retry-after" in answer.headers for answer in answers)
            assert time.monotonic() - begun < 10
            assert live.get("/healthz").status_code == 200
            ready = live.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
            page = live.get("/")
            assert page.status_code == 503 and "database does not answer" in page.text
            assert "Traceback" not in page.text and "psycopg" not in page.text
            api = live.get("/api/v1/matrix")
            assert api.status_code == 503
            assert api.headers["content-type"] == "application/problem+json"
            assert live.get("/metrics").status_code == 200
        finally:
            with admin.connect() as connection:
                connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))
            admin.dispose()
        assert live.deliver(BODY, x_github_delivery="after").status_code == 202
        assert sorted(guids(live)) == ["after", "before"]
        assert live.get("/readyz").status_code == 200


def test_readiness_leaves_no_trace(live: LiveApp) -> None:
    for _ in range(3):
        assert live.get("/readyz").status_code == 200
    with live.context.db.reader() as session:
        assert session.scalar(text("SELECT count(*) FROM contacts")) == 0


def test_what_waits_is_stored_before_the_service_stops(database_url: str) -> None:
    with serving(database_url) as live:
        answers = burst(live, 12)
    assert {answer.status_code for answer in answers} == {202}
    db = Database(database_url)
    with db.reader() as session:
        assert session.scalar(select(func.count()).select_from(WebhookDelivery)) == 12
    db.dispose()


def test_stopping_waits_for_a_stalled_database_only_so_long(
    monkeypatch: pytest.MonkeyPatch, db: Database
) -> None:
    monkeypatch.setattr(inbox, "WAITING_LIMIT", 3)
    monkeypatch.setattr(inbox, "CLOSE_SECONDS", 0.1)
    entered, hold, ended = (threading.Event() for _ in range(3))

    def stalled(db: Database, group: Sequence[Incoming]) -> list[Accepted]:
        entered.set()
        hold.wait(20)
        return accept_deliveries(db, group)

    monkeypatch.setattr(inbox, "accept_deliveries", stalled)
    box = inbox.Inbox(db)
    box.start()

    async def fill() -> list[Accepted]:
        waiting = [asyncio.ensure_future(box.store(Incoming("first", "release", BODY)))]
        assert await asyncio.to_thread(entered.wait, 10)
        waiting += [asyncio.ensure_future(box.store(Incoming(f"g{n}", "release", BODY))) for n in range(3)]
        await asyncio.sleep(0)
        assert box._queue.full()
        closing = threading.Thread(target=lambda: (box.close(), ended.set()), daemon=True)
        closing.start()
        assert await asyncio.to_thread(ended.wait, 10), "closing waits for room in the queue"
        hold.set()
        return await asyncio.gather(*waiting)

    # In a thread of its own: this one may have the event loop of a browser.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(lambda: asyncio.run(fill())).result()) == 4
    # What had waited is stored, and the writer ends although nobody could tell it to.
    box._thread.join(10)
    assert not box._thread.is_alive() and box.stored == 4


def test_durable_before_the_answer(postgres_url: str) -> None:
    with serving(postgres_url) as live:
        live.deliver(BODY, x_github_delivery="seen-by-others")
        address = postgres_url.replace("+psycopg", "")
        with psycopg.connect(address) as other:
            assert other.execute("SELECT guid FROM webhook_deliveries").fetchall() == [("seen-by-others",)]


def test_the_answer_comes_after_the_commit(live: LiveApp) -> None:
    """A commit that fails is a 503: the answer waits for it."""

    def broken(_: object) -> None:
        raise OSError("the disk is full")

    event.listen(live.context.db.engine, "commit", broken)
    assert live.deliver(BODY).status_code == 503
    event.remove(live.context.db.engine, "commit", broken)
    assert guids(live) == []
    assert live.deliver(BODY).status_code == 202
