"""The webhook under random input: every answer is a documented one, and what was answered 202 is stored."""

from __future__ import annotations

import uuid

import httpx2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from service.store.schema import WebhookDelivery
from service.web.webhooks import parses_to_object
from tests.web.live import NO_TLS, LiveApp, sign

ANSWERS = {200, 202, 400, 401, 413, 415}
NAMES = ["content-type", "x-github-delivery", "x-github-event", "x-hub-signature-256"]

# What HTTP itself allows in a header: anything but control characters.
header_value = st.binary(max_size=200).map(
    lambda raw: bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F).strip()
)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
few = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def post(live: LiveApp, body: bytes, headers: dict[bytes, bytes]) -> httpx2.Response:
    return httpx2.post(
        f"{live.url}/webhooks/github", content=body, headers=headers, timeout=20, verify=NO_TLS
    )


@few
@given(
    body=st.binary(max_size=2000),
    odd=st.dictionaries(st.sampled_from([name.encode() for name in NAMES]), header_value),
    signed=st.booleans(),
)
def test_any_bytes(live: LiveApp, body: bytes, odd: dict[bytes, bytes], signed: bool) -> None:
    headers = {
        b"content-type": b"application/json",
        b"x-github-delivery": b"fuzz",
        b"x-github-event": b"release",
    }
    headers |= odd
    if signed:
        headers[b"x-hub-signature-256"] = sign(body).encode()
    answer = post(live, body, headers)
    assert answer.status_code in ANSWERS, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Traceback" not in answer.text


@few
@given(document=json_value, event=st.from_regex(r"[!-~]{1,60}", fullmatch=True))
def test_any_json(live: LiveApp, document: object, event: str) -> None:
    body = httpx2.Request("POST", "http://x", json=document).read() if document is not None else b"null"
    guid = str(uuid.uuid4())
    headers = {
        b"content-type": b"application/json",
        b"x-github-delivery": guid.encode(),
        b"x-github-event": event.encode(),
        b"x-hub-signature-256": sign(body).encode(),
    }
    answer = post(live, body, headers)
    expected = 400 if not isinstance(document, dict) else 200 if event == "ping" else 202
    assert answer.status_code == expected, answer.text
    with live.context.db.reader() as session:
        kept = session.scalar(select(WebhookDelivery.payload).where(WebhookDelivery.guid == guid))
    assert kept == (body if expected == 202 else None)
    assert live.get(f"/deliveries/{guid}").status_code == (200 if expected == 202 else 404)


@few
@given(body=st.binary(max_size=300))
def test_parsing_never_raises(body: bytes) -> None:
    parses_to_object(body)
