"""Pull requests in our words: where a forge is, what one looks like, and what ours say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

PREFIX = "cryopack-"
WAITS_FOR_MERGE = "waits for the merge of"
NOT_SEEN = "; it cannot be looked at now: "


class ForgeKind(StrEnum):
    """The forges that can be talked to."""

    PAGURE = "pagure"
    FORGEJO = "forgejo"


class PullState(StrEnum):
    """Where a pull request stands at its forge."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True)
class PullRequest:
    """A pull request as its forge describes it.

    ``merge_commit`` is empty where it was not merged, or where the forge does not say (Pagure never does).
    ``closed_by`` is empty where nobody is named.
    """

    number: int
    url: str
    state: PullState
    merge_commit: str = ""
    closed_by: str = ""

    def __str__(self) -> str:
        return f"pull request #{self.number} ({self.url})"


@dataclass(frozen=True)
class ForgePolicy:
    """Where pull requests are opened, and where the fork of a package lies: ``{user}`` and ``{package}`` in each.

    ``fork`` is fetched from, ``fork_push`` is written to (empty: the same). The user is the one of the token.
    """

    kind: ForgeKind
    url: str
    fork: str
    fork_push: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ForgePolicy:
        """What ``dataclasses.asdict`` made of one."""
        known = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        return cls(**{**known, "kind": ForgeKind(known["kind"])})

    def fork_url(self, user: str, package: str) -> str:
        """The address to look at the fork."""
        return self.fork.format(user=user, package=package)

    def fork_push_url(self, user: str, package: str) -> str:
        """The address to push to the fork."""
        return (self.fork_push or self.fork).format(user=user, package=package)


def fork_branch(key: str) -> str:
    """The branch of the fork that one change has to itself: the change is found again by it."""
    return f"{PREFIX}{key}"


def pull_title(*, package: str, version: str, branch: str) -> str:
    """The title of a pull request."""
    return f"Update {package} to {version} on {branch}"


def pull_text(
    *, project: str, tag: str, evr: str, build_url: str, decision: str, diffstat: str, branch: str, key: str
) -> str:
    """The text of a pull request, as Markdown: what it is for, what it changes, and what a merge does."""
    return (
        f"Upstream released [{tag}](https://github.com/{project}/releases/tag/{tag}) of {project}. "
        f"This makes {evr}.\n\n"
        f"How it came about: {decision}, of what was generated for the last release, what is on {branch} now and what "
        f"is generated for this one. Edits that were made by hand are kept.\n\n"
        f"```\n{diffstat.rstrip()}\n```\n\n"
        f"After the merge, what is on {branch} then is built: {build_url}\n\n"
        f"Edit it here as you like; nothing is written over what somebody else has pushed to its branch. Closing it "
        f"ends the build. Change {key}.\n"
    )


def waits_for_merge(pull: PullRequest, note: str = "") -> str:
    """The reason of a build that waits for a person's merge."""
    return f"{WAITS_FOR_MERGE} {pull}" + (f"; {note}" if note else "")


def with_trouble(reason: str, trouble: str) -> str:
    """The reason of a build that waits for a merge, with why the merge would not be seen; without it where empty."""
    known = reason.partition(NOT_SEEN)[0]
    return f"{known}{NOT_SEEN}{trouble}" if trouble else known
