"""Polls in trouble: nothing that ended well is lost, every build is read, what went wrong is said."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from service.builds.claims import find_due
from service.builds.commands import give_up_build, request_cancel
from service.builds.polls import claim_polls, ref_of
from service.domain.specs import SpecFile
from service.store.schema import FollowUp, PackageBuild
from tests.flow.house import House
from workers import follow_ups
from workers.builds import deliveries, polling, steps
from workers.buildsystems import BuildSystemUnavailable
from workers.packaging import preparation
from workers.sources import upstream


@pytest.fixture
def house(sqlite_house: House) -> House:
    sqlite_house.only("f44-copr")
    return sqlite_house


class Changed:
    """The real adapter with some of its methods replaced."""

    def __init__(self, house: House, **methods: Any) -> None:
        self._real = house.context.system("copr")
        vars(self).update(methods)
        house.context._systems["copr"] = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def change(house: House, **values: Any) -> None:
    with house.context.db.transaction() as session:
        for row in session.scalars(select(PackageBuild)):
            for name, value in values.items():
                setattr(row, name, value(row) if callable(value) else value)


def due(row: PackageBuild) -> Any:
    return row.created_at


def past(row: PackageBuild) -> Any:
    return row.created_at - timedelta(minutes=10)


def running(house: House) -> None:
    house.farm.set_outcome("pending")
    house.announce("v1.35.6")
    house.run(lambda builds: bool(builds) and all(build.state == "running" for build in builds))


@pytest.mark.parametrize("path", ["/api_3/build/list", "/api_3/build-chroot/list"])
def test_one_bad_answer_after_the_deadline_loses_no_success(house: House, path: str) -> None:
    house.announce("v1.35.6")
    house.process_inbox()
    steps.advance(house.context, 1)
    house.farm.wait(lambda builds: len(builds) == 1 and builds[0]["state"] == "succeeded", 60)
    change(house, deadline_at=past, due_at=due)
    house.farm.fault("bad_gateway", path, times=1)
    house.run()
    assert house.builds()[0].state == "succeeded", house.builds()[0].reason


def test_a_cancel_that_was_asked_for_is_one_after_the_deadline_too(house: House) -> None:
    running(house)
    request_cancel(house.context.db, 1, by="alice")
    house.context.system("copr").cancel(ref_of(house.builds()[0]))
    change(house, deadline_at=past, due_at=due)
    house.run()
    assert (house.builds()[0].state, house.builds()[0].reason) == ("canceled", "canceled by alice")


def test_trouble_of_our_own_in_a_poll_is_said_and_counted(house: House) -> None:
    running(house)

    def poll(refs: object) -> object:
        raise RecursionError("a deep answer")

    Changed(house, poll=poll)
    for tries in (1, 2):
        change(house, due_at=due)
        polling.poll_project(house.context, "copr", "packbot/cri-o")
        (build,) = house.builds()
        assert build.reason == "internal trouble while it was read: RecursionError"
        assert (build.lease_token, build.tries) == (None, tries)


def test_slow_cancels_and_a_slow_poll_keep_their_lease(sqlite_house: House) -> None:
    house = sqlite_house
    house.only("f44-copr", "f45-copr")
    running(house)
    lease = house.settings.poll_lease_seconds
    real = house.context.system("copr")
    others: list[list[object]] = []

    def cancel(ref: Any) -> None:
        time.sleep(lease * 0.3)
        real.cancel(ref)

    def poll(refs: Any) -> object:
        time.sleep(lease * 0.6)
        house.context._systems["copr"] = real
        others.append(
            list(claim_polls(house.context.db, "copr", "packbot/cri-o", lease_seconds=60, max_tries=9))
        )
        return real.poll(refs)

    Changed(house, cancel=cancel, poll=poll)
    for build in house.builds():
        request_cancel(house.context.db, build.id, by="alice")
    change(house, due_at=due, lease_until=None, lease_token=None)
    polling.poll_project(house.context, "copr", "packbot/cri-o")
    assert others == [[]] and {build.state for build in house.builds()} == {"canceled"}


def test_a_slow_copr_ends_no_search_for_what_was_given_up(house: House) -> None:
    running(house)
    give_up_build(house.context.db, 1, by="alice", why="slow", surplus_seconds=0)
    real = house.context.system("copr")

    def cancel(ref: object) -> None:
        raise BuildSystemUnavailable("COPR was silent for 60 s")

    Changed(house, cancel=cancel)
    for _ in range(follow_ups.FOLLOW_UP_TRIES + 4):
        with house.context.db.transaction() as session:
            for row in session.scalars(select(FollowUp)):
                row.due_at = house.builds()[0].created_at
                row.tries += 1
        for follow_up in find_due(house.context.db).follow_ups:
            follow_ups.run_follow_up(house.context, follow_up)
    with house.context.db.reader() as session:
        assert [row.ended_at for row in session.scalars(select(FollowUp))] == [None]
    house.context._systems["copr"] = real
    house.settle()
    assert [build["state"] for build in house.farm.builds()] == ["canceled"]


def test_an_srpm_that_was_lost_while_in_doubt_is_not_the_packages_fault(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.farm.fault("dropped", "/api_3/build/create/upload", method="POST", times=1)
    house.announce("v1.35.6")
    house.process_inbox()
    steps.advance(house.context, 1)
    for file in (house.settings.state_dir / "srpms").rglob("*.src.rpm"):
        file.unlink()
    real = preparation.render_spec

    def later(*args: Any) -> SpecFile:
        spec = real(*args)
        text = spec.text.replace("%changelog", "# a later template\n\n%changelog", 1)
        return replace(spec, text=text, sha256=hashlib.sha256(text.encode()).hexdigest())

    monkeypatch.setattr(preparation, "render_spec", later)
    house.run()
    (build,) = house.builds()
    assert build.state == "errored" and "cannot be made again" in build.reason


@pytest.fixture
def dripping() -> Iterator[str]:
    """The address of a server that sends a byte now and then, for ever."""
    server, stop = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                client, _ = server.accept()
            except OSError:
                return
            client.recv(4096)
            client.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999\r\n\r\n["
            )
            while not stop.wait(0.1):
                try:
                    client.sendall(b" ")
                except OSError:
                    break
            client.close()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    stop.set()
    server.close()


def test_an_upstream_that_drips_is_given_up_and_the_known_is_planned(
    house: House, dripping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "LIST_SECONDS", 0.5)
    house.context.settings = house.settings.model_copy(update={"github_api_url": dripping})
    began = time.monotonic()
    assert deliveries.reconcile(house.context).problems == []
    assert time.monotonic() - began < 60


def test_one_familys_trouble_keeps_no_other_from_being_planned(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("odd")

    monkeypatch.setattr(deliveries, "fetch_list", broken)
    assert deliveries.reconcile(house.context).problems == ["cri-o could not be reconciled: ValueError"]


def test_odd_signs_in_upstreams_list_can_be_kept(house: House) -> None:
    row = {"tag_name": "v1.35.6\x00", "html_url": "https://h/\ud800", "published_at": "\x00"}
    facts = upstream._release_facts(row)
    assert facts is not None and "\x00" not in str(facts) and str(facts).isprintable()
