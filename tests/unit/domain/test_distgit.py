"""The rules of dist-git, without git."""

from __future__ import annotations

import pytest

from service.domain.distgit import (
    Decision,
    Delivery,
    DistGitPolicy,
    FilePiece,
    commit_message,
    decide,
    merge_sources,
    new_stream_checklist,
    settle,
    source_line,
)
from service.domain.errors import BadName

OLD, NEW, OTHER = (
    source_line(f"{name}.tar.gz", digit * 128) for name, digit in (("a-1", "1"), ("a-2", "2"), ("x", "3"))
)


@pytest.mark.parametrize(
    ("base", "now", "new", "settled"),
    [
        (None, None, "n", (True, "n")),
        ("b", "b", "n", (True, "n")),
        ("b", "m", "b", (True, "m")),
        ("b", "n", "n", (True, "n")),
        ("b", None, "b", (True, None)),
        ("b", "b", None, (True, None)),
        ("b", "m", "n", (False, None)),
        (None, "m", "n", (False, None)),
        ("b", None, "n", (False, None)),
        ("b", "m", None, (False, None)),
    ],
)
def test_a_side_that_did_not_change_yields(
    base: str | None, now: str | None, new: str | None, settled: tuple[bool, str | None]
) -> None:
    assert settle(FilePiece("f", base, now, new)) == settled


@pytest.mark.parametrize(
    ("now", "new", "merged", "conflicts", "decision"),
    [
        ("n", "n", "n", [], Decision.NOTHING),
        ("b", "n", "n", [], Decision.FAST_FORWARD),
        ("m", "n", "mn", [], Decision.MERGE),
        ("m", "n", "m", [], Decision.NOTHING),
        ("m", "n", "?", ["f"], Decision.CONFLICT),
    ],
)
def test_decisions(now: str, new: str, merged: str, conflicts: list[str], decision: Decision) -> None:
    assert decide([FilePiece("f", "b", now, new)], {"f": merged}, conflicts) is decision


def test_sources_replace_our_own_line_and_keep_a_maintainers() -> None:
    assert merge_sources(OLD, OLD + OTHER, NEW) == NEW + OTHER
    assert merge_sources(None, None, NEW) == NEW
    assert merge_sources(OLD, NEW, NEW) == NEW
    old_style = f"{'a' * 32}  patch.tar.gz\n"
    assert merge_sources(OLD, OLD + old_style, NEW) == NEW + old_style


def test_a_sources_line_that_is_none_is_named() -> None:
    with pytest.raises(BadName, match="has the line '<<<<<<<"):
        merge_sources(OLD, "<<<<<<< HEAD\n", NEW)


def test_the_message_names_release_bugs_and_key() -> None:
    plain = commit_message(tag="v1.32.2", version="1.32.2", project="cri-o/cri-o", bugs=[], key="b1xab")
    assert plain == "Update to 1.32.2\n\nUpstream release v1.32.2 of cri-o/cri-o.\n\nCryopack-Change: b1xab\n"
    told = commit_message(tag="v1", version="1", project="p", bugs=[2404830, 7], key="k")
    assert "\n\n- Resolves: rhbz#2404830\n- Resolves: rhbz#7\n\nCryopack-Change: k\n" in told


def test_a_push_is_opted_in_for_each_package() -> None:
    policy = DistGitPolicy("https://src.example/rpms/{package}", direct_push=("cri-o1.35",))
    assert policy.delivery("cri-o1.35") is Delivery.PUSH
    assert policy.delivery("cri-o1.36") is Delivery.PULL_REQUEST
    assert policy.push_url("a") == "https://src.example/rpms/a"
    assert DistGitPolicy.from_json(policy.as_json()) == policy
    assert DistGitPolicy.from_json(None) is None


def test_the_checklist_shows_what_is_seen() -> None:
    def marks(**there: bool) -> list[bool | None]:
        return [step.done for step in new_stream_checklist("cri-o1.38", "f45", **there)]

    assert marks(repository=False, branch_there=False) == [None, None, False, None, False]
    assert marks(repository=True, branch_there=False) == [True, True, True, None, False]
    assert marks(repository=True, branch_there=True) == [True] * 5
