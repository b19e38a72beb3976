"""CRI-O's real history, in order and shuffled: both orders give the same matrix."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from sandbox.testing import Farm
from service.domain.states import ENDED_BUILD
from service.domain.versions import parse_tag
from service.releases.intake import Incoming, accept_deliveries
from service.settings import Settings
from service.store.schema import UpstreamRelease
from tests.flow.pipeline import Pipeline
from tests.store.deliveries import matrix, payload
from workers.builds import deliveries

DATA = Path(__file__).parents[2] / "deploy" / "sandbox" / "data" / "cri-o-releases.json"
HISTORY: list[dict[str, Any]] = json.loads(DATA.read_text())
BRANCHES = ("f43", "f44", "f45", "rawhide")
BUILT = ("1.31", "1.32", "1.33", "1.34", "1.35")


def in_order() -> list[dict[str, Any]]:
    return sorted(HISTORY, key=lambda row: parse_tag(row["tag"]))


def shuffled() -> list[dict[str, Any]]:
    rows = list(HISTORY)
    random.Random(20261124).shuffle(rows)
    return rows


@pytest.fixture
def pipeline(tmp_path: Path, make_settings: Callable[..., Settings], sqlite_url: str) -> Iterator[Pipeline]:
    with Farm(tmp_path / "all", pace=0.01, publish="all") as farm:
        changes = {
            "copr_config": farm.copr_config,
            "github_api_url": farm.mirror_url,
            "source_url_template": farm.mirror_url + "/{repository}/archive/{tag}/{name}-{version}.tar.gz",
        }
        pipeline = Pipeline(farm, make_settings(sqlite_url, **changes))
        yield pipeline
        pipeline.close()


@pytest.mark.parametrize("order", [in_order, shuffled])
def test_the_whole_history(pipeline: Pipeline, order: Callable[[], list[dict[str, Any]]]) -> None:
    for n, row in enumerate(order()):
        body = payload(row["tag"], published_at=row["tagged_at"])
        accept_deliveries(pipeline.context.db, [Incoming(str(uuid.uuid4()), "release", body)])
        # Now and then the workers catch up a little, so that some older patches are on their way already.
        if n % 20 == 0:
            pipeline.turn()
        else:
            pipeline.process_inbox()
    pipeline.run(seconds=100)
    highest = {
        stream: max(parse_tag(row["tag"]) for row in HISTORY if row["stream"] == stream) for stream in BUILT
    }
    assert matrix(pipeline.context.db) == {
        (f"cri-o{stream}", branch): (str(highest[stream]), "succeeded")
        for stream in BUILT
        for branch in BRANCHES
    }
    for build in pipeline.builds():
        if build.version != str(highest[build.stream]):
            assert build.state in ("superseded", "succeeded")
            assert (
                build.state != "superseded" or "newer" in build.reason or "before this older" in build.reason
            )
    with pipeline.context.db.reader() as session:
        releases = session.scalars(select(UpstreamRelease)).all()
        session.expunge_all()
    assert len(releases) == len(HISTORY)
    for release in releases:
        built = release.stream in BUILT
        assert release.state == ("planned" if built else "unsupported")
        assert built or release.reason


def test_three_releases_within_seven_seconds_each_delivered_twice(pipeline: Pipeline) -> None:
    db = pipeline.context.db
    for tag in ("v1.35.6", "v1.34.9", "v1.33.12"):
        for _ in range(2):
            accept_deliveries(db, [Incoming(str(uuid.uuid4()), "release", payload(tag))])
    pipeline.run()
    builds = pipeline.builds()
    assert len(builds) == 12 and {b.state for b in builds} == {"succeeded"}
    assert len(pipeline.farm.builds()) == 12


def test_a_lost_webhook_is_made_good_by_upstream_s_own_list(pipeline: Pipeline) -> None:
    from_list = _reconcile(pipeline)
    assert from_list > 0
    first = {(b.release_id, b.target) for b in pipeline.builds()}
    assert _reconcile(pipeline) == 0, "planning again must plan nothing new"
    assert {(b.release_id, b.target) for b in pipeline.builds()} == first
    live = [b for b in pipeline.builds() if b.state not in ENDED_BUILD]
    assert {(b.package, b.version) for b in live} == {
        (f"cri-o{s}", str(max(parse_tag(r["tag"]) for r in HISTORY if r["stream"] == s))) for s in BUILT
    }
    second_time = pipeline.farm.requests("GET", "/repos/cri-o/cri-o/releases")
    assert len(second_time) >= 2


def test_a_deleted_release_is_marked_by_the_list(pipeline: Pipeline) -> None:
    _reconcile(pipeline)
    pipeline.farm.withdraw("v1.35.6")
    with pipeline.context.db.transaction() as session:
        for row in session.scalars(select(UpstreamRelease)):
            row.first_seen_at = row.first_seen_at.replace(year=2025)
    _reconcile(pipeline)
    with pipeline.context.db.reader() as session:
        row = session.scalars(select(UpstreamRelease).where(UpstreamRelease.tag == "v1.35.6")).one()
        assert row.state == "withdrawn" and "not in upstream's list" in row.reason


def _reconcile(pipeline: Pipeline) -> int:
    return len(deliveries.reconcile(pipeline.context).builds)
