"""A set of three families in one side tag: built in order, shipped, removed; a failure, a person, a lost answer."""

from __future__ import annotations

import itertools

import pytest

from service.builds.commands import request_build
from service.domain.errors import CommandRefused
from service.sidetags.lifecycle import go_on_side_tag
from tests.flow.sidetags.service import FAMILIES, SideTagPipeline

pytestmark = pytest.mark.timeout(120)


def test_a_set_is_built_in_order_in_one_side_tag(pipeline: SideTagPipeline) -> None:
    # The last of the order comes first, so that nothing but the order makes it wait.
    pipeline.release_all(*reversed(FAMILIES))
    pipeline.wait(
        lambda: len(pipeline.builds()) == 3 and "turn comes after" in pipeline.build_of("cri-o").reason
    )
    pipeline.run()
    assert [pipeline.build_of(family).state for family in FAMILIES] == ["succeeded"] * 3
    pipeline.hurry()
    pipeline.wait(lambda: "not in stable yet" in pipeline.side_tags()[0].reason)
    (row,) = pipeline.side_tags()
    assert pipeline.live_tags() == [row.name] and row.state == "open"
    tasks = pipeline.farm.koji.tasks()
    assert [task["request"][1] for task in tasks] == [row.name] * 3
    assert [task["id"] for task in tasks] == [
        int(pipeline.build_of(family).external_id or 0) for family in FAMILIES
    ]
    # Each was asked for only after the one before it had ended.
    assert all(before["completion_ts"] < after["create_ts"] for before, after in itertools.pairwise(tasks))

    # In testing the update may still be edited; the tag goes only when all of it is stable.
    pipeline.ship("f44-updates-testing")
    pipeline.wait(lambda: {build.shipped for build in pipeline.builds()} == {"testing"})
    pipeline.hurry()
    pipeline.wait(lambda: "not in stable yet" in pipeline.side_tags()[0].reason)
    assert pipeline.live_tags() == [row.name]
    pipeline.ship("f44-updates")
    pipeline.wait(lambda: pipeline.side_tags()[0].state == "removed")
    assert pipeline.live_tags() == []
    assert pipeline.tag_story() == ["creating", "open", "removing", "removed"]

    # The next release gets a side tag of its own. This time Bodhi takes the builds out first, and the hub removes it.
    pipeline.release_all("cri-o", patch=1)
    pipeline.run()
    pipeline.ship("f44-updates", leave=True)
    assert pipeline.live_tags() == []
    pipeline.wait(lambda: pipeline.side_tags()[1].state == "removed")
    assert pipeline.side_tags()[1].reason.endswith(
        "is gone from the build system after its update was pushed"
    )


def test_what_comes_after_a_failure_waits_until_a_person_says_go_on(pipeline: SideTagPipeline) -> None:
    pipeline.farm.koji.set_outcome("x86_64", package="kubernetes*")
    pipeline.release_all("cri-o", "kubernetes")
    pipeline.wait(lambda: "which failed" in pipeline.build_of("cri-o").reason)
    assert pipeline.build_of("kubernetes").state == "failed"
    # cri-tools has no release of this minor, so nobody waits for it.
    assert "cri-tools" not in pipeline.build_of("cri-o").reason
    assert len(pipeline.farm.koji.tasks()) == 1
    done = go_on_side_tag(pipeline.context.db, 1, by="ana", why="the kubelet is not needed for the test")
    assert "goes on without kubernetes1.35 1.35.0 (build 2)" in done.sentence
    with pytest.raises(CommandRefused, match="nothing in it waits for a person"):
        go_on_side_tag(pipeline.context.db, 1, by="ana", why="again")
    pipeline.run()
    assert pipeline.build_of("cri-o").state == "succeeded"
    # A retry of the failed build comes into the same side tag, and whoever comes later waits for it again.
    pipeline.farm.koji.clear_outcomes()
    request_build(pipeline.context.db, pipeline.context.catalog, pipeline.build_of("kubernetes").id, by="ana")
    pipeline.release_all("cri-tools")
    pipeline.run()
    assert [task["request"][1] for task in pipeline.farm.koji.tasks()] == [pipeline.live_tags()[0]] * 4
    assert int(pipeline.build_of("cri-tools").external_id or 0) > int(
        pipeline.build_of("kubernetes").external_id or 0
    )


def test_a_denied_side_tag_waits_for_a_person_and_a_vanished_one_is_made_again(
    pipeline: SideTagPipeline,
) -> None:
    pipeline.farm.koji.deny_side_tags("too many side tags")
    pipeline.release_all("kubernetes")
    pipeline.wait(lambda: "waits for a person" in pipeline.build_of("kubernetes").reason)
    assert "too many side tags" in pipeline.side_tags()[0].reason
    pipeline.farm.koji.deny_side_tags("")
    go_on_side_tag(pipeline.context.db, 1, by="ana", why="asked the administrators")
    # Somebody removes it before anything is built in it.
    pipeline.farm.koji.set_outcome("builder")
    pipeline.wait(lambda: bool(pipeline.live_tags()))
    pipeline.farm.koji.remove_side_tag(pipeline.live_tags()[0])
    pipeline.farm.koji.clear_outcomes()
    pipeline.run()
    if pipeline.build_of("kubernetes").state != "succeeded":
        # It was handed over before that: Koji fails it, and a retry is let into the new one.
        assert "unknown build target" in pipeline.build_of("kubernetes").reason
        request_build(
            pipeline.context.db, pipeline.context.catalog, pipeline.build_of("kubernetes").id, by="ana"
        )
        pipeline.run()
    assert pipeline.build_of("kubernetes").state == "succeeded"
    (row,) = pipeline.side_tags()
    assert pipeline.live_tags() == [row.name] and "wanted" in pipeline.tag_story()
