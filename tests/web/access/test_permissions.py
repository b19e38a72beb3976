"""Every route with every scope, and without a token; the routes are taken from the application."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from starlette.routing import Route

from service.access.sign_ins import sign_in, who_is
from service.access.tokens import SCOPES, create_token, implied
from service.web.access.auth import COOKIE
from service.web.api.openapi import api_routes, scope_of
from service.web.app import create_app
from tests.web.live import NO_TLS, LiveApp, serving

# Open to everybody by purpose, each with its reason.
OPEN = {
    "/webhooks/github": "signed by GitHub's secret",
    "/static/{name}": "style and script",
    "/healthz": "probes", "/readyz": "probes", "/metrics": "probes",
    "/api/v1/openapi.json": "says what there is, and holds no data",
    "/sign-in": "the way in", "/sign-in/token": "the way in", "/sign-in/provider": "the way in",
    "/sign-in/callback": "the way in", "/sign-out": "asks for the session itself",
}  # fmt: skip
WRITERS = {
    "builds:write": {"/api/v1/builds/{build_id}/retry", "/api/v1/builds/{build_id}/cancel",
                     "/api/v1/builds/{build_id}/resume", "/api/v1/builds/{build_id}/give-up",
                     "/api/v1/side-tags/{side_tag_id}/give-up", "/api/v1/side-tags/{side_tag_id}/go-on",
                     "/api/v1/rebuilds"},
    "releases:write": {"/api/v1/releases", "/api/v1/deliveries/{guid}/replay"},
    "admin": {"/api/v1/tokens", "/api/v1/tokens/{name}/revoke"},
}  # fmt: skip


def every_route() -> Iterator[tuple[str, str, str | None]]:
    """(method, path pattern, declared scope) of everything that the application answers to."""
    app = create_app()
    for route in api_routes(app):
        for method in route.methods or ():
            yield method, route.path, scope_of(route)
    for other in app.routes:
        if not hasattr(other, "original_router"):
            assert isinstance(other, Route), other
            yield from ((method, other.path, None) for method in other.methods or () if method != "HEAD")


CLIENT = httpx2.Client(timeout=30, verify=NO_TLS)
ROUTES = sorted(set(every_route()), key=str)


def filled(path: str) -> str:
    """An address of the pattern. What it names does not exist, so that no test changes anything."""
    for name, value in (
        ("{build_id}", "999999"), ("{override_id}", "999999"), ("{subject:path}", "999999"),
        ("{family}", "none"), ("{version}", "9.9.9"), ("{guid}", "none"), ("{chroot}", "none"),
        ("{package}", "none"), ("{branch}", "f99"), ("{stream}", "9.9"), ("{target}", "none"),
        ("{name}", "none"), ("{side_tag_id}", "999999"), ("{fingerprint}", "0" * 16),
    ):  # fmt: skip
        path = path.replace(name, value)
    assert "{" not in path, path
    return path


@pytest.fixture(scope="module")
def closed(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApp]:
    """An application that shows nothing to strangers, without limits that the matrix would meet."""
    path = tmp_path_factory.mktemp("closed") / "closed.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    high = {"write_limit_per_minute": 100_000, "address_limit_per_minute": 100_000}
    with serving(f"sqlite:///{path}", api_read="token", **high) as app:
        yield app


@pytest.fixture(scope="module")
def credentials(closed: LiveApp) -> dict[str, tuple[str, str]]:
    """Scope to (token, cookie)."""
    db = closed.context.db
    return {
        scope: (
            create_token(db, scope.replace(":", "-"), [scope], by="root").text,
            sign_in(db, scope, [scope], seconds=3600),
        )
        for scope in SCOPES
    }


def test_every_route_declares_its_scope_or_is_open_by_purpose() -> None:
    undeclared = {path for _, path, scope in ROUTES if scope is None} - set(OPEN)
    assert undeclared == set(), "use needs(...) or page_needs(...), or name the route's reason in OPEN"
    assert {path for _, path, scope in ROUTES if scope is not None} & set(OPEN) == set()
    assert set(OPEN) <= {path for _, path, _ in ROUTES}


def test_every_route_that_writes_needs_more_than_reading() -> None:
    writing = {(m, p, s) for m, p, s in ROUTES if m not in ("GET", "HEAD") and p not in OPEN}
    assert len(writing) > 20
    assert [row for row in writing if row[2] in (None, "read")] == []
    for scope, paths in WRITERS.items():
        assert paths <= {p for _, p, s in writing if s == scope and p.startswith("/api/")}


def ask(live: LiveApp, method: str, path: str, *, token: str = "", cookie: str = "") -> int:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    if cookie:
        headers["cookie"] = f"{COOKIE}={cookie}"
        found = who_is(live.context.db, cookie)
        form = {"form_word": found.form_word if found else "", "why": "the test"}
        if method == "POST" and not path.startswith("/api/"):
            return CLIENT.post(live.url + path, headers=headers, data=form).status_code
    body = {"why": "the test", "family": "none", "tag": "v9.9.9", "stream": "9.9", "name": "", "scopes": []}
    return CLIENT.request(
        method, live.url + path, headers=headers, json=body if method != "GET" else None
    ).status_code


@pytest.mark.parametrize("scope", [None, *SCOPES])
def test_the_matrix(closed: LiveApp, credentials: dict[str, tuple[str, str]], scope: str | None) -> None:
    allowed = implied([scope] if scope else [])
    wrong = []
    tried = 0
    for (method, path, declared), program in itertools.product(ROUTES, (True, False)):
        # The API is asked with tokens and the pages with cookies; each alone must open nothing of the other.
        if declared is None:
            continue
        of_api = path.startswith("/api/v1/") and path != "/api/v1/docs"
        token, cookie = credentials[scope] if scope else ("", "")
        status = ask(closed, method, filled(path), **({"token": token} if program else {"cookie": cookie}))
        fits = program == of_api
        expected = {True: {200, 303, 404, 409, 422, 302}, False: {403} if scope and fits else {401, 403}}
        if status not in expected[fits and declared in allowed]:
            wrong.append((method, path, declared, "token" if program else "cookie", status))
        tried += 1
    assert wrong == []
    assert tried > 100


FORMS = sorted(
    {path for method, path, _ in ROUTES if method == "POST" and not path.startswith(("/api/", "/webhooks/"))}
)


@pytest.mark.parametrize("path", FORMS)
def test_a_form_of_another_site_does_nothing(
    closed: LiveApp, credentials: dict[str, tuple[str, str]], path: str
) -> None:
    cookie = {"cookie": f"{COOKIE}={credentials['admin'][1]}"}
    address = closed.url + path.replace("{subject:path}", "f44-copr")
    other = who_is(closed.context.db, credentials["read"][1])
    assert other is not None
    for word in (None, "", "x", "0" * 64, "\u2603", other.form_word):
        fields = {"why": "x"} | ({} if word is None else {"form_word": word})
        answer = CLIENT.post(address, headers=cookie, data=fields)
        # What is no ASCII cannot be read at all; all else is refused for its word.
        assert answer.status_code in ((403, 422) if word == "\u2603" else (403,)), word
    assert closed.context.catalog.target("f44-copr").enabled  # type: ignore[union-attr]


def test_there_are_forms_to_try() -> None:
    assert {"/do/build-give-up/{subject:path}", "/do/build-resolve/{subject:path}", "/sign-out"} <= set(FORMS)
    assert len(FORMS) >= 14
