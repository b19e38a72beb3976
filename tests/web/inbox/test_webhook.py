"""The webhook's answers in the order of its checks, against a real server and both databases."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Iterator

import httpx2
import pytest
from sqlalchemy import func, select, update

from service.domain.states import DeliveryState
from service.store.schema import WebhookDelivery
from service.web import webhooks
from tests.web.live import NO_TLS, SECRET, LiveApp, github_headers, serving, sign

BODY = b'{"action": "published"}'
HALF_A_REQUEST = (
    b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 99\r\n\r\n{"
)


def stored(live: LiveApp) -> int:
    with live.context.db.reader() as session:
        return session.scalar(select(func.count()).select_from(WebhookDelivery)) or 0


def problem(answer: httpx2.Response, status: int) -> str:
    """The problem's detail, after checking its form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status and body["title"] and body["detail"], body
    return str(body["detail"])


def test_without_a_secret_the_endpoint_is_off(sqlite_url: str) -> None:
    with serving(sqlite_url, github_webhook_secrets="") as live:
        assert "no webhook secret" in problem(live.deliver(BODY, content_type="text/plain"), 404)


def test_a_delivery_is_stored_and_a_repeat_is_the_same(live: LiveApp) -> None:
    first = live.deliver(BODY, x_github_delivery="guid-1")
    assert (first.status_code, first.json()) == (
        202,
        {"delivery": "guid-1", "state": "received", "duplicate": False},
    )
    again = live.deliver(BODY, x_github_delivery="guid-1")
    assert (again.status_code, again.json()) == (
        202,
        {"delivery": "guid-1", "state": "received", "duplicate": True},
    )
    with live.context.db.reader() as session:
        row = session.scalars(select(WebhookDelivery)).one()
        assert (row.payload, row.event, row.sender, row.repeats) == (BODY, "release", "127.0.0.1", 1)


def test_a_redelivery_of_an_errored_one_is_due_again(live: LiveApp) -> None:
    live.deliver(BODY, x_github_delivery="guid-1")
    with live.context.db.transaction() as session:
        session.execute(update(WebhookDelivery).values(state="errored", reason="why", due_at=None))
    answer = live.deliver(BODY, x_github_delivery="guid-1").json()
    assert answer == {"delivery": "guid-1", "state": "received", "duplicate": True}
    with live.context.db.reader() as session:
        row = session.scalars(select(WebhookDelivery)).one()
        assert row.state == DeliveryState.RECEIVED and row.due_at is not None


def test_events_that_we_ignore_are_stored_too(live: LiveApp) -> None:
    assert live.deliver(b'{"zen": "x"}', x_github_event="star").status_code == 202
    assert stored(live) == 1


def test_ping_is_answered_and_not_stored(live: LiveApp) -> None:
    answer = live.deliver(b'{"zen": "x"}', x_github_event="ping")
    assert answer.status_code == 200
    assert stored(live) == 0


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_415_for_what_is_not_json(scene: LiveApp, kind: str) -> None:
    problem(scene.deliver(BODY, content_type=kind, x_hub_signature_256=None), 415)


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"]
)
def test_json_by_any_of_its_names(scene: LiveApp, kind: str) -> None:
    assert scene.deliver(BODY, content_type=kind, x_github_event="ping").status_code == 200


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha256=",
        "sha1=" + "0" * 40,
        "sha256=" + "0" * 64,
        "sha256=" + "0" * 63,
        "sha256=" + "0" * 65,
        "sha256=" + "g" * 64,
        "sha256=" + "٣" * 64,
        "SHA256=" + sign(BODY)[7:],
        sign(BODY)[7:],
        sign(BODY) + "0",
        sign(BODY, "another secret"),
        sign(BODY + b" "),
        "sha256=" + "é" * 64,
        "x" * 8000,
    ],
)
def test_401_for_every_wrong_signature(scene: LiveApp, signature: str | None) -> None:
    request = httpx2.Request(
        "POST",
        f"{scene.url}/webhooks/github",
        content=BODY,
        headers={
            name.encode(): value.encode()
            for name, value in github_headers(BODY, x_hub_signature_256=signature).items()
        },
    )
    with httpx2.Client(verify=NO_TLS) as client:
        detail = problem(client.send(request), 401)
    assert SECRET not in detail


def test_two_signatures_are_not_one(scene: LiveApp) -> None:
    headers = [*github_headers(BODY).items(), ("X-Hub-Signature-256", sign(BODY))]
    answer = httpx2.post(f"{scene.url}/webhooks/github", content=BODY, headers=headers, verify=NO_TLS)
    problem(answer, 401)


def test_every_configured_secret_fits_and_hex_may_be_large(sqlite_url: str) -> None:
    with serving(sqlite_url, github_webhook_secrets="new-one, old-one") as live:
        for secret in ("new-one", "old-one"):
            assert live.deliver(BODY, x_hub_signature_256=sign(BODY, secret)).status_code == 202
        large = "sha256=" + sign(BODY, "old-one")[7:].upper()
        assert live.deliver(BODY, x_hub_signature_256=large).status_code == 202
        problem(live.deliver(BODY, x_hub_signature_256=sign(BODY, "new-one, old-one")), 401)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"{",
        b"{}garbage",
        b"\xff\xfe",
        b'{"a": NaNa}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"n": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_400_for_what_is_no_json_object(scene: LiveApp, body: bytes) -> None:
    problem(scene.deliver(body), 400)


@pytest.mark.parametrize(
    "changes",
    [
        {"x_github_delivery": None},
        {"x_github_event": None},
        {"x_github_delivery": ""},
        {"x_github_delivery": "x" * 101},
        {"x_github_event": "x" * 61},
        {"x_github_delivery": "two words"},
    ],
)
def test_400_for_github_headers_that_are_missing_or_odd(
    scene: LiveApp, changes: dict[str, str | None]
) -> None:
    problem(scene.deliver(BODY, **changes), 400)


def test_checks_come_in_the_tables_order(sqlite_url: str) -> None:
    with serving(sqlite_url, webhook_body_limit=2048) as live:
        big, odd = b"[" * 4096, {"x_github_event": None, "x_hub_signature_256": "no"}
        problem(live.deliver(big, content_type="text/plain", **odd), 415)
        problem(live.deliver(big, **odd), 413)
        problem(live.deliver(b"[", **odd), 401)
        problem(live.deliver(b"[", x_github_event=None), 400)


def test_413_for_a_declared_and_for_an_undeclared_length(scene: LiveApp) -> None:
    limit = scene.context.settings.webhook_body_limit
    declared = (
        f"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {limit + 1}\r\n\r\n"
    )
    # Nothing of the body is sent: the answer must not wait for it.
    assert scene.raw(declared.encode()).startswith(b"HTTP/1.1 413")

    def endless() -> Iterator[bytes]:
        for _ in range(limit // 65536 + 2):
            yield b"x" * 65536

    answer = httpx2.post(
        f"{scene.url}/webhooks/github",
        content=endless(),
        headers={"content-type": "application/json"},
        verify=NO_TLS,
    )
    problem(answer, 413)
    assert scene.context.budget.held == 0


def test_a_body_of_24_megabytes_is_taken_and_does_not_stall_others(live: LiveApp) -> None:
    body = json.dumps({"action": "published", "filler": ["x" * 1000] * 24_000}).encode()
    assert 24_000_000 < len(body) < live.context.settings.webhook_body_limit
    assert live.deliver(body, x_github_delivery="big").status_code == 202
    assert stored(live) == 1
    assert live.context.budget.held == 0


def test_too_many_bytes_at_once_is_a_503(sqlite_url: str) -> None:
    with serving(sqlite_url, webhook_in_flight_limit=10_000) as live:
        body = b'{"a": "' + b"x" * 20_000 + b'"}'
        answer = live.deliver(body)
        problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert live.deliver(BODY).status_code == 202
        assert live.context.budget.held == 0


def test_large_uploads_leave_room_for_ordinary_ones(sqlite_url: str) -> None:
    with serving(sqlite_url, webhook_in_flight_limit=1_000_000) as live:
        large = live.context.budget.reservation()
        assert large.take(870_000)
        assert live.deliver(b'{"a": "' + b"x" * 100_000 + b'"}').status_code == 503
        assert live.deliver(b'{"a": "' + b"x" * 30_000 + b'"}').status_code == 202
        large.release()


def test_a_body_that_drips_is_given_up(sqlite_url: str) -> None:
    with serving(sqlite_url) as live:
        live.context.body_seconds = 0.5
        begun = time.monotonic()
        assert live.raw(HALF_A_REQUEST).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begun < 10
        assert live.context.budget.held == 0


def test_a_client_that_hangs_up_leaves_nothing_behind(sqlite_url: str) -> None:
    with serving(sqlite_url) as live:
        with socket.create_connection(("127.0.0.1", live.port)) as connection:
            connection.sendall(HALF_A_REQUEST)
            deadline = time.monotonic() + 5
            while not live.context.budget.held and time.monotonic() < deadline:
                time.sleep(0.01)
        while live.context.budget.held and time.monotonic() < deadline:
            time.sleep(0.01)
        assert live.context.budget.held == 0
        assert live.deliver(BODY).status_code == 202


def test_only_post(scene: LiveApp) -> None:
    answer = scene.get("/webhooks/github")
    problem(answer, 405)
    assert answer.headers["allow"] == "POST"


def test_no_secret_in_any_answer_or_log(live: LiveApp, log_lines: io.StringIO) -> None:
    texts = [live.deliver(BODY).text, live.deliver(BODY, x_hub_signature_256="sha256=" + "0" * 64).text]
    texts += [live.get(path).text for path in ("/healthz", "/readyz", "/metrics", "/health", "/deliveries")]
    assert "/webhooks/github" in log_lines.getvalue()
    for text in (*texts, log_lines.getvalue(), repr(live.context.settings)):
        assert SECRET not in text


def test_parsing_never_raises() -> None:
    assert webhooks.parses_to_object(b'{"a": 1}')
    assert not webhooks.parses_to_object(b"[" * 1_000_000)
