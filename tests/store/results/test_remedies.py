"""Causes and remedies in the database, on both kinds: once, linked, never in a loop, never where nobody wants it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from service import board
from service.catalog import Catalog
from service.domain.diagnosis import RemedyPolicy, diagnose
from service.domain.errors import CommandRefused, NotFound
from service.domain.states import BuildState
from service.domain.versions import Version
from service.releases.planning import withdraw
from service.results.diagnoses import name_cluster, write_diagnosis
from service.results.remedies import let_waiting_go_on, settle_remedy
from service.store.schema import AppliedRemedy, AuditEntry, Diagnosis, PackageBuild
from service.store.session import Database, database_now
from service.store.transitions import move_build
from tests.store.deliveries import builds, deliver, payload
from workers.packaging import offline

R1 = "x: undefined reference to `github.com/tetratelabs/wazero/internal/engine/wazevo.entrypoint'"
MIRROR = "Error: Failed to download metadata for repo 'fedora'"
GO = "go: go.mod requires go >= 1.26.3 (running go 1.25.5; GOTOOLCHAIN=local)"
LICENSE = "Failed to verify license. Expected ^"
ODD = "frobnicate: error: the gizmo is odd"

Fail = Callable[..., PackageBuild]


def with_target(catalog: Catalog, **changes: object) -> Catalog:
    """The catalogue with one target only, changed."""
    first = next(target for target in catalog.targets if target.id == "f44-copr")
    return replace(catalog, targets=(replace(first, **changes),))  # type: ignore[arg-type]


@pytest.fixture
def none_catalog(catalog: Catalog) -> Catalog:
    return with_target(catalog, strategy="none", remedy=RemedyPolicy.AUTO)


def fail(
    db: Database, catalog: Catalog, build_id: int, lines: Iterable[str], chroot: str = "fedora-44-x86_64"
) -> None:
    """As if the build had run and failed, and its log said so."""
    with db.transaction() as session:
        build = session.get_one(PackageBuild, build_id, with_for_update=True)
        now = database_now(session)
        if build.state != BuildState.FAILED:
            for state in (BuildState.PREPARING, BuildState.SUBMITTING, BuildState.FAILED):
                move_build(session, build, state, at=now, reason="failed in 1 of 1 chroots", due_at=now)
        verdict = diagnose(list(lines), catalog.causes)
        write_diagnosis(
            session, build, now, chroot=chroot, log="builder", verdict=verdict, causes=catalog.causes
        )


def settle(db: Database, catalog: Catalog, build_id: int) -> str:
    with db.transaction() as session:
        build = session.get_one(PackageBuild, build_id)
        return settle_remedy(session, catalog, build, at=database_now(session))


def failed(db: Database, catalog: Catalog, *lines: str) -> PackageBuild:
    deliver(db, catalog, payload("v1.32.1"))
    (build,) = builds(db, "1.32.1")
    fail(db, catalog, build.id, lines)
    return build


def remedies(db: Database) -> list[AppliedRemedy]:
    with db.reader() as session:
        rows = list(session.scalars(select(AppliedRemedy).order_by(AppliedRemedy.id)))
        session.expunge_all()
        return rows


def test_another_strategy_is_tried_once_as_a_linked_attempt(db: Database, none_catalog: Catalog) -> None:
    build = failed(db, none_catalog, R1)
    told = settle(db, none_catalog, build.id)
    first, second = builds(db, "1.32.1")
    assert told == f"build {second.id} is the remedy: build with strategy default"
    assert (second.attempt, second.strategy, second.state, second.requested_by) == (
        2,
        "default",
        "pending",
        None,
    )
    assert first.strategy == "none"
    assert (
        f"Remedy of build {first.id}: build with strategy default, because wazero's assembly" in second.note
    )
    (link,) = remedies(db)
    assert (link.failed_id, link.attempt_id, link.rule) == (first.id, second.id, "wazero-undefined")
    with db.reader() as session:
        assert board.remedies_of(session, first.id)[0] == board.remedies_of(session, second.id)[1]


def test_eight_workers_apply_it_once(db: Database, none_catalog: Catalog) -> None:
    build = failed(db, none_catalog, R1)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: settle(db, none_catalog, build.id), range(8)))
    assert len(builds(db, "1.32.1")) == 2
    assert len(remedies(db)) == 1
    assert sum("is the remedy" in line for line in told) == 1


def test_the_database_refuses_a_second_link(db: Database, none_catalog: Catalog) -> None:
    build = failed(db, none_catalog, R1)
    settle(db, none_catalog, build.id)
    (link,) = remedies(db)
    for attempt_id in (None, link.attempt_id):
        with pytest.raises(IntegrityError), db.transaction() as session:
            session.add(
                AppliedRemedy(
                    failed_id=link.failed_id, attempt_id=attempt_id, rule="x", kind="later",
                    policy="auto" if attempt_id else "suggest", reason="again", at=link.at,
                )
            )  # fmt: skip


def test_a_remedy_that_fails_gets_no_remedy(db: Database, none_catalog: Catalog) -> None:
    build = failed(db, none_catalog, R1)
    settle(db, none_catalog, build.id)
    second = builds(db, "1.32.1")[1]
    fail(db, none_catalog, second.id, [MIRROR])
    assert "was a remedy itself" in settle(db, none_catalog, second.id)
    assert len(builds(db, "1.32.1")) == 2


def test_the_same_again_later(db: Database, none_catalog: Catalog) -> None:
    build = failed(db, none_catalog, MIRROR)
    before = builds(db, "1.32.1")[0]
    settle(db, none_catalog, build.id)
    second = builds(db, "1.32.1")[1]
    assert second.strategy == "none"
    assert second.due_at is not None
    assert second.due_at - second.created_at == timedelta(minutes=30)
    assert second.deadline_at - second.created_at == before.deadline_at - before.created_at + timedelta(
        minutes=30
    )


def test_a_branch_whose_go_is_too_old_waits_for_a_person(db: Database, none_catalog: Catalog) -> None:
    build = failed(db, none_catalog, GO)
    settle(db, none_catalog, build.id)
    second = builds(db, "1.32.1")[1]
    assert (second.state, second.due_at) == ("held", None)
    assert "Go 1.25.5 is older than the 1.26.3" in second.reason
    assert f"cryopack build resume {second.id}" in second.reason


def test_what_waits_for_go_goes_on_by_itself_once(db: Database, none_catalog: Catalog) -> None:
    build = failed(db, none_catalog, GO)
    with db.transaction() as session:
        row = session.get_one(PackageBuild, build.id)
        row.release.facts = {**row.release.facts, "go": "1.26.3"}
    settle(db, none_catalog, build.id)
    second = builds(db, "1.32.1")[1]
    assert second.reason.endswith(
        f"It goes on by itself when a root log of f44 shows Go 1.26.3; sooner by cryopack build resume {second.id}"
    )

    def show(go: str, branch: str = "f44") -> tuple[int, ...]:
        with db.transaction() as session:
            other = session.get_one(PackageBuild, build.id)
            session.expunge(other)
            other.branch = branch
            return let_waiting_go_on(session, other, {"golang": go}, at=database_now(session))

    assert show("1.26.2-1.fc44") == show("1.27.0-1.fc45", "f45") == show("1.26~rc1-1.fc44") == show("") == ()
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: show("1.26.3-1.fc44"), range(4)))
    assert sorted(told) == [(), (), (), (second.id,)]
    again = builds(db, "1.32.1")[1]
    assert (again.state, again.due_at is not None) == ("pending", True)
    assert again.reason == f"the root log of build {build.id} shows that f44 has Go 1.26.3 or newer"
    with db.transaction() as session:
        held = session.get_one(PackageBuild, second.id)
        move_build(session, held, BuildState.HELD, at=database_now(session), reason="the license changed")
    assert show("1.26.3-1.fc44") == (), "a person decides about whatever comes then"


def test_a_suggestion_is_kept_and_shown_and_nothing_is_built(db: Database, catalog: Catalog) -> None:
    own = with_target(catalog, strategy="none", remedy=RemedyPolicy.SUGGEST)
    build = failed(db, own, R1)
    assert settle(db, own, build.id).startswith("suggested: build with strategy default")
    assert "decided before" in settle(db, own, build.id)
    assert len(builds(db, "1.32.1")) == 1
    with db.reader() as session:
        remedy, _ = board.remedies_of(session, build.id)
    assert remedy is not None
    assert (remedy.attempt_id, remedy.strategy) == (None, "default")


@pytest.mark.parametrize(
    ("lines", "changes", "why"),
    [
        ([R1], {"strategy": "none", "remedy": RemedyPolicy.OFF}, "allows none"),
        ([R1], {"strategy": "default", "remedy": RemedyPolicy.AUTO}, "with strategy default already"),
        ([LICENSE], {"strategy": "none", "remedy": RemedyPolicy.AUTO}, "no remedy is known"),
        (["--- FAIL: TestX (0s)"], {"strategy": "none", "remedy": RemedyPolicy.AUTO}, "no remedy is known"),
        ([ODD], {"strategy": "none", "remedy": RemedyPolicy.AUTO}, "no remedy is known"),
    ],
)
def test_no_remedy(
    db: Database, catalog: Catalog, lines: list[str], changes: dict[str, object], why: str
) -> None:
    own = with_target(catalog, **changes)
    build = failed(db, own, *lines)
    assert why in settle(db, own, build.id)
    assert len(builds(db, "1.32.1")) == 1
    assert remedies(db) == []


def test_chroots_that_failed_for_different_causes_get_no_remedy(db: Database, none_catalog: Catalog) -> None:
    build = failed(db, none_catalog, R1)
    fail(db, none_catalog, build.id, [MIRROR], chroot="fedora-44-aarch64")
    assert "do not ask for the same" in settle(db, none_catalog, build.id)
    assert builds(db, "1.32.1")[0].cause.startswith("wazero's assembly")


def test_a_branch_at_its_end_gets_no_remedy(db: Database, none_catalog: Catalog) -> None:
    build = failed(db, none_catalog, R1)
    ended = replace(none_catalog.branches["f44"], eol=date(2020, 1, 1))
    own = replace(none_catalog, branches={**none_catalog.branches, "f44": ended})
    assert "end of life" in settle(db, own, build.id)


def test_a_superseded_or_withdrawn_release_gets_no_remedy(db: Database, none_catalog: Catalog) -> None:
    build = failed(db, none_catalog, R1)
    deliver(db, none_catalog, payload("v1.32.2"))
    assert settle(db, none_catalog, build.id) == "no remedy: v1.32.2 is newer"
    family = none_catalog.families["cri-o"]
    with db.transaction() as session:
        for version in ("1.32.1", "1.32.2"):
            withdraw(session, family, Version.parse(version), at=database_now(session), reason="deleted")
    assert settle(db, none_catalog, build.id) == "no remedy: v1.32.1 is withdrawn"


def test_no_remedy_in_the_catalogue_touches_checks_or_licenses(catalog: Catalog) -> None:
    kinds = {cause.remedy.kind for cause in catalog.causes if cause.remedy}
    assert kinds == {"strategy", "later", "wait"}
    untouched = {cause.id for cause in catalog.causes if cause.remedy is None}
    assert {"license-check", "test-failure", "unsound-binary-refused", "network-in-build"} <= untouched
    strategies = {cause.remedy.strategy for cause in catalog.causes if cause.remedy and cause.remedy.strategy}
    assert all(catalog.strategies[name].guards for name in strategies)


@pytest.mark.parametrize("tag", ["v1.31.5", "v1.32.1", "v1.36.3"])
def test_a_remedys_spec_checks_what_the_failed_one_checked_under_the_same_license(
    catalog: Catalog, tag: str
) -> None:
    """Whatever strategy has failed, and whichever remedy follows: %check stays as it was, but for guards that come."""
    remedies = {c.remedy.strategy for c in catalog.causes if c.remedy and c.remedy.strategy}
    assert remedies
    free = replace(
        catalog, strategies={k: replace(v, without=frozenset()) for k, v in catalog.strategies.items()}
    )
    for failed_with in ("none", "compat"):
        before = offline.render(free, tag, strategy=failed_with).spec.text
        for strategy in remedies:
            after = offline.render(free, tag, strategy=strategy).spec.text
            assert "%bcond check 1" in before and "%bcond check 1" in after
            assert license_of(before) == license_of(after) != ""
            assert set(check_of(before)) <= set(check_of(after)), (failed_with, strategy)
            assert any(line.startswith("%gocheck") for line in check_of(after))


def check_of(spec: str) -> list[str]:
    """The lines of %check."""
    body = spec.partition("\n%check\n")[2]
    return [
        line.strip() for line in re.split(r"\n%(?:files|changelog)\b", body)[0].splitlines() if line.strip()
    ]


def license_of(spec: str) -> str:
    return next(line for line in spec.splitlines() if line.startswith("License:"))


def test_one_unknown_cause_on_several_branches_is_named_once(db: Database, catalog: Catalog) -> None:
    deliver(db, catalog, payload("v1.32.1"))
    rows = builds(db, "1.32.1")
    for number, build in enumerate(rows):
        fail(db, catalog, build.id, [f"/builddir/cri-o-1.32.{number}/x.c:{number}: frob: {ODD}"])
    with db.reader() as session:
        (cluster,) = board.list_causes(session, catalog).clusters
    assert cluster.counts.builds == len(rows) == len(cluster.branches)
    with pytest.raises(CommandRefused, match="cause must be one line"):
        name_cluster(db, cluster.fingerprint, cause="a\nb", why="seen", by="ann")
    with pytest.raises(NotFound, match="no cluster"):
        name_cluster(db, "0" * 16, cause="x", why="seen", by="ann")
    named = name_cluster(
        db, cluster.fingerprint, cause="The gizmo is odd", why="read its source", by="ann", advice="Oil it."
    )
    assert named.diagnoses == len(rows)
    assert {build.cause for build in builds(db, "1.32.1")} == {"The gizmo is odd"}
    deliver(db, catalog, payload("v1.32.2"))
    later = builds(db, "1.32.2")[0]
    fail(db, catalog, later.id, [f"/elsewhere/cri-o-1.32.9/x.c:77: frob: {ODD}"])
    assert builds(db, "1.32.2")[0].cause == "The gizmo is odd"
    with db.reader() as session:
        causes = board.list_causes(session, catalog)
        assert causes.clusters == ()
        (rule,) = causes.named
        assert (rule.named_by, rule.why, rule.counts.builds) == ("ann", "read its source", len(rows) + 1)
        (shown,) = board.diagnoses_of(session, catalog, later.id)
        assert (shown.rule, shown.advice, shown.fault) == (named.rule, "Oil it.", "package")
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "cause.name")).one()
        assert (entry.actor, entry.subject) == ("ann", f"cluster {cluster.fingerprint}")
    again = name_cluster(db, cluster.fingerprint, cause="The gizmo is even", why="looked again", by="bob")
    assert (again.rule, again.diagnoses) == (named.rule, len(rows) + 1)
    assert builds(db, "1.32.2")[0].cause == "The gizmo is even"


def test_what_is_read_again_is_written_once(db: Database, none_catalog: Catalog) -> None:
    build = failed(db, none_catalog, ODD)
    fail(db, none_catalog, build.id, ["before", R1, "after"])
    with db.reader() as session:
        assert [row.rule for row in session.scalars(select(Diagnosis))] == ["wazero-undefined"]
        (shown,) = board.diagnoses_of(session, none_catalog, build.id)
    assert [(line.number, line.decisive) for line in shown.excerpt] == [(1, False), (2, True), (3, False)]
    assert (shown.fault, shown.retry) == ("package", "no")
    assert shown.reference.startswith("https://")
