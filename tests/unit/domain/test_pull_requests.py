"""What a pull request says, and the name under which it is found again."""

from __future__ import annotations

from service.domain.distgit import (
    ForgeKind,
    ForgePolicy,
    PullRequest,
    PullState,
    fork_branch,
    pull_text,
    pull_title,
    waits_for_merge,
    with_trouble,
)
from service.domain.reports import SubmissionKey

PULL = PullRequest(7, "https://forge.example.org/rpms/cri-o1.35/pulls/7", PullState.OPEN)


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
