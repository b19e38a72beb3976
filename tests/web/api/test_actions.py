"""The writing API: every action, its refusals, and a key that makes a repeat harmless.

What depends on the database's locks runs on both databases; the commands below it have their own tests on both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from service.access.tokens import create_token
from service.builds.claims import claim_build, end_build
from service.domain.states import BuildState
from service.releases.reconcile import reconcile_family
from service.store.schema import AuditEntry, KeptAnswer, PackageBuild
from tests.store.deliveries import deliver, payload
from tests.web.live import NO_TLS, LiveApp

Post = Callable[..., httpx2.Response]
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def post(brokerless: LiveApp) -> Post:
    """POST as the admin ``ana`` to an application with release v1.35.0, planned for four targets."""
    token = create_token(brokerless.context.db, "ana", ["admin"], by="root").text
    deliver(brokerless.context.db, brokerless.context.catalog, payload("v1.35.0"), guid="guid-1")

    def call(path: str, body: Any = None, *, method: str = "POST", key: str = "") -> httpx2.Response:
        headers = {"authorization": f"Bearer {token}"} | ({"idempotency-key": key} if key else {})
        return httpx2.request(
            method,
            f"{brokerless.url}/api/v1{path}",
            json=body,
            headers=headers,
            timeout=60,
            verify=NO_TLS,
        )

    return call


def fail(live: LiveApp, build_id: int, state: BuildState = BuildState.FAILED) -> None:
    work = claim_build(live.context.db, build_id, lease_seconds=60, max_tries=6)
    assert work is not None
    end_build(live.context.db, work, state, "because the test says so")


def count(live: LiveApp, table: type[Any] = PackageBuild) -> int:
    with live.context.db.reader() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def detail(answer: httpx2.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["detail"])


@on_sqlite
def test_a_release_by_its_tag_and_a_prerelease_by_hand(brokerless: LiveApp, post: Post) -> None:
    done = post("/releases", {"family": "cri-o", "tag": "v1.34.3"})
    assert done.status_code == 202 and len(done.json()["builds"]) == 4
    deliver(brokerless.context.db, brokerless.context.catalog, payload("v1.36.0-rc.1", prerelease=True))
    assert count(brokerless) == 8, "a webhook alone starts no pre-release"
    asked = {"family": "cri-o", "tag": "v1.36.0-rc.1", "bugs": [2404830]}
    by_hand = post("/releases", asked)
    assert brokerless.get("/api/v1/releases/cri-o/1.36.0-rc.1").json()["bugs"] == [2404830]
    assert "show_bug.cgi?id=2404830" in brokerless.get("/releases/cri-o/1.36.0-rc.1").text
    assert "bugs" in detail(post("/releases", {**asked, "bugs": [0]}), 422)
    assert len(by_hand.json()["builds"]) == 4 and by_hand.json()["version"] == "1.36.0-rc.1"
    family = brokerless.context.catalog.families["cri-o"]
    reconcile_family(brokerless.context.db, brokerless.context.catalog, family, None)
    assert count(brokerless) == 12
    row = next(r for r in brokerless.get("/api/v1/matrix").json()["rows"] if r["stream"] == "1.36")
    assert row["refusal"] == "" and row["buildable"] == "1.36.0-rc.1"
    assert "nightly" in detail(post("/releases", {"family": "cri-o", "tag": "nightly"}), 422)
    assert "no family none" in detail(post("/releases", {"family": "none", "tag": "v1.34.3"}), 404)
    assert "tagg" in detail(post("/releases", {"family": "cri-o", "tag": "v1.34.3", "tagg": 1}), 422)


@on_sqlite
def test_retry_cancel_and_resume_say_why_not(brokerless: LiveApp, post: Post) -> None:
    assert "pending" in detail(post("/builds/1/retry"), 409)
    assert "not held" in detail(post("/builds/1/resume"), 409)
    assert "no conflict in dist-git" in detail(post("/builds/1/resolve", {"how": "done"}), 409)
    assert post("/builds/1/resolve", {"how": "mine"}).status_code == 422
    assert post("/builds/1/cancel").status_code == 202
    fail(brokerless, 2)
    assert "no strategy magic" in detail(post("/builds/2/retry", {"strategy": "magic"}), 409)
    again = post("/builds/2/retry", {"strategy": "compat"})
    assert again.status_code == 202 and again.json()["build"] == 5
    assert brokerless.get("/api/v1/builds/5").json()["strategy"] == "compat"
    assert "build 5" in detail(post("/builds/2/retry"), 409).lower()
    fail(brokerless, 3, BuildState.HELD)
    assert post("/builds/3/resume").status_code == 202
    assert "no build 99" in detail(post("/builds/99/retry"), 404)
    assert post("/builds/4/give-up", {"why": "the farm is gone"}).status_code == 202
    assert brokerless.get("/api/v1/builds/4").json()["state"] == "errored"
    entries = brokerless.get("/api/v1/audit").json()["items"]
    assert [(e["actor"], e["action"], e["subject"], e["address"]) for e in entries[1:4]] == [
        ("ana", "build.resume", "build 3", "127.0.0.1"),
        ("ana", "build.retry", "build 2", "127.0.0.1"),
        ("ana", "build.cancel", "build 1", "127.0.0.1"),
    ]
    assert entries[2]["before"]["state"] == "failed" and entries[2]["after"]["build"] == 5


@on_sqlite
def test_a_delivery_is_replayed(brokerless: LiveApp, post: Post) -> None:
    assert "processed" in detail(post("/deliveries/guid-1/replay"), 409)
    db = brokerless.context.db
    deliver(db, brokerless.context.catalog, payload("v1.35.1", draft=True), guid="guid-2")
    assert post("/deliveries/guid-2/replay").status_code == 202
    assert brokerless.get("/api/v1/deliveries/guid-2").json()["state"] == "received"
    detail(post("/deliveries/none/replay"), 404)


def test_rebuild_a_cell_a_row_a_column_and_what_failed(brokerless: LiveApp, post: Post) -> None:
    deliver(brokerless.context.db, brokerless.context.catalog, payload("v1.34.0"))
    for build_id in range(1, 9):
        fail(brokerless, build_id, BuildState.FAILED if build_id in (1, 5) else BuildState.CANCELED)
    dry = post("/rebuilds", {"family": "cri-o", "branch": "f44", "dry_run": True})
    assert dry.status_code == 200 and [c["version"] for c in dry.json()["cells"]] == ["1.35.0", "1.34.0"]
    assert count(brokerless) == 8
    failed = post("/rebuilds", {"family": "cri-o", "version": "1.35.0", "only": "failed"}).json()
    assert [(c["target"], c["last_build"]) for c in failed["cells"]] == [("f43-copr", 1)]
    column = post("/rebuilds", {"family": "cri-o", "branch": "f44", "system": "copr"}).json()
    assert len(column["builds"]) == 2
    row = post("/rebuilds", {"family": "cri-o", "stream": "1.35", "strategy": "compat"}).json()
    assert len(row["builds"]) == 2, "two of the row's four cells have a live attempt by now"
    assert sum("cancel it or wait" in cell["refusal"] for cell in row["cells"]) == 2
    cell = {"family": "cri-o", "version": "1.34.0", "target": "f45-copr"}
    assert len(post("/rebuilds", cell).json()["builds"]) == 1
    assert "cancel it or wait" in detail(post("/rebuilds", cell), 409)
    assert "say which cells" in detail(post("/rebuilds", {"family": "cri-o"}), 422)
    assert "no strategy" in detail(post("/rebuilds", {**cell, "target": "f43-copr", "strategy": "x"}), 409)
    detail(post("/rebuilds", {"family": "cri-o", "version": "9.9.9"}), 404)
    assert "No cell" in detail(post("/rebuilds", {"family": "cri-o", "stream": "1.35", "system": "obs"}), 409)


@on_sqlite
def test_the_catalogue_is_changed_without_a_restart(brokerless: LiveApp, post: Post) -> None:
    paused = post("/targets/f44-copr/pause", {"why": "the farm is being moved"})
    assert paused.status_code == 202 and paused.json()["after"] == {"enabled": False}
    assert "like that already" in detail(post("/targets/f44-copr/pause", {"why": "again"}), 409)
    assert post("/releases", {"family": "cri-o", "tag": "v1.36.0"}).json()["builds"] == [5, 6, 7]
    (shown,) = brokerless.get("/api/v1/overrides").json()["items"]
    assert (shown["changes"], shown["files"], shown["why"], shown["actor"], shown["refused"]) == (
        {"enabled": False}, {"enabled": True}, "the farm is being moved", "ana", "",
    )  # fmt: skip
    edited = post("/targets/f44-copr", {"deadline_hours": 6, "why": "slow"}, method="PATCH")
    assert edited.json()["before"] == {"deadline_hours": 24}
    assert "unknown strategy" in detail(
        post("/targets/f44-copr", {"strategy": "magic", "why": "x"}, method="PATCH"), 422
    )
    post("/targets/f44-copr/resume", {"why": "moved"})
    (shown,) = brokerless.get("/api/v1/overrides").json()["items"]
    assert shown["changes"] == {"deadline_hours": 6}, "what is back at the files' value is no override"
    context = brokerless.context
    reconcile_family(context.db, context.catalog, context.catalog.families["cri-o"], None)
    assert count(brokerless) == 8, "what the paused target missed is planned"
    dropped = post(f"/overrides/{shown['id']}", {"why": "done"}, method="DELETE")
    assert dropped.json()["after"] == {"deadline_hours": 24}
    assert brokerless.get("/api/v1/overrides").json()["items"] == []
    detail(post("/overrides/99", {"why": "done"}, method="DELETE"), 404)
    actions = [e["action"] for e in brokerless.get("/api/v1/audit?limit=5").json()["items"]]
    assert actions == ["catalog.drop", "target.resume", "target.edit", "release.add", "target.pause"]


@on_sqlite
def test_streams_are_confirmed_and_ended_and_branches_end(brokerless: LiveApp, post: Post) -> None:
    assert "already" in detail(post("/streams/cri-o/1.35/confirm", {"why": "x"}), 409)
    assert post("/streams/cri-o/1.99/confirm", {"why": "read the changes"}).status_code == 202
    post("/releases", {"family": "cri-o", "tag": "v1.99.0"})
    rows = {r["stream"]: r for r in brokerless.get("/api/v1/streams").json()["items"]}
    assert rows["1.99"]["confirmed"] is True
    ended = post("/streams/cri-o/1.35/end-of-life", {"why": "upstream says so", "eol": "2026-11-01"})
    assert ended.json()["after"] == {"build": False, "eol": "2026-11-01"}
    assert post("/releases", {"family": "cri-o", "tag": "v1.35.1"}).json()["builds"] == []
    assert post("/branches/f43/end-of-life", {"why": "Fedora says so"}).status_code == 202
    assert len(post("/releases", {"family": "cri-o", "tag": "v1.36.0"}).json()["builds"]) == 3
    detail(post("/streams/cri-o/0.1/confirm", {"why": "x"}), 404)
    detail(post("/branches/f99/end-of-life", {"why": "x"}), 404)
    detail(post("/branches/f44/end-of-life", {"why": " "}), 422)


@on_sqlite
def test_tokens_by_the_api(brokerless: LiveApp, post: Post) -> None:
    made = post("/tokens", {"name": "ci", "scopes": ["builds:write"]})
    assert made.status_code == 201 and made.headers["cache-control"] == "no-store"
    text = made.json()["text"]
    cancel = httpx2.post(
        f"{brokerless.url}/api/v1/builds/1/cancel",
        headers={"authorization": f"Bearer {text}"},
        timeout=30,
        verify=NO_TLS,
    )
    assert cancel.status_code == 202
    listed = post("/tokens", method="GET")
    assert text not in listed.text and [t["name"] for t in listed.json()["items"]] == ["ci", "ana"]
    assert "already" in detail(post("/tokens", {"name": "ci", "scopes": ["read"]}), 409)
    assert post("/tokens/ci/revoke").json()["state"] == "revoked"
    detail(post("/tokens/ci/revoke"), 409)
    detail(post("/tokens/none/revoke"), 404)


@on_sqlite
def test_faults_of_a_request_are_told_from_its_address_to_its_body(post: Post) -> None:
    answer = post("/builds/0/retry", {"strategy": 5}, key="a key with spaces")
    assert detail(answer, 422).startswith("path.build_id: ")
    assert [fault["where"] for fault in answer.json()["errors"]] == [
        "path.build_id", "header.Idempotency-Key", "body.strategy",
    ]  # fmt: skip


def test_a_repeat_with_the_same_key_is_done_once(brokerless: LiveApp, post: Post) -> None:
    body = {"family": "cri-o", "tag": "v1.34.3"}
    first, again = post("/releases", body, key="k1"), post("/releases", body, key="k1")
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert "idempotency-replayed" not in first.headers and again.headers["idempotency-replayed"] == "true"
    assert count(brokerless) == 8
    assert "another request" in detail(post("/releases", {**body, "tag": "v1.34.4"}, key="k1"), 422)
    assert "another request" in detail(post("/builds/1/cancel", key="k1"), 422)
    assert count(brokerless, KeptAnswer) == 1
    detail(post("/builds/1/retry", key="k2"), 409)
    assert count(brokerless, KeptAnswer) == 1, "a refusal is not kept: the state may allow it later"
    detail(post("/releases", body, key="k" * 101), 422)


def together(times: int, call: Callable[[], httpx2.Response]) -> list[httpx2.Response]:
    """The same call from many threads at the same moment."""
    barrier, answers = threading.Barrier(times), list[httpx2.Response]()

    def run() -> None:
        barrier.wait(30)
        answers.append(call())

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert len(answers) == times
    return answers


def test_two_who_press_the_same_button_start_one_build(brokerless: LiveApp, post: Post) -> None:
    fail(brokerless, 1)
    answers = together(6, lambda: post("/builds/1/retry"))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409, 409]
    assert count(brokerless) == 5
    fail(brokerless, 2)
    cell = {"family": "cri-o", "version": "1.35.0", "target": "f44-copr"}
    answers = together(6, lambda: post("/rebuilds", cell))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409, 409]
    assert count(brokerless) == 6
    with brokerless.context.db.reader() as session:
        retries = session.scalars(
            select(AuditEntry.action).where(AuditEntry.action.in_(["build.retry", "rebuild"]))
        ).all()
    assert sorted(retries) == ["build.retry", "rebuild"]


def test_one_key_from_many_threads_is_one_action_and_one_answer(brokerless: LiveApp, post: Post) -> None:
    fail(brokerless, 1)
    answers = together(6, lambda: post("/builds/1/retry", key="same"))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert count(brokerless) == 5


def test_a_stream_that_two_confirm_is_confirmed_once(brokerless: LiveApp, post: Post) -> None:
    answers = together(4, lambda: post("/streams/cri-o/1.99/confirm", {"why": "looked at it"}))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409]
