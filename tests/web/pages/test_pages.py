"""The pages as they are served: content, headers, the sandbox's banner, advice to the reader."""

from __future__ import annotations

import re

import pytest

from tests.web.live import LiveApp, serving

PAGES = [
    "/", "/?state=failed", "/?behind=1", "/?failing=1&branch=f44", "/?stream=1.34", "/?stream=0.1",
    "/releases", "/releases?state=unsupported", "/releases/cri-o/1.34.2", "/releases/cri-o/v1.34.2",
    "/releases/cri-o/1.34.2?target=f45-copr", "/releases/cri-o/1.29.4", "/releases/cri-o/1.35.1-rc.1",
    "/builds", "/builds?state=held", "/builds/22", "/builds/24", "/branches/f44", "/branches/rawhide",
    "/branches/f42", "/packages/cri-o1.34", "/packages/cri-o1.99", "/packages/cri-o1.29",
    "/packages/cri-o1.36",
    "/deliveries", "/deliveries?state=ignored", "/deliveries/guid-v1.34.2", "/deliveries/guid-star",
    "/deliveries/guid-waiting", "/catalogue", "/audit", "/rules", "/sign-in", "/health", "/glossary", "/api/v1/docs",
]  # fmt: skip
MISSING = ["/nothing", "/builds/0", "/builds/x", "/builds/99999", "/releases/cri-o/7.7.7", "/branches/f7",
           "/packages/none", "/deliveries/none", "/static/none.css"]  # fmt: skip
BANNER = "Sandbox: these builds are simulated, replayed from recorded logs, or compiled"


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.mark.parametrize("path", PAGES)
def test_a_page(scene: LiveApp, path: str) -> None:
    answer = scene.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe-inline" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    html = answer.text
    assert BANNER in html
    assert len(re.findall("<h1", html)) == 1
    # The policy forbids them, so a page that has one would be broken.
    assert not re.search(r"<style|<script(?! src)|\sstyle=|\son\w+=", html)
    # A foreign text is text.
    assert "<script>alert" not in html and "\x1b" not in html and "\u202e" not in html
    for time in re.findall(r"<time datetime=\"([^\"]*)\"", html):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time)


def test_every_link_of_every_page_leads_somewhere(scene: LiveApp) -> None:
    seen: set[str] = set()
    for path in PAGES:
        for link in re.findall(r'(?:href|src)="(/[^"#]*)', scene.get(path).text):
            seen.add(link.replace("&amp;", "&"))
    assert len(seen) > 60
    broken = {link: scene.get(link).status_code for link in sorted(seen)}
    assert {link: status for link, status in broken.items() if status != 200} == {}


@pytest.mark.parametrize("path", MISSING)
def test_a_page_that_is_not_there(scene: LiveApp, path: str) -> None:
    answer = scene.get(path)
    assert answer.status_code == 404
    if not path.startswith("/static/"):
        assert answer.headers["content-type"].startswith("text/html")
        assert "Not here" in answer.text and BANNER in answer.text and 'href="/"' in answer.text


def test_a_release_shows_its_spec_beside_the_neighbouring_stream(scene: LiveApp) -> None:
    page = scene.get("/releases/cri-o/1.34.2").text
    assert "Beside the neighbouring stream: cri-o1.33" in page
    assert re.search(r'aria-label="How the spec differs from cri-o1\.33"', page)


def test_no_banner_outside_the_sandbox(sqlite_url: str) -> None:
    with serving(sqlite_url) as live:
        assert "Sandbox" not in live.get("/").text


def test_an_empty_service_says_what_to_do(sqlite_url: str) -> None:
    with serving(sqlite_url) as live:
        assert "No release yet" in live.get("/").text
        for path in ("/", "/releases", "/builds", "/deliveries"):
            assert "cryopack send-release" in live.get(path).text
        assert "Nothing is overdue" in live.get("/health").text
    with serving(sqlite_url, github_webhook_secrets="") as live:
        assert "CRYOPACK_GITHUB_WEBHOOK_SECRETS" in live.get("/deliveries").text


def test_the_matrix_tells_states_apart(scene: LiveApp) -> None:
    html = scene.get("/").text
    for state in ("failed", "errored", "held", "running", "submitting", "preparing", "succeeded", "canceled"):
        assert f"is-{state}" in html and f"#{state}" in html
    text = text_of(html)
    assert "unconfirmed stream" in text and "end of life 2025-10-15" in text
    assert "behind, last good 1.34.1" in text
    assert "rpmbuild: %check failed" in text
    assert "upstream 1.34.2" in text


def test_filters_stand_in_the_address(scene: LiveApp) -> None:
    failed = text_of(scene.get("/?state=failed").text)
    assert "cri-o1.34" in failed and "cri-o1.31" not in failed
    assert "No cell fits" in scene.get("/?state=failed&stream=1.31").text
    one = scene.get("/?branch=f44").text
    assert "f44-copr" in one and "on rawhide-copr" not in one
    page = scene.get("/?behind=1").text
    assert re.search(r'name="behind" value="1" checked', page)


def test_a_release_page_says_why_nothing_happened(scene: LiveApp) -> None:
    text = text_of(scene.get("/releases/cri-o/1.29.4").text)
    assert "Nothing is built:" in text and "stream 1.29 is not built" in text
    story = scene.get("/releases/cri-o/1.34.2").text
    order = [
        story.index(f">{title}") for title in ("Heard of", "Decision", "Source", "Spec", "SRPM", "Builds")[:3]
    ]
    assert order == sorted(order)
    assert "+Version:" in story and "guid-v1.34.2" in story and ".src.rpm" in story


def test_an_end_of_life_branch_says_so(scene: LiveApp) -> None:
    assert "End of life since 2026-05-28" in scene.get("/branches/f42").text


def test_a_build_page_tells_history_and_what_to_do(scene: LiveApp) -> None:
    text = text_of(scene.get("/builds/22").text)
    assert "cryopack build retry 22" in text and "There is a later attempt" in text
    assert "/builds/22/logs/fedora-44-aarch64" in scene.get("/builds/22").text
    assert "Upstream went from 1.34.1 to 1.34.2" in text
    for word in ("planned for f44-copr", "submission key", "accepted: copr build"):
        assert word in text


def test_deliveries_say_what_became_of_them(scene: LiveApp) -> None:
    star = scene.get("/deliveries/guid-star").text
    assert "cryopack delivery replay guid-star" in star
    assert "Keep it logically awesome." in star
    assert "is not one that we act on" in scene.get("/deliveries").text


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1e999, "b": -1e999}',
        b'{"a": "\\ud800", "\\udfff": 1}',
        b'{"a": "\\u0000\\u202e</pre><script>alert(1)</script>"}',
        b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a": "' + b"x" * 2_000_000 + b'"}',
        '{"a": "\N{SNOWMAN}"}'.encode("utf-16"),
    ],
    ids=["huge numbers", "half a character", "hostile text", "deep", "long", "utf-16"],
)
def test_odd_payloads_can_be_looked_at(live: LiveApp, body: bytes) -> None:
    assert live.deliver(body, x_github_delivery="odd").status_code == 202
    page = live.get("/deliveries/odd")
    assert page.status_code == 200
    assert "<script>alert" not in page.text and len(page.text) < 200_000
    answer = live.get("/api/v1/deliveries/odd")
    assert answer.status_code == 200, answer.text
    assert answer.json()["size"] == len(body)


def test_static_files_are_kept_for_ever(scene: LiveApp) -> None:
    html = scene.get("/").text
    address = re.search(r'href="(/static/style\.[0-9a-f]{16}\.css)"', html)
    assert address
    answer = scene.get(address[1])
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/css")
    assert scene.get("/static/style.0000000000000000.css").status_code == 404


def test_head_is_get_without_the_body(scene: LiveApp) -> None:
    for path in ("/", "/api/v1/matrix", "/healthz"):
        answer = scene.request("HEAD", path)
        assert (answer.status_code, answer.content) == (200, b"")
