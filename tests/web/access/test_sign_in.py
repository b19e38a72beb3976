"""Signing in by a provider and by a token, sessions, and the buttons of the pages."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from service.access.sign_ins import who_is
from service.access.tokens import create_token, revoke_token
from service.builds.claims import claim_build, end_build
from service.domain.states import BuildState
from tests.servers import free_port
from tests.store.deliveries import builds, deliver, payload
from tests.web.access.provider import CLIENT_ID, CLIENT_SECRET, OidcProvider, providing
from tests.web.live import NO_TLS, LiveApp, serving

FORM_WORD = re.compile(r'name="form_word" value="(\w{64})"')
GROUPS = "packagers=builds:write releases:write,admins=admin,odd=nonsense"


class Browsing:
    """A client with cookies, which fills in forms as the pages give them."""

    def __init__(self, live: LiveApp) -> None:
        self.client = httpx2.Client(base_url=live.url, timeout=30, follow_redirects=True, verify=NO_TLS)

    def press(self, page: str, action: str, **fields: str) -> httpx2.Response:
        """Open a page and send its form."""
        html = self.client.get(page).text
        found = FORM_WORD.search(html)
        assert found, html
        return self.client.post(action, data={"form_word": found[1], **fields})

    def by_token(self, token: str) -> httpx2.Response:
        return self.press("/sign-in?next=/audit", "/sign-in/token", token=token)

    def by_provider(self) -> httpx2.Response:
        self.client.get("/sign-in?next=/audit")
        return self.client.get("/sign-in/provider")


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with providing() as running:
        yield running


@pytest.fixture
def live(sqlite_url: str, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveApp]:
    """An application whose people sign in at the provider."""
    port = free_port()
    monkeypatch.setattr("tests.web.live.free_port", lambda: port)
    with serving(
        sqlite_url,
        base_url=f"http://127.0.0.1:{port}",
        oidc_discovery_url=f"{provider.url}/.well-known/openid-configuration",
        oidc_client_id=CLIENT_ID,
        oidc_client_secret=CLIENT_SECRET,
        oidc_group_scopes=GROUPS,
    ) as app:
        deliver(app.context.db, app.context.catalog, payload("v1.35.0"))
        yield app


def test_the_provider_says_who_it_is_and_the_groups_what_they_may(
    live: LiveApp, provider: OidcProvider
) -> None:
    provider.claims = {"groups": ["packagers", "odd", "unknown"]}
    browsing = Browsing(live)
    back = browsing.by_provider()
    assert back.status_code == 200 and back.url.path == "/audit", "back to where it began"
    assert "ana@127.0.0.1" in back.text
    assert "Cancel" in browsing.client.get("/builds/1").text
    assert browsing.client.get("/do/target-pause/f44-copr").status_code == 403
    done = browsing.press("/do/build-cancel/1", "/do/build-cancel/1")
    assert done.status_code == 200 and done.url.path == "/builds/1"
    (entry,) = live.get("/api/v1/audit").json()["items"]
    assert (entry["actor"], entry["action"], entry["address"]) == (
        "ana@127.0.0.1",
        "build.cancel",
        "127.0.0.1",
    )
    api = browsing.client.post("/api/v1/builds/2/cancel")
    assert api.status_code == 401, "a cookie opens no door of the API"


def test_groups_may_come_from_userinfo(live: LiveApp, provider: OidcProvider) -> None:
    provider.userinfo = {"sub": "person-1", "groups": ["admins"]}
    browsing = Browsing(live)
    browsing.by_provider()
    assert browsing.client.get("/do/target-pause/f44-copr").status_code == 200
    provider.userinfo = {"sub": "another", "groups": ["admins"]}
    assert Browsing(live).by_provider().status_code == 403


def test_without_a_group_one_may_read(live: LiveApp, provider: OidcProvider) -> None:
    browsing = Browsing(live)
    assert browsing.by_provider().status_code == 200
    assert browsing.client.get("/do/build-cancel/1").status_code == 403


@pytest.mark.parametrize(
    ("claims", "broken"),
    [
        ({"aud": "somebody-else"}, ""),
        ({"iss": "https://evil.example"}, ""),
        ({"exp": int(time.time()) - 3600}, ""),
        ({"nonce": "another"}, ""),
        ({}, "signature"),
        ({}, "none"),
        ({}, "shared"),
        ({"azp": "somebody-else"}, ""),
        ({"aud": [CLIENT_ID, "somebody-else"]}, ""),
    ],
)
def test_a_word_that_does_not_hold(
    live: LiveApp, provider: OidcProvider, claims: dict[str, Any], broken: str
) -> None:
    provider.claims, provider.broken = claims, broken
    browsing = Browsing(live)
    answer = browsing.by_provider()
    assert answer.status_code == 403 and "does not hold" in answer.text
    assert "cryopack_session" not in browsing.client.cookies


@pytest.mark.parametrize(
    ("issuer", "taken"), [("{}/", True), ("{}/other", False), ("https://id.example.org", False)]
)
def test_a_description_of_another_provider_is_refused(
    live: LiveApp, provider: OidcProvider, issuer: str, taken: bool
) -> None:
    provider.issuer = issuer.format(provider.url)
    browsing = Browsing(live)
    browsing.client.follow_redirects = False
    answer = browsing.by_provider()
    assert answer.status_code == (303 if taken else 503)
    assert taken or "another sign-in provider" in answer.text


def test_a_code_that_was_got_elsewhere_signs_nobody_in(live: LiveApp, provider: OidcProvider) -> None:
    other = Browsing(live)
    other.client.follow_redirects = False
    to_provider = other.by_provider().headers["location"]
    callback = httpx2.get(to_provider, verify=NO_TLS).headers["location"]
    assert Browsing(live).client.get(callback).status_code == 403, "another browser's state"
    assert other.client.get(callback).status_code == 303
    assert other.client.get(callback).status_code == 403, "a code and its seed are used once"
    for query in ("", "?error=access_denied", "?code=x", "?code=x&state="):
        assert other.client.get(f"/sign-in/callback{query}").status_code == 403


def test_a_provider_that_is_away_is_not_our_fault(live: LiveApp, provider: OidcProvider) -> None:
    provider.stop()
    answer = Browsing(live).by_provider()
    assert answer.status_code == 503 and answer.headers["retry-after"] and "does not answer" in answer.text


def test_keys_that_cannot_be_read_are_not_our_fault(live: LiveApp, provider: OidcProvider) -> None:
    provider.broken = "keys"
    assert Browsing(live).by_provider().status_code == 503


def test_a_new_sign_in_ends_the_session_before_it(sqlite_url: str) -> None:
    with serving(sqlite_url) as live:
        token = create_token(live.context.db, "ana", ["read"], by="root").text
        browsing = Browsing(live)
        browsing.by_token(token)
        before = browsing.client.cookies["cryopack_session"]
        browsing.by_token(token)
        after = browsing.client.cookies["cryopack_session"]
        assert before != after
        assert who_is(live.context.db, before) is None and who_is(live.context.db, after) is not None


def test_a_maintainer_gives_up_and_rebuilds_by_button(sqlite_url: str) -> None:
    with serving(sqlite_url) as live:
        deliver(live.context.db, live.context.catalog, payload("v1.35.0"))
        token = create_token(live.context.db, "ana", ["builds:write"], by="root").text
        browsing = Browsing(live)
        browsing.by_token(token)
        assert "/do/build-give-up/1" in browsing.client.get("/builds/1").text
        give_up = "/do/build-give-up/1"
        assert browsing.press(give_up, give_up, why=" ").status_code == 422
        done = browsing.press(give_up, give_up, why="the farm is gone")
        assert done.url.path == "/builds/1" and "given up by ana: the farm is gone" in done.text
        settle = "/do/build-resolve/2"
        assert browsing.press(settle, settle, how="").status_code == 422
        assert browsing.press(settle, settle, how="mine").status_code == 422
        assert browsing.press(settle, settle, how="done").status_code == 409
        again = "/do/rebuild/release/cri-o/1.35.0"
        assert browsing.press(again, again).url.path == "/builds"
        assert [(b.target, b.requested_by) for b in builds(live.context.db, "1.35.0") if b.attempt == 2] == [
            ("f43-copr", "ana")
        ]
        column = "/do/rebuild/branch/cri-o/f43"
        assert browsing.client.get(column).status_code == 409, "its only cell has a live attempt"


def test_a_token_signs_in_where_there_is_no_provider(sqlite_url: str) -> None:
    with serving(sqlite_url, api_read="token") as live:
        db = live.context.db
        token = create_token(db, "ana", ["catalog:write"], by="root").text
        browsing = Browsing(live)
        assert browsing.client.get("/").status_code == 401
        assert browsing.by_token("wrong").status_code == 403
        signed = browsing.by_token(token)
        assert signed.status_code == 200 and signed.url.path == "/audit"
        browsing.client.follow_redirects = False
        cookie = browsing.by_token(token).headers.get_list("set-cookie")[0]
        assert (
            "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie and token not in cookie
        )
        browsing.client.follow_redirects = True
        assert "Pause" in browsing.client.get("/catalogue").text
        why = "the farm is being moved <b>"
        paused = browsing.press("/do/target-pause/f44-copr", "/do/target-pause/f44-copr", why=why)
        assert (
            paused.url.path == "/catalogue" and "paused" in paused.text and "moved &lt;b&gt;" in paused.text
        )
        again = browsing.press("/do/target-pause/f44-copr", "/do/target-pause/f44-copr", why="again")
        assert again.status_code == 409 and "like that already" in again.text
        assert browsing.press("/", "/sign-out").status_code == 401
        assert browsing.client.get("/").status_code == 401
        browsing.by_token(token)
        revoke_token(db, "ana", by="root")
        assert browsing.client.get("/").status_code == 401


def test_cookies_are_bound_to_https_where_people_come_by_https(sqlite_url: str) -> None:
    with serving(sqlite_url, base_url="https://cryopack.example.org") as live:
        token = create_token(live.context.db, "ana", ["read"], by="root").text
        page = live.get("/sign-in")
        seed = page.headers.get_list("set-cookie")[0].partition(";")[0]
        word = FORM_WORD.search(page.text)
        assert word
        answer = httpx2.post(
            f"{live.url}/sign-in/token",
            data={"form_word": word[1], "token": token},
            headers={"cookie": seed},
            verify=NO_TLS,
        )
        cookie = answer.headers.get_list("set-cookie")[0]
        assert cookie.startswith("__Host-cryopack_session=") and "Secure" in cookie
        for each in page.headers.get_list("set-cookie"):
            assert each.startswith("__Host-") and "Secure" in each and "HttpOnly" in each


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "/a b"])
def test_the_way_back_leads_nowhere_else(sqlite_url: str, target: str) -> None:
    with serving(sqlite_url) as live:
        token = create_token(live.context.db, "ana", ["read"], by="root").text
        browsing = Browsing(live)
        browsing.client.get("/sign-in", params={"next": target})
        word = FORM_WORD.search(browsing.client.get("/sign-in", params={"next": target}).text)
        assert word
        browsing.client.follow_redirects = False
        answer = browsing.client.post("/sign-in/token", data={"form_word": word[1], "token": token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.browser
def test_a_maintainer_in_a_browser(chromium: Browser, live: LiveApp, provider: OidcProvider) -> None:
    provider.claims = {"groups": ["admins"]}
    work = claim_build(live.context.db, 1, lease_seconds=60, max_tries=6)
    assert work is not None
    end_build(live.context.db, work, BuildState.FAILED, "because the test says so")
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{live.url}/builds/1")
    page.get_by_role("link", name="Sign in").click()
    page.get_by_role("link", name="Sign in at 127.0.0.1").click()
    page.wait_for_url(f"{live.url}/builds/1")
    page.get_by_role("link", name="Build again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Build again?")
    page.get_by_label("Strategy").select_option("compat")
    page.get_by_role("button", name="Build again").click()
    page.wait_for_url(f"{live.url}/builds/5")
    assert [(b.target, b.strategy) for b in builds(live.context.db, "1.35.0") if b.attempt == 2] == [
        ("f43-copr", "compat")
    ]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    context.close()
