"""Limits on requests: rate, type, size and time of a body; ETags that spare an answer."""

from __future__ import annotations

import httpx2
import pytest

from service.access.tokens import create_token
from service.web.base import middleware
from tests.web.live import NO_TLS, SECRET, LiveApp, github_headers, serving, sign

BODY = b'{"action": "published", "release": {}}'


def post(live: LiveApp, path: str, **options: object) -> httpx2.Response:
    return httpx2.post(live.url + path, timeout=30, verify=NO_TLS, **options)  # type: ignore[arg-type]


def test_a_token_that_writes_too_often_is_told_when_to_come_back(sqlite_url: str) -> None:
    with serving(sqlite_url, write_limit_per_minute=3) as live:
        one, two = (create_token(live.context.db, name, ["builds:write"], by="root").text for name in "ab")
        answers = [
            post(live, "/api/v1/builds/9/cancel", headers={"authorization": f"Bearer {one}"})
            for _ in range(4)
        ]
        assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
        assert 1 <= int(answers[3].headers["retry-after"]) <= 60
        assert answers[3].headers["content-type"] == "application/problem+json"
        assert "3 writes with one token in a minute. Come back in" in answers[3].json()["detail"]
        other = post(live, "/api/v1/builds/9/cancel", headers={"authorization": f"Bearer {two}"})
        assert other.status_code == 404
        read = live.get("/api/v1/builds", authorization=f"Bearer {one}")
        assert read.status_code == 200, "reading is not writing"


def test_an_address_that_writes_too_often(sqlite_url: str) -> None:
    with serving(sqlite_url, address_limit_per_minute=2) as live:
        answers = [post(live, "/sign-in/token", data={"token": str(n)}) for n in range(3)]
        assert [answer.status_code for answer in answers] == [403, 403, 429]
        assert "retry-after" in answers[2].headers and answers[2].headers["content-type"].startswith(
            "text/html"
        )
        assert live.deliver(BODY).status_code == 202, "the webhook has limits of its own"


@pytest.mark.parametrize(("proxies", "believed"), [("", False), ("127.0.0.0/8, 10.9.9.9", True)])
def test_who_sends_is_what_a_trusted_proxy_says_and_nobody_else(
    sqlite_url: str, proxies: str, believed: bool
) -> None:
    with serving(sqlite_url, address_limit_per_minute=3, trusted_proxies=proxies) as live:
        token = create_token(live.context.db, "ana", ["admin"], by="root").text
        made = post(
            live,
            "/api/v1/tokens",
            json={"name": "ci", "scopes": ["read"]},
            headers={"authorization": f"Bearer {token}", "x-forwarded-for": "203.0.113.7, 10.9.9.9"},
        )
        assert made.status_code == 201
        entry, *_ = live.get("/api/v1/audit", authorization=f"Bearer {token}").json()["items"]
        assert entry["actor"] == "ana" and entry["address"] == ("203.0.113.7" if believed else "127.0.0.1")
        answers = [
            post(
                live,
                "/api/v1/builds/9/cancel",
                headers={"authorization": "Bearer x", "x-forwarded-for": f"203.0.113.{n}"},
            )
            for n in range(4)
        ]
        expected = [401, 401, 401, 401] if believed else [401, 401, 429, 429]
        assert [answer.status_code for answer in answers] == expected


def test_made_up_tokens_do_not_get_round_the_limit_of_an_address(sqlite_url: str) -> None:
    with serving(sqlite_url, address_limit_per_minute=2) as live:
        answers = [
            post(live, "/api/v1/builds/9/cancel", headers={"authorization": f"Bearer {n}"}) for n in range(5)
        ]
        assert [answer.status_code for answer in answers] == [401, 401, 429, 429, 429]


def test_wrong_signatures_are_limited_and_right_ones_never(sqlite_url: str) -> None:
    with serving(sqlite_url, bad_signature_limit_per_minute=2) as live:
        wrong = [live.deliver(BODY, x_hub_signature_256=sign(BODY, "guess")) for _ in range(4)]
        assert [answer.status_code for answer in wrong] == [401, 401, 429, 429]
        assert "retry-after" in wrong[3].headers
        assert live.deliver(BODY).status_code == 202
        assert httpx2.post(
            f"{live.url}/webhooks/github", content=BODY, headers=github_headers(BODY), timeout=30, verify=NO_TLS
        ).status_code == 202  # fmt: skip
        assert SECRET not in wrong[3].text


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_has_a_size(sqlite_url: str, chunked: bool) -> None:
    with serving(sqlite_url, body_limit=2000) as live:
        token = create_token(live.context.db, "a", ["admin"], by="root").text
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        body = b'{"family": "cri-o", "tag": "' + b"x" * 3000 + b'"}'
        content = iter([body[:1500], body[1500:]]) if chunked else body
        answer = post(live, "/api/v1/releases", content=content, headers=headers)
        assert answer.status_code == 413 and "2000 bytes" in answer.json()["detail"]


def test_a_body_has_a_type(sqlite_url: str) -> None:
    with serving(sqlite_url) as live:
        token = create_token(live.context.db, "a", ["admin"], by="root").text
        headers = {"authorization": f"Bearer {token}", "content-type": "text/plain"}
        assert post(live, "/api/v1/releases", content=b"{}", headers=headers).status_code == 415
        assert post(live, "/sign-out", json={}).status_code == 415


def test_a_body_has_a_time(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.2)
    with serving(sqlite_url) as live:
        answer = live.raw(
            b"POST /api/v1/releases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99\r\n\r\n{"
        )
        assert b" 408 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "path", ["/releases", "/builds?limit=3", "/targets", "/streams", "/audit", "/builds/22"]
)
def test_an_answer_is_not_sent_twice(scene: LiveApp, path: str) -> None:
    first = scene.get(f"/api/v1{path}")
    tag = first.headers["etag"]
    again = scene.get(f"/api/v1{path}", **{"if-none-match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert scene.get(f"/api/v1{path}", **{"if-none-match": '"other"'}).json() == first.json()
    head = scene.request("HEAD", f"/api/v1{path}")
    assert (head.status_code, head.headers["etag"], head.content) == (200, tag, b"")
