"""Rows of side tags on both databases: one a set, one being made a hub, one turn at a time; lost leases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from service import board
from service.builds.claims import BuildWork, back_off, claim_build, end_build, find_due
from service.builds.commands import add_release
from service.catalog import Catalog
from service.domain.distgit import DistGitPolicy
from service.domain.errors import CommandRefused
from service.domain.reports import Fence
from service.domain.side_tags import Adoption, SideTagPolicy, TagSeen
from service.domain.states import BuildState, SideTagState
from service.sidetags.lifecycle import (
    SideTagWork,
    begin_making,
    claim_side_tag,
    give_up_side_tag,
    go_on_side_tag,
    hold_side_tag,
    postpone_side_tag,
    record_look,
    record_made,
    record_not_made,
    record_removed,
    taken_names,
)
from service.sidetags.turns import Turn, Waiting, join, record_turn, turn_of
from service.store.schema import PackageBuild, SideTag, SideTagMember
from service.store.session import Database, database_now
from tests.store.targets import dist_git_target

FENCE: Fence = {"session_id": 1, "user_id": 2, "known": []}
BASE, NAME = "f44-candidate", "f44-build-side-7"


@pytest.fixture
def sets(catalog: Catalog) -> Catalog:
    """The catalogue with one target that builds kubernetes and cri-o in side tags."""
    policy = SideTagPolicy("kubernetes", ("kubernetes", "cri-o"))
    target = dist_git_target(
        DistGitPolicy(repository="https://src.example/rpms/{package}"), policy.families,
        id="f44-sets", project="fedora", chroots=("fedora-44-x86_64",), side_tag=policy,
    )  # fmt: skip
    return replace(catalog, targets=(target,), side_tag_sets={policy.set_id: policy})


def begin(db: Database, catalog: Catalog, family: str, tag: str) -> BuildWork:
    """A claimed build that has joined its side tag."""
    (build_id,) = add_release(db, catalog, family, tag, by="ana").builds
    work = claim_build(db, build_id, lease_seconds=600, max_tries=6)
    assert work is not None and join(db, work, base_target=BASE)
    return work


def claim(db: Database, side_tag_id: int) -> SideTagWork:
    work = claim_side_tag(db, side_tag_id, lease_seconds=600)
    assert work is not None
    return work


def make(db: Database, side_tag_id: int) -> SideTagWork | None:
    return begin_making(db, claim(db, side_tag_id), FENCE, lease_seconds=600, retry_seconds=60)


def opened(db: Database, work: BuildWork, name: str = NAME) -> int:
    """The open side tag of a build that has its turn."""
    asked = turn_of(db, work, base_target=BASE)
    assert isinstance(asked, Waiting) and asked.side_tag_id
    creating = make(db, asked.side_tag_id)
    assert creating is not None
    assert record_made(db, creating, Adoption(name), adopted=False, look_seconds=0)
    return asked.side_tag_id


def state(db: Database, side_tag_id: int = 1) -> str:
    with db.reader() as session:
        return session.get_one(SideTag, side_tag_id).state


def test_a_set_has_one_row_and_its_builds_their_order(db: Database, sets: Catalog) -> None:
    crio, kube = begin(db, sets, "cri-o", "v1.35.1"), begin(db, sets, "kubernetes", "v1.35.0")
    assert find_due(db).side_tags == ()
    before = turn_of(db, crio, base_target=BASE)
    assert isinstance(before, Waiting) and before.reason.startswith(
        "its turn comes after kubernetes1.35 1.35.0"
    )
    # Nobody needs a tag yet; the first build that has its turn asks for it.
    assert find_due(db).side_tags == ()
    side_tag = opened(db, kube)
    assert find_due(db).side_tags == (side_tag,)
    turn = turn_of(db, kube, base_target=BASE)
    assert turn == Turn(side_tag, NAME, ())
    inside = record_turn(db, kube, turn)
    assert inside is not None and inside.target.side_tag is not None and inside.target.side_tag.name == NAME
    with pytest.raises(CommandRefused, match="is under way in side tag"):
        give_up_side_tag(db, side_tag, by="ana", why="x")
    assert end_build(db, inside, BuildState.FAILED, "no")
    waiting = turn_of(db, crio, base_target=BASE)
    assert isinstance(waiting, Waiting) and "which failed: no" in waiting.reason
    go_on_side_tag(db, side_tag, by="ana", why="x")
    assert turn_of(db, crio, base_target=BASE) == Turn(side_tag, NAME, ())
    with db.reader() as session:
        (row,) = board.list_side_tags(session).items
        assert [(one.family, one.state) for one in row.builds] == [
            ("kubernetes", "failed"),
            ("cri-o", "preparing"),
        ]
        assert board.side_tags_of(session, [crio.id]) == board.live_side_tags(session, branch="f44") == (row,)


def test_waiting_for_others_is_not_the_builds_time(db: Database, sets: Catalog) -> None:
    crio = begin(db, sets, "cri-o", "v1.35.1")
    begin(db, sets, "kubernetes", "v1.35.0")

    def deadline() -> object:
        with db.transaction() as session:
            return session.get_one(PackageBuild, crio.id).deadline_at

    with db.transaction() as session:
        session.get_one(PackageBuild, crio.id).deadline_at -= timedelta(days=3)
    early = deadline()
    turn_of(db, crio, base_target=BASE)
    assert deadline() > early  # type: ignore[operator]


def test_nor_is_what_passes_while_no_worker_comes(db: Database, sets: Catalog) -> None:
    crio = begin(db, sets, "cri-o", "v1.35.1")
    begin(db, sets, "kubernetes", "v1.35.0")
    turn_of(db, crio, base_target=BASE)
    assert back_off(db, crio, "its turn comes later", delay_seconds=0, spend_try=False)
    # As if the service had been away for two days since.
    with db.transaction() as session:
        build = session.get_one(PackageBuild, crio.id)
        build.deadline_at -= timedelta(days=2)
        build.due_at = database_now(session) - timedelta(days=2)
    again = claim_build(db, crio.id, lease_seconds=600, max_tries=6)
    assert again is not None and not again.past_deadline


def test_one_request_at_a_time_for_a_hub(db: Database, sets: Catalog) -> None:
    one, two = begin(db, sets, "cri-o", "v1.35.1"), begin(db, sets, "cri-o", "v1.34.1")
    for work in (one, two):
        asked = turn_of(db, work, base_target=BASE)
        assert isinstance(asked, Waiting)
    first = make(db, 1)
    assert first is not None and make(db, 2) is None
    assert (state(db, 1), state(db, 2)) == ("creating", "wanted")
    assert claim_side_tag(db, 2, lease_seconds=600) is None
    assert record_made(db, first, Adoption(NAME), adopted=False, look_seconds=600)
    assert taken_names(db, first) == {NAME}
    with db.transaction() as session:
        tag = session.get_one(SideTag, 2)
        tag.due_at = tag.created_at
    second = make(db, 2)
    assert second is not None
    # A name that another row has cannot be taken, whatever the search says.
    with pytest.raises(Exception, match=r"uq_side_tags_name|UNIQUE"):
        record_made(db, second, Adoption(NAME), adopted=True, look_seconds=600)
    assert record_not_made(db, second, "nothing was made") and state(db, 2) == "wanted"


def test_who_lost_the_lease_writes_nothing(db: Database, sets: Catalog) -> None:
    work = begin(db, sets, "cri-o", "v1.35.1")
    turn_of(db, work, base_target=BASE)
    creating = make(db, 1)
    assert creating is not None
    stale = replace(creating, token="stale")
    assert not record_made(db, stale, Adoption(NAME), adopted=False, look_seconds=0)
    assert not record_not_made(db, stale, "x") and not hold_side_tag(db, stale, "x")
    assert not postpone_side_tag(db, stale, "x", delay_seconds=0)
    assert record_made(db, creating, Adoption(NAME), adopted=False, look_seconds=0)
    looking = claim(db, 1)
    assert claim_side_tag(db, 1, lease_seconds=600) is None
    gone = TagSeen(False)
    assert not record_look(db, replace(looking, token="stale"), gone, look_seconds=0)
    assert not record_removed(db, replace(looking, token="stale"))
    assert state(db) == "open"
    turn = turn_of(db, work, base_target=BASE)
    assert isinstance(turn, Turn)
    record_look(db, looking, gone, look_seconds=0)
    # The tag went between the answer and the act: nobody is let in, and whoever comes next asks for a new one.
    assert state(db) == "wanted" and record_turn(db, work, turn) is None
    assert opened(db, work, "f44-build-side-8") == 1


def test_giving_up_waits_for_the_truth_about_a_request(db: Database, sets: Catalog) -> None:
    work = begin(db, sets, "cri-o", "v1.35.1")
    turn_of(db, work, base_target=BASE)
    creating = make(db, 1)
    assert creating is not None
    give_up_side_tag(db, 1, by="ana", why="too early")
    assert state(db) == "creating"
    with pytest.raises(CommandRefused, match="given up already"):
        give_up_side_tag(db, 1, by="ana", why="again")
    assert record_made(db, creating, Adoption(NAME), adopted=True, look_seconds=600)
    there = TagSeen(True, True, {"runc-1-1": "5"})
    for expected in ("given-up", "removing"):
        # It is not open for a moment, in which a build could be let in and then be removed with it.
        assert state(db) == expected
        waiting = turn_of(db, work, base_target=BASE)
        assert isinstance(waiting, Waiting) and "has been removed; then a new one is made" in waiting.reason
        if expected == "given-up":
            assert not record_look(db, claim(db, 1), there, look_seconds=600)
    last = claim(db, 1)
    assert record_look(db, last, there, look_seconds=600) and record_removed(db, last)
    asked = turn_of(db, work, base_target=BASE)
    assert isinstance(asked, Waiting) and asked.side_tag_id == 2
    with db.reader() as session:
        assert session.get_one(SideTagMember, work.id).side_tag_id == 2


def test_one_that_is_denied_after_it_was_given_up_waits_for_nobody(db: Database, sets: Catalog) -> None:
    turn_of(db, begin(db, sets, "cri-o", "v1.35.1"), base_target=BASE)
    creating = make(db, 1)
    assert creating is not None
    give_up_side_tag(db, 1, by="ana", why="too early")
    assert hold_side_tag(db, creating, "the hub denies it")
    assert not record_look(db, claim(db, 1), TagSeen(False), look_seconds=600)
    assert state(db) == SideTagState.REMOVED


@pytest.mark.parametrize("held", [False, True])
def test_one_that_was_never_made_is_given_up_at_once(db: Database, sets: Catalog, held: bool) -> None:
    work = begin(db, sets, "cri-o", "v1.35.1")
    turn_of(db, work, base_target=BASE)
    if held:
        assert hold_side_tag(db, claim(db, 1), "the hub denies it")
        waiting = turn_of(db, work, base_target=BASE)
        assert isinstance(waiting, Waiting) and "waits for a person: the hub denies it" in waiting.reason
    done = give_up_side_tag(db, 1, by="ana", why="not now")
    assert "cri-o1.35 1.35.1" in done.sentence and "will get a new one" in done.sentence
    assert not record_look(db, claim(db, 1), TagSeen(False), look_seconds=600)
    assert state(db) == SideTagState.REMOVED
