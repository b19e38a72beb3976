"""Disagreements of a source with the catalogue, partial archives and unconfirmed streams, in pages and API."""

from __future__ import annotations

import re
from dataclasses import replace

from service.builds.submissions import record_source_facts
from service.catalog import Catalog
from service.domain.versions import Stream, Version
from service.overrides import LiveCatalog, change_catalog
from service.releases.planning import Announcement, announce
from service.store.session import Database, database_now
from tests.store.deliveries import deliver, payload, release
from tests.web.live import LiveApp, serving
from tests.web.scene import FACTS

TAG = "unconfirmed stream"


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_an_unconfirmed_stream_is_marked_wherever_its_package_shows(scene: LiveApp) -> None:
    builds = scene.get("/api/v1/builds?package=cri-o1.99").json()["items"]
    assert builds
    pages = [
        "/",
        "/releases/cri-o/1.99.0",
        f"/builds/{builds[0]['id']}",
        "/packages/cri-o1.99",
        "/branches/f44",
        "/builds?package=cri-o1.99",
        "/releases",
    ]
    for page in pages:
        assert TAG in text_of(scene.get(page).text), page
    for page in ("/releases/cri-o/1.34.2", "/builds/22", "/packages/cri-o1.34", "/builds?package=cri-o1.34"):
        assert TAG not in text_of(scene.get(page).text), page
    api = {path: scene.get(f"/api/v1{path}").json() for path in (
        "/releases/cri-o/1.99.0", f"/builds/{builds[0]['id']}", "/releases/cri-o/1.34.2", "/builds/22"
    )}  # fmt: skip
    assert [answer["confirmed"] for answer in api.values()] == [False, False, True, True]
    rows = {row["package"]: row["confirmed"] for row in scene.get("/api/v1/matrix").json()["rows"]}
    assert (rows["cri-o1.99"], rows["cri-o1.34"]) == (False, True)
    streams = {row["package"]: row["confirmed"] for row in scene.get("/api/v1/streams").json()["items"]}
    assert (streams["cri-o1.99"], streams["cri-o1.34"]) == (False, True)


def test_source_and_catalogue_disagree_in_the_open(scene: LiveApp) -> None:
    told = scene.get("/api/v1/releases/cri-o/1.34.2").json()["disagreements"]
    assert told == [
        {"name": "go", "source": "1.24.3", "catalogue": "1.24.6"},
        {"name": "nri", "source": "v0.9.0", "catalogue": "v0.10.0"},
    ]
    text = text_of(scene.get("/releases/cri-o/1.34.2").text)
    assert "The source and the catalogue disagree; the source was followed" in text
    assert "go : the source says 1.24.3 , the catalogue 1.24.6" in text
    # What was not fetched yet cannot disagree.
    assert scene.get("/api/v1/releases/cri-o/1.99.0").json()["disagreements"] == []


def test_a_partial_archive_is_called_so(sqlite_url: str, catalog: Catalog) -> None:
    db = Database(sqlite_url)
    deliver(db, catalog, payload("v1.34.2"))
    known = release(db, "1.34.2")
    assert known is not None
    words = "3 of 400 vendored packages have no file in it, such as a/<b>b</b>"
    record_source_facts(db, known.id, replace(FACTS, partial=words))
    db.dispose()
    with serving(sqlite_url) as app:
        page = app.get("/releases/cri-o/1.34.2").text
        assert "Partial archive: " in text_of(page) and "a/&lt;b&gt;b" in page
        assert "partial archive" in text_of(app.get("/builds/1").text)
        assert app.get("/api/v1/builds/1").json()["partial"] == words
        assert app.get("/api/v1/releases/cri-o/1.34.2").json()["facts"]["partial"] == words


def test_planning_again_keeps_a_person_s_confirmation(db: Database, catalog: Catalog) -> None:
    stream, version = Stream(1, 99), Version.parse("1.99.0")
    live = LiveCatalog(db, catalog)
    confirm = {"confirmed": True, "build": True}
    for _ in range(2):
        now = live.look().catalog
        with db.transaction() as session:
            at = database_now(session)
            announce(session, now, now.families["cri-o"], version, Announcement("list"), at=at)
        if not now.is_confirmed("cri-o", stream):
            change_catalog(
                db, catalog, "stream", "cri-o/1.99", confirm, why="looked", by="me", action="stream.confirm"
            )
    assert live.look().catalog.is_confirmed("cri-o", stream)
    assert not catalog.is_confirmed("cri-o", stream)
