"""The pure merge of overrides over the catalogue's files."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from service.catalog import Catalog
from service.catalog.overrides import EDITABLE, Override, apply, effective, values_of
from service.domain.errors import BadCatalog
from service.domain.planning import plan
from service.domain.states import ReleaseState
from service.domain.versions import Stream, Version, parse_tag

TODAY = date(2026, 11, 25)


def targets_of(catalog: Catalog, tag: str) -> list[str]:
    decision = plan(
        parse_tag(tag), family=catalog.families["cri-o"], targets=catalog.targets, branches=catalog.branches,
        today=TODAY,
    )  # fmt: skip
    return [build.target.id for build in decision.builds]


def test_a_target_is_changed_key_by_key(catalog: Catalog) -> None:
    changes = {"strategy": "compat", "first_stream": "1.32", "deadline_hours": 6, "project": "me/other"}
    changed = apply(catalog, Override("target", "f44-copr", changes))
    old, new = catalog.target("f44-copr"), changed.target("f44-copr")
    assert old and new and (new.strategy, new.first_stream, new.deadline, new.project) == (
        "compat", Stream(1, 32), timedelta(hours=6), "me/other",
    )  # fmt: skip
    assert new.chroots == old.chroots and new.branch == old.branch
    assert [t.id for t in changed.targets] == [t.id for t in catalog.targets]
    assert changed.target("f43-copr") == catalog.target("f43-copr")
    opened = apply(changed, Override("target", "f44-copr", {"first_stream": None, "strategy": "default"}))
    assert opened.target("f44-copr").first_stream is None  # type: ignore[union-attr]
    assert set(values_of(changed, "target", "f44-copr")) == set(EDITABLE["target"])


def test_a_paused_target_an_ended_branch_and_an_ended_stream_get_nothing(catalog: Catalog) -> None:
    paused = apply(catalog, Override("target", "f44-copr", {"enabled": False}))
    assert targets_of(paused, "v1.35.0") == ["f43-copr", "f45-copr", "rawhide-copr"]
    ended = apply(catalog, Override("branch", "f43", {"eol": "2026-11-25"}))
    assert "f43-copr" not in targets_of(ended, "v1.35.0")
    assert "f43-copr" in targets_of(apply(ended, Override("branch", "f43", {"eol": None})), "v1.35.0")
    stream = apply(catalog, Override("stream", "cri-o/1.35", {"build": False, "eol": "2026-11-25"}))
    assert targets_of(stream, "v1.35.0") == [] and len(targets_of(stream, "v1.36.0")) == 4


def test_a_stream_newer_than_all_is_confirmed_without_a_hole_in_the_catalogue(catalog: Catalog) -> None:
    assert not catalog.families["cri-o"].policy(Stream(1, 99)).confirmed  # type: ignore[union-attr]
    changed = apply(catalog, Override("stream", "cri-o/1.99", {"confirmed": True, "build": True}))
    family = changed.families["cri-o"]
    policy = family.policy(Stream(1, 99))
    assert policy and policy.confirmed and policy.facts == family.streams[family.newest_known].facts
    assert family.newest_known == Stream(1, 37)
    assert not family.policy(Stream(1, 98)).confirmed  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "subject", "changes", "why"),
    [
        ("target", "f99-copr", {"enabled": True}, "no target f99-copr"),
        ("target", "f44-copr", {"strategy": "magic"}, "unknown strategy 'magic'"),
        ("target", "f44-copr", {"strategy": "no-wasm", "first_stream": "1.2"}, "works from stream 1.35"),
        ("target", "f44-copr", {"chroots": ["fedora-43-x86_64"]}, "not a chroot of branch f44"),
        ("target", "f44-copr", {"chroots": "fedora-44-x86_64"}, "must be a list"),
        ("target", "f44-copr", {"deadline_hours": 0}, "from 1 to 720"),
        ("target", "f44-copr", {"deadline_hours": True}, "whole number"),
        ("target", "f44-copr", {"first_stream": "new"}, "not a stream"),
        ("target", "f44-copr", {"project": "a b"}, "one word"),
        ("target", "f44-copr", {"branch": "f45"}, "unknown key"),
        ("target", "f44-copr", {"enabled": "no"}, "true or false"),
        ("branch", "f99", {"eol": None}, "no branch f99"),
        ("branch", "f44", {"eol": "soon"}, "must be a day"),
        ("stream", "cri-o/0.9", {"build": True}, "no stream 0.9"),
        ("stream", "none/1.35", {"build": True}, "no family none"),
        ("stream", "cri-o/new", {"build": True}, "not a stream"),
        ("family", "cri-o", {}, "no override of a family"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    catalog: Catalog, kind: str, subject: str, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadCatalog, match=why):
        apply(catalog, Override(kind, subject, changes))


def test_an_override_that_fits_no_more_is_left_out_and_named(catalog: Catalog) -> None:
    gone = Override("target", "f99-copr", {"enabled": False})
    good = Override("target", "f44-copr", {"enabled": False})
    found = effective(catalog, [gone, good])
    assert not found.catalog.target("f44-copr").enabled  # type: ignore[union-attr]
    assert list(found.refused) == [("target", "f99-copr")]
    assert effective(catalog, []).catalog is catalog


def test_a_prerelease_is_planned_where_it_is_asked_for(catalog: Catalog) -> None:
    family = catalog.families["cri-o"]
    version = Version(1, 36, 0, "rc.1")
    for willing, state in (
        (family, ReleaseState.UNSUPPORTED),
        (family.with_prereleases(), ReleaseState.PLANNED),
    ):
        decision = plan(
            version, family=willing, targets=catalog.targets, branches=catalog.branches, today=TODAY
        )
        assert decision.state is state
