"""Hints go to two queues, so that a worker that downloads for minutes does not delay the polling of builds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery import Celery
from sqlalchemy import select

from service import wake
from service.builds.follow_ups import DIAGNOSE, LOGS, REPOSITORY, SURPLUS, VERIFY, add_follow_up
from service.catalog import Catalog
from service.settings import Settings
from service.store.schema import FollowUp, PackageBuild, SideTag
from service.store.session import Database, database_now
from tests.cli.typed import type_here
from tests.store.deliveries import builds, deliver, payload
from tests.test_deploy import project as project  # the compose file, as Compose understands it
from workers import tasks
from workers.builds import deliveries
from workers.cli import main as cli
from workers.context import Context

Hint = tuple[str, list[Any]]


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url)
    yield database
    database.dispose()


def waiting(broker_url: str, queue: str) -> list[Hint]:
    """Take what lies in a queue of the broker: task and arguments."""
    found = []
    with Celery(broker=broker_url, set_as_current=False).connection_for_read() as connection:
        channel = connection.default_channel
        channel.queue_declare(queue, durable=True)
        while (message := channel.basic_get(queue)) is not None:
            channel.basic_ack(message.delivery_tag)
            found.append((message.headers["task"], json.loads(message.body)[0]))
    return found


def test_what_downloads_waits_in_a_queue_of_its_own(
    database: Database, catalog: Catalog, valkey_url: str, tmp_path: Path
) -> None:
    deliver(database, catalog, payload("v1.32.1"))
    due = builds(database, "1.32.1")
    kinds = (LOGS, VERIFY, DIAGNOSE, SURPLUS, REPOSITORY)
    with database.transaction() as session:
        now = database_now(session)
        for kind in kinds:
            add_follow_up(
                session, session.get_one(PackageBuild, due[0].id), kind, "fedora-44-x86_64", due_at=now
            )
        side_tag = SideTag(
            set_id="kubernetes", families=["cri-o"], stream="1.32", branch="f44", system="koji", project="fedora",
            base_target="f44-candidate", waived=[], created_at=now, due_at=now,
        )  # fmt: skip
        session.add(side_tag)
    with database.reader() as session:
        number = {row.kind: row.id for row in session.scalars(select(FollowUp))}
    hints = wake.Wake(Settings(broker_url=valkey_url, state_dir=tmp_path))
    deliveries.sweep(cast(Context, SimpleNamespace(db=database, wake=hints)))
    hints.project("copr", "packbot/cri-o")
    hints.tail(due[0].id, "fedora-44-x86_64")
    hints.close()
    work, fetch = waiting(valkey_url, wake.WORK), waiting(valkey_url, wake.FETCH)
    assert sorted(fetch) == sorted((wake.FOLLOW_UP, [number[kind]]) for kind in (LOGS, VERIFY, DIAGNOSE))
    assert {task for task, _ in work} == {
        wake.ADVANCE_BUILD, wake.FOLLOW_UP, wake.POLL_PROJECT, wake.SIDE_TAG, wake.TAIL_LOG,
    }  # fmt: skip
    assert sorted(args for task, args in work if task == wake.FOLLOW_UP) == sorted(
        [number[kind]] for kind in (SURPLUS, REPOSITORY)
    )


def test_every_hint_is_a_task_that_workers_know() -> None:
    names = {name for name in vars(wake).values() if isinstance(name, str) and name.startswith("cryopack.")}
    assert wake.SIDE_TAG in names and names <= set(tasks.app.tasks)


def test_a_queue_that_nobody_serves_does_not_fill_the_broker(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "WAITING_LIMIT", 3)
    hints = wake.Wake(Settings(broker_url=valkey_url, state_dir=tmp_path, sweep_seconds=0.001))
    served: list[Hint] = []
    for number in range(20):
        hints.follow_up(number, fetches=True)
        hints.build(number)
        # The builds' queue is served, and goes on.
        until = time.monotonic() + 5
        while len(served) <= number and time.monotonic() < until:
            served += waiting(valkey_url, wake.WORK)
    assert served == [(wake.ADVANCE_BUILD, [number]) for number in range(20)]
    assert hints.dropped >= 10 and 3 < len(waiting(valkey_url, wake.FETCH)) <= 10
    hints.follow_up(99, fetches=True)
    hints.close()
    assert waiting(valkey_url, wake.FETCH) == [(wake.FOLLOW_UP, [99])], "served again, it is filled again"


def served(command: list[str]) -> set[str]:
    """The queues that a worker started by this command serves."""
    taken: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "_become", lambda *words: taken.extend(words))
        done = type_here(command, {}, Path.cwd())
    assert done.returncode == 0, done.stderr
    return set(taken[taken.index("--queues") + 1].split(","))


def test_the_deployed_workers_serve_every_queue_and_no_fetcher_serves_polls(project: dict[str, Any]) -> None:
    workers = {
        name: served(service["command"])
        for name, service in project["services"].items()
        if (service.get("command") or [""])[0] == "worker"
    }
    assert len(workers) >= 2 and set().union(*workers.values()) == set(wake.QUEUES)
    assert any(queues == {wake.WORK} for queues in workers.values()), "polls never wait for a download"


def test_one_worker_serves_everything_and_an_unknown_queue_is_refused() -> None:
    assert served(["worker"]) == set(wake.QUEUES)
    done = type_here(["worker", "--queues", "cryopack,polls"], {}, Path.cwd())
    assert done.returncode == 1 and "'cryopack,polls' is not among cryopack, cryopack-fetch" in done.stderr


def test_celery_itself_serves_both_where_it_is_given_none() -> None:
    """``cryopack up`` and whoever starts Celery by hand name no queue."""

    code = "from workers.app import app; print(*sorted(app.amqp.queues.consume_from))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert re.split(r"\s+", done.stdout.strip()) == sorted(wake.QUEUES)
