"""Side tags on the pages, in the API and on the command line: the order of a set, what it waits for, two requests."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from service import board
from service.access.sign_ins import sign_in, who_is
from service.access.tokens import create_token
from service.builds.claims import claim_build, end_build
from service.domain.side_tags import SideTagPolicy
from service.domain.states import BuildState
from service.store.schema import PackageBuild, SideTag, SideTagMember
from service.store.session import database_now
from service.web.access.auth import COOKIE
from tests.cli.typed import type_here
from tests.store.deliveries import builds, deliver, payload
from tests.web.live import LiveApp, serving

NAME = "f44-build-side-21"
POLICY = SideTagPolicy("kubernetes", ("kubernetes", "cri-o"))


@pytest.fixture
def live(sqlite_url: str) -> object:
    """A failed build in an open side tag; its family is the last of the set's order."""
    with serving(sqlite_url) as app:
        context = app.context
        deliver(context.db, context.catalog, payload("v1.35.0"))
        build = builds(context.db, "1.35.0")[0]
        work = claim_build(context.db, build.id, lease_seconds=60, max_tries=6)
        assert work is not None
        end_build(context.db, work, BuildState.FAILED, "does not <b>compile</b>")
        with context.db.transaction() as session:
            now = database_now(session)
            tag = SideTag(
                set_id="kubernetes", families=list(POLICY.families), stream="1.35", branch=build.branch,
                system=build.system, project=build.project, base_target="f44-candidate", name=NAME,
                state="open", reason="nothing was <i>built</i> in it yet", waived=[], created_at=now, due_at=now,
                opened_at=now,
            )  # fmt: skip
            session.add(tag)
            session.flush()
            session.add(SideTagMember(build_id=build.id, side_tag_id=tag.id, joined_at=now))
            row = session.get_one(PackageBuild, build.id)
            row.options = {**row.options, "side_tag": POLICY.as_json()}
        yield app


def get(live: LiveApp, path: str) -> httpx2.Response:
    return httpx2.get(f"{live.url}{path}", timeout=30)


def test_pages_show_the_order_and_what_it_waits_for(live: LiveApp) -> None:
    build = builds(live.context.db, "1.35.0")[0]
    for path in (
        f"/builds/{build.id}", f"/branches/{build.branch}", "/releases/cri-o/1.35.0", "/side-tags/1",
    ):  # fmt: skip
        text = get(live, path).text
        assert "nothing was &lt;i&gt;built&lt;/i&gt; in it yet" in text, path
        assert "no build: nobody waits for it" in text and "does not &lt;b&gt;compile" in text, path
        assert text.index(">kubernetes<") < text.index(f'href="/builds/{build.id}">cri-o1.35'), path
    assert NAME in get(live, "/side-tags").text
    assert get(live, "/side-tags/9").status_code == 404 == get(live, "/side-tags/x").status_code


def test_the_api_tells_and_takes_what_the_commands_do(live: LiveApp, tmp_path: Path) -> None:
    db = live.context.db
    found = get(live, "/api/v1/side-tags").json()["items"]
    assert [(one["name"], one["state"]) for one in found] == [(NAME, "open")]
    assert get(live, "/api/v1/side-tags?state=removed").json()["items"] == []
    assert get(live, "/api/v1/side-tags/1").json()["side_tag"]["builds"][0]["state"] == "failed"
    assert get(live, "/api/v1/side-tags/2").status_code == 404
    token = create_token(db, "ana", ["builds:write"], by="root").text
    said = {"Authorization": f"Bearer {token}"}

    def post(what: str, key: str) -> httpx2.Response:
        headers = {**said, "Idempotency-Key": key}
        return httpx2.post(f"{live.url}/api/v1/side-tags/1/{what}", headers=headers, json={"why": "a test"})

    answer = post("go-on", "one")
    assert answer.status_code == 202 and "goes on without cri-o1.35 1.35.0" in answer.json()["sentence"]
    assert post("go-on", "one").json() == answer.json()
    assert post("go-on", "two").status_code == 409

    environment = {"CRYOPACK_TOKEN": token, "NO_COLOR": "1", "CRYOPACK_STATE_DIR": str(tmp_path / "none")}
    listed = type_here(["--server", live.url, "sidetag", "list"], environment, tmp_path)
    assert NAME in listed.stdout and "kubernetes 1.35" in listed.stdout
    given = type_here(
        ["--server", live.url, "sidetag", "give-up", "1", "--why", "over"], environment, tmp_path
    )
    assert (
        given.stdout
        == f"the side tag of kubernetes 1.35 on {found[0]['branch']} is given up; {NAME} will be removed\n"
    )
    shown = type_here(["--server", live.url, "sidetag", "show", "1"], environment, tmp_path)
    assert "given-up" in shown.stdout and "kubernetes   no build: nobody waits for it" in shown.stdout
    assert post("give-up", "three").status_code == 409
    with db.reader() as session:
        rows = board.list_audit(session).items
    assert [(row.action, row.actor, row.subject) for row in rows[:2]] == [
        ("side-tag.give-up", "ana", "side tag 1"),
        ("side-tag.go-on", "ana", "side tag 1"),
    ]


def test_the_button_gives_it_up(live: LiveApp) -> None:
    db = live.context.db
    cookie = sign_in(db, "ana", ["builds:write"], seconds=3600)
    who = who_is(db, cookie)
    assert who is not None
    headers = {"cookie": f"{COOKIE}={cookie}"}
    address = f"{live.url}/do/side-tag-give-up/1"
    assert (
        "is removed at the build system with all that it holds" in httpx2.get(address, headers=headers).text
    )
    form = {"form_word": who.form_word, "why": ""}
    assert httpx2.post(address, headers=headers, data=form).status_code == 422
    answer = httpx2.post(address, headers=headers, data=form | {"why": "over"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/side-tags/1")
    assert "given up by ana: over" in get(live, "/side-tags/1").text
