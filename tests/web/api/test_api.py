"""The reading API: shapes, keyset pages, problem+json for every error."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import board
from service.access.tokens import create_token, revoke_token
from tests.web.live import LiveApp, serving

UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
GETS = [
    "/matrix", "/releases", "/releases/cri-o/1.34.2", "/builds", "/builds/22", "/builds/22/events",
    "/deliveries", "/deliveries/guid-v1.34.2", "/streams", "/targets", "/workarounds", "/audit",
]  # fmt: skip


def read(live: LiveApp, path: str) -> Any:
    answer = live.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    return answer.json()


def times(value: Any) -> list[str]:
    """Every time in an answer: what stands under a name that ends in _at."""
    if isinstance(value, list):
        return [time for item in value for time in times(item)]
    if not isinstance(value, dict):
        return []
    own = [text for name, text in value.items() if name.endswith("_at") and isinstance(text, str)]
    return own + [time for name, item in value.items() if name != "payload" for time in times(item)]


@pytest.mark.parametrize("path", GETS)
def test_times_are_utc_and_rfc_3339(scene: LiveApp, path: str) -> None:
    body = read(scene, path)
    for time in times(body):
        assert UTC_TIME.fullmatch(time), time
        assert datetime.fromisoformat(time).tzinfo is not None
    if "items" in body:
        assert set(body) == {"items", "next"}


def test_the_matrix(scene: LiveApp) -> None:
    body = read(scene, "/matrix")
    row = next(row for row in body["rows"] if row["package"] == "cri-o1.34")
    cell = next(cell for cell in row["cells"] if cell["branch"] == "f44")
    assert (cell["state"], cell["nvr"], cell["behind"], cell["planned"], cell["system"]) == (
        "failed", "cri-o1.34-1.34.2-0.2.fc44", True, True, "copr",
    )  # fmt: skip
    assert "text relocations" in cell["reason"] and cell["age_seconds"] >= 0
    assert {chroot["arch"]: chroot["state"] for chroot in cell["build"]["chroots"]} == {
        "x86_64": "succeeded", "aarch64": "failed",
    }  # fmt: skip
    assert (cell["last_good"]["version"], body["counts"]["failed"]) == ("1.34.1", 1)
    assert read(scene, "/matrix?family=none")["rows"] == []


def test_the_matrix_is_not_sent_twice(scene: LiveApp) -> None:
    first = scene.get("/api/v1/matrix")
    again = scene.get("/api/v1/matrix", **{"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = scene.get("/api/v1/matrix?family=none", **{"if-none-match": first.headers["etag"]})
    assert other.status_code == 200


def test_a_list_page_by_page(scene: LiveApp) -> None:
    whole = [build["id"] for build in read(scene, "/builds?limit=200")["items"]]
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = read(scene, f"/builds?limit=9&cursor={cursor}")
        seen += [build["id"] for build in page["items"]]
        cursor = page["next"]
    assert seen == whole
    for name in ("releases", "deliveries"):
        assert len(read(scene, f"/{name}?limit=1")["items"]) == 1


def test_filters_of_builds(scene: LiveApp) -> None:
    held = read(scene, "/builds?state=held&stream=1.33&branch=f43&system=copr&arch=aarch64")["items"]
    assert held == []  # a held build that never ran has no chroots yet
    assert [b["version"] for b in read(scene, "/builds?state=held")["items"]] == ["1.33.1"]
    both = read(scene, "/builds?state=held&state=errored")["items"]
    assert {build["state"] for build in both} == {"held", "errored"}
    behind = read(scene, "/builds?behind=true&limit=200")["items"]
    assert {build["stream"] for build in behind} == {"1.32", "1.33", "1.34"}
    assert read(scene, "/builds?since=2099-01-01")["items"] == []
    assert read(scene, "/builds?since=2020-01-01T00:00:00%2B02:00")["items"]


def test_one_build(scene: LiveApp) -> None:
    failed = read(scene, "/builds?state=failed")["items"][0]
    build = read(scene, f"/builds/{failed['id']}")
    assert build["attempt"] == 2 and len(build["attempts"]) == 2 and build["last_good"]
    assert build["workarounds"] and build["strategy"] == "default" and build["srpm_sha256"]
    events = read(scene, f"/builds/{failed['id']}/events")["items"]
    assert [event["new_state"] for event in events if event["kind"] == "state"] == [
        "pending", "preparing", "submitting", "running", "failed",
    ]  # fmt: skip
    spec = scene.get(f"/api/v1/builds/{failed['id']}/spec")
    assert spec.headers["content-type"].startswith("text/plain") and "Name:" in spec.text
    described = scene.get(f"/api/v1/builds/{failed['id']}/spec", accept="application/json").json()
    assert described["text"] == spec.text and described["previous_build_id"]
    log = scene.get(f"/api/v1/builds/{failed['id']}/logs/fedora-44-aarch64")
    assert (log.status_code, log.headers["location"]) == (
        302, "https://example.org/fedora-44-aarch64/builder-live.log.gz",
    )  # fmt: skip
    told = scene.get(
        f"/api/v1/builds/{failed['id']}/logs/fedora-44-aarch64", accept="application/json"
    ).json()
    assert told["state"] == "failed"


def test_one_delivery(scene: LiveApp) -> None:
    body = read(scene, "/deliveries/guid-v1.34.2")
    assert (body["state"], body["release"]) == ("processed", "cri-o/1.34.2")
    assert body["payload"]["release"]["tag_name"] == "v1.34.2"
    assert read(scene, "/deliveries?state=ignored&event=star")["items"][0]["reason"]


PROBLEMS = [
    ("/nothing", 404), ("/builds/999999", 404), ("/builds/999999/spec", 404), ("/builds/999999/events", 404),
    ("/builds/1/logs/fedora-1-x86_64", 404), ("/releases/cri-o/9.9.9", 404), ("/releases/x/1", 404),
    ("/deliveries/none", 404), ("/badges/none/f44.svg", 404), ("/badges/cri-o1.34/f1.svg", 404),
    ("/builds/0", 422), ("/builds/x", 422), ("/builds/99999999999999999999", 422), ("/builds?limit=0", 422),
    ("/builds?limit=201", 422), ("/builds?limit=x", 422), ("/builds?cursor=bm90IG9uZQ", 422),
    ("/builds?cursor=" + "a" * 65, 422), ("/builds?state=broken", 422), ("/builds?since=yesterday", 422),
    ("/builds?stream=%00", 422), ("/builds?behind=perhaps", 422), ("/deliveries/%00", 422),
]  # fmt: skip


@pytest.mark.parametrize(("path", "status"), PROBLEMS)
def test_every_error_is_a_problem(scene: LiveApp, path: str, status: int) -> None:
    answer = scene.get(f"/api/v1{path}")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status and body["title"] and body["detail"] and body["type"] == "about:blank"
    if status == 422 and "cursor=bm" not in path:
        assert body["errors"][0]["where"]


def test_a_method_that_is_not_there(scene: LiveApp) -> None:
    for method in ("POST", "PUT", "DELETE"):
        answer = scene.request(method, "/api/v1/matrix")
        assert answer.status_code == 405
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["allow"] == "GET"


def test_a_fault_of_ours_has_an_id_and_no_traceback(
    scene: LiveApp, monkeypatch: pytest.MonkeyPatch, log_lines: Any
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(board, "list_deliveries", broken)
    for path in ("/api/v1/deliveries", "/deliveries"):
        answer = scene.get(path)
        assert answer.status_code == 500
        assert "secret detail" not in answer.text and "Traceback" not in answer.text
        found = re.search(r"error id (\w{12})", answer.text)
        assert found and found[1] in log_lines.getvalue()
    assert "secret detail" in log_lines.getvalue()


def test_reading_with_tokens_only(sqlite_url: str) -> None:
    with serving(sqlite_url, api_read="token") as live:
        answer = live.get("/api/v1/matrix")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "CRYOPACK_API_READ" in answer.json()["detail"]
        assert live.get("/readyz").status_code == 200
        token = create_token(live.context.db, "reader", ["read"], by="root").text
        assert live.get("/api/v1/matrix", authorization=f"Bearer {token}").status_code == 200
        for wrong in (f"Bearer {token}x", f"Basic {token}", token, "Bearer", ""):
            refused = live.get("/api/v1/matrix", authorization=wrong)
            assert (refused.status_code, refused.json()["title"]) == (401, "Unauthorized"), wrong
        revoke_token(live.context.db, "reader", by="root")
        assert live.get("/api/v1/matrix", authorization=f"Bearer {token}").status_code == 401


def test_the_audit_trail_filters_compose(sqlite_url: str) -> None:
    with serving(sqlite_url) as live:
        for name in ("one", "two"):
            create_token(live.context.db, name, ["read"], by="root", address="192.0.2.7")
        revoke_token(live.context.db, "one", by="ana")
        entries = read(live, "/audit")["items"]
        assert [(e["actor"], e["action"]) for e in entries] == [
            ("ana", "token.revoke"), ("root", "token.create"), ("root", "token.create"),
        ]  # fmt: skip
        assert (entries[0]["before"]["state"], entries[0]["after"]["state"]) == ("active", "revoked")
        assert entries[1]["address"] == "192.0.2.7"
        (found,) = read(live, "/audit?actor=root&subject=token%20two")["items"]
        assert found["subject"] == "token two"
        assert read(live, "/audit?actor=ana&action=token.create")["items"] == []
        assert read(live, "/audit?since=2999-01-01T00:00:00Z")["items"] == []
        page = live.get("/audit?actor=root")
        assert "token.create" in page.text and "token.revoke" not in page.text and "192.0.2.7" in page.text


def test_the_openapi_document(scene: LiveApp) -> None:
    document = read(scene, "/openapi.json")
    assert all(path.startswith("/api/v1/") for path in document["paths"])
    for path in GETS:
        assert any(
            re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", known), f"/api/v1{path}") for known in document["paths"]
        )
    text = str(document)
    for reference in set(re.findall(r"#/components/schemas/(\w+)", text)):
        assert reference in document["components"]["schemas"], reference
    page = scene.get("/api/v1/docs")
    assert page.status_code == 200 and "/api/v1/builds/{build_id}" in page.text


def test_badges(scene: LiveApp) -> None:
    words = {
        ("cri-o1.34", "f43"): "1.34.2 succeeded",
        ("cri-o1.34", "f44"): "1.34.2 failed",
        ("cri-o1.34", "f45"): "1.34.2 running",
        ("cri-o1.34", "rawhide"): "1.34.2 errored",
        ("cri-o1.33", "rawhide"): "1.33.0 behind",
        ("cri-o1.29", "f44"): "not built",
        ("cri-o1.36", "f44"): "no build yet",
    }
    for (package, branch), word in words.items():
        answer = scene.get(f"/api/v1/badges/{package}/{branch}.svg")
        assert answer.headers["content-type"] == "image/svg+xml"
        root = ElementTree.fromstring(answer.content)
        assert root.get("aria-label") == f"{package} {branch}: {word}"


def test_the_feed(scene: LiveApp) -> None:
    answer = scene.get("/api/v1/feed.atom")
    assert answer.headers["content-type"] == "application/atom+xml"
    atom = "{http://www.w3.org/2005/Atom}"
    feed = ElementTree.fromstring(answer.content)
    entries = feed.findall(f"{atom}entry")
    titles = [entry.findtext(f"{atom}title") or "" for entry in entries]
    assert "cri-o1.34-1.34.2-0.2.fc44 on f44-copr: failed" in titles
    assert any(title.endswith(": held") for title in titles)
    assert len({entry.findtext(f"{atom}id") for entry in entries}) == len(entries)


def test_metrics(scene: LiveApp) -> None:
    scene.get("/api/v1/matrix")
    scene.get("/nowhere/at/all")
    text = scene.get("/metrics").text
    assert 'cryopack_builds{state="held"} 1.0' in text
    assert 'cryopack_deliveries{state="ignored"} 2.0' in text
    assert 'route="/api/v1/matrix"' in text and "/nowhere" not in text
    assert "cryopack_database_up 1.0" in text and 'cryopack_overdue{kind="builds"}' in text


FUZZED = [
    "/api/v1/releases/{}/1.1.1",
    "/api/v1/releases/cri-o/{}",
    "/api/v1/builds/{}",
    "/api/v1/deliveries/{}",
    "/api/v1/builds/1/logs/{}",
    "/api/v1/badges/{}/f44.svg",
    "/api/v1/builds?cursor={}",
    "/api/v1/builds?stream={}",
    "/api/v1/builds?since={}",
    "/api/v1/builds?arch={}",
    "/releases/cri-o/{}",
    "/releases/{}/1",
    "/builds/{}",
    "/branches/{}",
    "/packages/{}",
    "/deliveries/{}",
    "/builds?cursor={}",
    "/builds?state={}",
    "/?stream={}&state={}",
    "/releases?cursor={}",
    "/deliveries?state={}",
    "/static/{}",
    "/{}",
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(FUZZED),
    text=st.text(max_size=40) | st.binary(max_size=20).map(lambda raw: raw.decode("latin-1")),
)
def test_no_address_is_a_fault_of_ours(scene: LiveApp, path: str, text: str) -> None:
    word = quote(text.encode("utf-8", "surrogatepass"), safe="")
    answer = scene.get(path.replace("{}", word))
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400 and path.startswith("/api/"):
        assert answer.headers["content-type"] == "application/problem+json"
