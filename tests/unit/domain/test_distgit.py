"""Changes of dist-git: what is merged, what is never pushed, what commits and pull requests say."""

from __future__ import annotations

import pytest

from service.domain.distgit import (
    Decision,
    Delivery,
    DistGitPolicy,
    FilePiece,
    ForgeKind,
    ForgePolicy,
    PullRequest,
    PullState,
    SpecEvr,
    commit_message,
    decide,
    fork_branch,
    merge_sources,
    new_stream_checklist,
    pull_text,
    pull_title,
    push_refusal,
    settle,
    source_line,
    waits_for_merge,
    with_trouble,
)
from service.domain.errors import BadName
from service.domain.reports import SubmissionKey

OLD, NEW, OTHER = (
    source_line(f"{name}.tar.gz", digit * 128) for name, digit in (("a-1", "1"), ("a-2", "2"), ("x", "3"))
)
PULL = PullRequest(7, "https://forge.example.org/rpms/cri-o1.35/pulls/7", PullState.OPEN)


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


def spec(version: str, release: str = "%autorelease", epoch: str = "") -> SpecEvr:
    head = f"Epoch: {epoch}\n" if epoch else ""
    return SpecEvr.read(
        f"{head}Name: x\nVersion:        {version}\nRelease:  {release}\n%description\nVersion: 9\n"
    )


@pytest.mark.parametrize(
    ("now", "new", "why"),
    [
        (None, spec("1.32.1"), ""),
        (spec("1.32.1"), spec("1.32.2"), ""),
        (spec("1.32.2"), spec("1.32.1"), "which is higher"),
        (spec("1.32.10"), spec("1.32.9"), "which is higher"),
        (spec("1.32.1", epoch="1"), spec("1.32.2"), "which is higher"),
        (spec("1.32.1"), spec("1.32.1"), ""),
        (spec("1.32.1", "3%{?dist}"), spec("1.32.1", "3%{?dist}"), "raise the release"),
        (spec("1.32.1", "3%{?dist}"), spec("1.32.1", "4%{?dist}"), ""),
        (spec("1.32.1"), spec("1.32.1", "1%{?dist}"), "raise the release"),
    ],
)
def test_only_a_higher_evr_is_pushed(now: SpecEvr | None, new: SpecEvr, why: str) -> None:
    refusal = push_refusal(now, new)
    assert (why in refusal) if why else refusal == ""


def test_an_evr_reads_as_people_write_it() -> None:
    assert str(spec("1.2", "3%{?dist}", "1")) == "1:1.2-3"
    assert str(spec("1.2")) == "1.2-%autorelease"


def test_a_branch_of_the_fork_is_as_unique_as_its_key() -> None:
    one, other = (fork_branch(str(SubmissionKey.fresh(3))) for _ in range(2))
    assert one != other and one.startswith("cryopack-b3x")


def test_the_reason_names_number_and_address() -> None:
    address = "https://forge.example.org/rpms/cri-o1.35/pulls/7"
    assert waits_for_merge(PULL) == f"waits for the merge of pull request #7 ({address})"
    noted = waits_for_merge(PULL, "it was edited")
    assert noted.endswith(f"({address}); it was edited")
    away = with_trouble(with_trouble(noted, "the forge is away"), "the token has expired")
    assert away == f"{noted}; it cannot be looked at now: the token has expired"
    assert with_trouble(away, "") == noted


def test_a_maintainer_learns_what_why_and_what_happens_next() -> None:
    text = pull_text(
        project="cri-o/cri-o", tag="v1.35.1", evr="1.35.1-%autorelease", branch="f44", key="b3xabc",
        build_url="https://pack.example.org/builds/3", decision="merge", diffstat=" x.spec | 2 +-\n",
    )  # fmt: skip
    assert (
        pull_title(package="cri-o1.35", version="1.35.1", branch="f44") == "Update cri-o1.35 to 1.35.1 on f44"
    )
    assert "[v1.35.1](https://github.com/cri-o/cri-o/releases/tag/v1.35.1)" in text
    assert "```\n x.spec | 2 +-\n```" in text
    assert "is built: https://pack.example.org/builds/3" in text and "Closing it ends the build" in text


def test_a_fork_without_an_address_of_its_own_for_pushes_is_pushed_to_where_it_is_fetched() -> None:
    where = ForgePolicy(
        ForgeKind.FORGEJO, "https://f.example.org", "https://f.example.org/{user}/{package}.git"
    )
    assert where.fork_push_url("bot", "p") == where.fork_url("bot", "p") == "https://f.example.org/bot/p.git"


def test_the_checklist_shows_what_is_seen() -> None:
    def marks(**there: bool) -> list[bool | None]:
        return [step.done for step in new_stream_checklist("cri-o1.38", "f45", **there)]

    assert marks(repository=False, branch_there=False) == [None, None, False, None, False]
    assert marks(repository=True, branch_there=False) == [True, True, True, None, False]
    assert marks(repository=True, branch_there=True) == [True] * 5
