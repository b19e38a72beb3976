"""The stage that a build has been shipped to, in matrix, package page, build page, API and command line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from service.builds.follow_ups import stage_record
from service.catalog import Catalog
from service.domain.shipping import Shipping, Stage
from service.store.schema import PackageBuild
from service.store.session import Database, database_now
from tests.cli.typed import type_here
from tests.web.live import serving
from tests.web.scene import Scene

NVR = "cri-o1.34-1.34.1-7.fc44"
"""What the hub calls the build; our own count would be 0.1."""
SINCE = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)


def ship(db: Database, build_id: int, stage: Stage | None) -> None:
    """What a look at the tags writes down."""
    since = SINCE if stage else None
    with db.transaction() as session:
        seen = Shipping(stage, since, ended=False, text=f"it is {stage or 'nowhere'}")
        stage_record(seen, NVR)(session, session.get_one(PackageBuild, build_id), database_now(session))


def test_a_stage_is_shown_everywhere_and_changes_the_matrix_tag(
    sqlite_url: str, catalog: Catalog, tmp_path: Path
) -> None:
    db = Database(sqlite_url)
    scene = Scene(db, catalog)
    scene.announce("v1.34.1")
    scene.succeed("1.34.1", "f44-copr")
    build_id = scene.build_id("1.34.1", "f44-copr")
    with serving(sqlite_url) as app:
        plain = app.get("/api/v1/matrix")
        known = plain.headers["etag"]
        assert "candidate" not in plain.text and "/glossary#shipped" not in app.get("/").text
        for stage in (*Stage, None, Stage.TESTING):
            ship(db, build_id, stage)
            again = app.get("/api/v1/matrix", **{"if-none-match": known})
            assert again.status_code == 200
            known = again.headers["etag"]
            row = next(one for one in again.json()["rows"] if one["package"] == "cri-o1.34")
            (cell,) = [one for one in row["cells"] if one["target"] == "f44-copr"]
            assert cell["shipped"] == (stage or "")
        assert (cell["shipped"], cell["last_good"]["shipped"]) == ("testing", "testing")
        assert (cell["build"]["shipped"], cell["build"]["shipped_at"]) == ("testing", "2026-11-25T10:30:00Z")
        assert {cell["nvr"], cell["last_good"]["nvr"], cell["build"]["nvr"]} == {NVR}
        assert app.get(f"/api/v1/builds/{build_id}").json()["nvr"] == NVR
        for page in ("/builds", f"/builds/{build_id}", "/api/v1/feed.atom", "/", "/packages/cri-o1.34"):
            assert (
                NVR.removeprefix("" if "build" in page or "feed" in page else "cri-o1.34-")
                in app.get(page).text
            )
        link = '<a class="stage" href="/glossary#shipped">testing<span class="unseen">'
        for page in ("/", "/packages/cri-o1.34", "/branches/f44", f"/builds/{build_id}"):
            assert link in app.get(page).text, page
        shown = app.get(f"/builds/{build_id}").text
        assert "2026-11-25 10:30:00 UTC" in shown
        history = [line for line in ("it is candidate", "it is stable", "it is nowhere") if line in shown]
        assert len(history) == 3
        assert 'id="shipped"' in app.get("/glossary").text
        environment = {"CRYOPACK_DATABASE_URL": sqlite_url, "CRYOPACK_STATE_DIR": str(tmp_path)}
        assert "succeeded 1.34.1 testing" in type_here(["matrix"], environment, tmp_path).stdout
        # A newer version under way: what users have is the last good one's stage.
        scene.announce("v1.34.2")
        assert link in app.get("/").text
    db.dispose()
    told = type_here(["build", "show", str(build_id)], environment, tmp_path).stdout
    assert NVR in told
    assert "shipped: testing since 2026-11-25T10:30:00" in told
