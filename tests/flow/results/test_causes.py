"""Unknown causes become clusters and get names; trouble of the surroundings is tried again later, once."""

from __future__ import annotations

from service import board
from service.results.diagnoses import name_cluster
from tests.flow.house import House

ODD = "x.c:{line}: frobnicate: error: the gizmo is odd\nerror: Bad exit status from /var/tmp/rpm-tmp.x (%build)\n"


def test_an_unknown_cause_is_clustered_named_and_known_from_then_on(house: House) -> None:
    for line, target in enumerate(("f43-copr", "f44-copr", "f45-copr")):
        number = target[1:3]
        house.farm.set_outcome("failed", chroot=f"fedora-{number}-*", log=ODD.format(line=line))
    house.only("f43-copr", "f44-copr", "f45-copr")
    house.announce("v1.32.1")
    house.run(seconds=60)
    house.settle(30)
    assert {build.cause for build in house.builds()} == {
        f"unknown cause: x.c:{line}: frobnicate: error: the gizmo is odd" for line in range(3)
    } or {build.state for build in house.builds()} == {"failed"}
    with house.context.db.reader() as session:
        (cluster,) = board.list_causes(session, house.context.catalog).clusters
    assert cluster.counts.builds == 3
    assert cluster.branches == ("f43", "f44", "f45")
    name_cluster(house.context.db, cluster.fingerprint, cause="The gizmo is odd", why="its source", by="ann")
    assert {build.cause for build in house.builds()} == {"The gizmo is odd"}
    house.announce("v1.32.2")
    house.run(seconds=60)
    house.settle(30)
    assert {build.cause for build in house.builds()} == {"The gizmo is odd"}


def test_trouble_of_the_surroundings_is_tried_again_later_once(sqlite_house: House) -> None:
    house = sqlite_house
    house.only("f44-copr")
    house.farm.set_outcome("failed", log="Error: Failed to download metadata for repo 'fedora'\n")
    house.announce("v1.32.1")
    house.run_to("failed", seconds=60)
    house.settle(30)
    first, second = house.builds()
    assert first.cause.startswith("The package repositories of the build root")
    assert (second.state, second.strategy) == ("pending", "default")
    assert second.due_at is not None
    assert (second.due_at - second.created_at).total_seconds() == 1800
    assert f"Remedy of build {first.id}" in second.note
