"""Changes of a package's dist-git repository: where it lies, how a new version is merged, what is never pushed.

Also the pull request that proposes a change: its forge, its texts, and the reason of a build that waits for it.
Pure: texts in, texts and reasons out; workers/distgit does the work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from service.domain.errors import BadName
from service.domain.versions import compare_versions

SOURCES = "sources"
"""The file of dist-git that names the archives in the lookaside cache."""
TRAILER = "Cryopack-Change"
"""The trailer of our commits; its value is the change's key."""
FORK_BRANCH_PREFIX = "cryopack-"
WAITS_FOR_MERGE = "waits for the merge of"
"""How the reason of a build begins that waits for a person to merge its pull request."""
NOT_SEEN = "; it cannot be looked at now: "

_SOURCE_LINE = re.compile(
    r"(?:SHA512|MD5) \((?P<name>[^()\s]+)\) = [0-9a-f]{32,128}|[0-9a-f]{32}  (?P<old>\S+)"
)
_SPEC_TAG = re.compile(r"^(Epoch|Version|Release):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_DIST = re.compile(r"%\{\?dist\}$|%\{dist\}$|%dist$")


class Delivery(StrEnum):
    """How a change reaches the branch: by a pull request or by a direct push."""

    PULL_REQUEST = "pull-request"
    PUSH = "push"


class Decision(StrEnum):
    """What becomes of a newly generated package: nothing to do, taken as it is, merged, or in conflict."""

    NOTHING = "nothing to do"
    FAST_FORWARD = "fast-forward"
    MERGE = "merge"
    CONFLICT = "conflict"


class Resolution(StrEnum):
    """How a person settled a conflict. ``done``: it was edited in dist-git, whose text is taken as it is."""

    NONE = ""
    GENERATED = "generated"
    DIST_GIT = "dist-git"
    DONE = "done"


class ForgeKind(StrEnum):
    """The kinds of forges that there are adapters for."""

    PAGURE = "pagure"
    FORGEJO = "forgejo"


@dataclass(frozen=True)
class ForgePolicy:
    """The forge where pull requests are opened, and the addresses of our forks: ``{user}`` and ``{package}`` in each.

    ``fork`` is fetched from, ``fork_push`` is written to (empty: the same). The user is the one of the token.
    """

    kind: ForgeKind
    url: str
    fork: str
    fork_push: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ForgePolicy:
        """Read what ``dataclasses.asdict`` made; keys that are not known any more are left out."""
        known = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        return cls(**{**known, "kind": ForgeKind(known["kind"])})

    def fork_url(self, user: str, package: str) -> str:
        """Return the address to fetch the fork from."""
        return self.fork.format(user=user, package=package)

    def fork_push_url(self, user: str, package: str) -> str:
        """Return the address to push to the fork."""
        return (self.fork_push or self.fork).format(user=user, package=package)


@dataclass(frozen=True)
class DistGitPolicy:
    """The addresses of a target's dist-git, with ``{package}`` in each, and how changes are delivered.

    ``repository`` is fetched from and named to the build system, ``push`` is written to (empty: the same).
    ``direct_push`` names the packages that go without a pull request. ``lookaside`` takes uploads; empty where there
    is none, and knows a package under ``lookaside_namespace``. ``namespace`` is where the packages are at the forge.
    Without a ``forge`` nothing can be proposed.
    """

    repository: str
    push: str = ""
    direct_push: tuple[str, ...] = ()
    lookaside: str = ""
    lookaside_namespace: str = "rpms"
    namespace: str = "rpms"
    forge: ForgePolicy | None = None

    def delivery(self, package: str) -> Delivery:
        """Return how a change of ``package`` is delivered: by pull request, unless it is named for a direct push."""
        return Delivery.PUSH if package in self.direct_push else Delivery.PULL_REQUEST

    def repository_url(self, package: str) -> str:
        """Return the address to fetch from."""
        return self.repository.format(package=package)

    def push_url(self, package: str) -> str:
        """Return the address for direct pushes."""
        return (self.push or self.repository).format(package=package)

    def lookaside_name(self, package: str) -> str:
        """Return the package's name in the lookaside cache: since 2017 Fedora's has the namespace before it."""
        return f"{self.lookaside_namespace}/{package}" if self.lookaside_namespace else package

    def as_json(self) -> dict[str, Any]:
        """Return the form in which a build keeps it; ``from_json`` reads it."""
        return {**asdict(self), "direct_push": list(self.direct_push)}

    @classmethod
    def from_json(cls, value: object) -> DistGitPolicy | None:
        """Read what ``as_json`` made; None for anything else."""
        if not isinstance(value, Mapping) or "repository" not in value:
            return None
        known = {field.name for field in fields(cls)}
        values = {key: item for key, item in value.items() if key in known}
        forge = values.get("forge")
        if isinstance(forge, Mapping):
            values["forge"] = ForgePolicy.from_json(forge)
        return cls(**{**values, "direct_push": tuple(values.get("direct_push", ()))})


def holds_secret(address: str) -> bool:
    """Whether an address carries a password, or a token as its user name (any user name but SSH's)."""
    parts = urlsplit(address)
    return parts.password is not None or (parts.username is not None and parts.scheme != "ssh")


@dataclass(frozen=True)
class FilePiece:
    """One file for a three-way merge; None where it is absent.

    ``base`` is as we last generated it, ``now`` as dist-git has it, ``new`` as it is generated now.
    """

    name: str
    base: str | None
    now: str | None
    new: str | None


def settle(piece: FilePiece) -> tuple[bool, str | None]:
    """Merge a file as a whole: (True, its text), or (False, None) where a merge by lines is needed.

    A side that did not change yields to the one that did. A file that one side deleted and the other changed, or
    that both made anew, is settled by no rule.
    """
    if piece.now == piece.new or piece.base == piece.new:
        return True, piece.now
    if piece.base == piece.now:
        return True, piece.new
    return False, None


def decide(
    pieces: Iterable[FilePiece], merged: Mapping[str, str | None], conflicts: Sequence[str]
) -> Decision:
    """Return the decision about a whole change.

    ``merged`` maps the files' names to the texts that would be written (None: deleted). ``conflicts`` are the diffs
    that a person must settle.
    """
    if conflicts:
        return Decision.CONFLICT
    known = list(pieces)
    if all(merged[piece.name] == piece.now for piece in known):
        return Decision.NOTHING
    if all(merged[piece.name] == piece.new for piece in known):
        return Decision.FAST_FORWARD
    return Decision.MERGE


def source_names(text: str) -> tuple[str, ...]:
    """Return the file names in a ``sources`` file, in its order. Raises BadName for a line of another form."""
    names = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        match = _SOURCE_LINE.fullmatch(line)
        if match is None:
            raise BadName(f"dist-git's file sources has the line {line[:80]!r}, which names no source")
        names.append(match["name"] or match["old"])
    return tuple(names)


def source_line(name: str, sha512: str) -> str:
    """Return one line of ``sources`` with its newline, in the form with SHA512 that dist-git has today."""
    return f"SHA512 ({name}) = {sha512}\n"


def merge_sources(base: str | None, now: str | None, new: str) -> str:
    """Return ``sources`` with our lines of the last time (``base``) replaced by ``new``; a maintainer's lines stay.

    Raises BadName for a line of another form.
    """
    ours_before, ours_now = set(source_names(base or "")), set(source_names(new))
    kept = [
        line.strip()
        for line in (now or "").splitlines()
        if line.strip() and source_names(line)[0] not in ours_before | ours_now
    ]
    return "".join(f"{line}\n" for line in [*new.splitlines(), *kept])


def commit_message(*, tag: str, version: str, project: str, bugs: Sequence[int], key: str) -> str:
    """Return a commit's message: the upstream release, the bugs that it resolves, and the change's key."""
    resolved = "".join(f"\n- Resolves: rhbz#{bug}" for bug in bugs)
    return (
        f"Update to {version}\n\nUpstream release {tag} of {project}.{resolved and chr(10)}{resolved}"
        f"\n\n{TRAILER}: {key}\n"
    )


@dataclass(frozen=True)
class SpecEvr:
    """Epoch, version and release of a spec. ``release`` is None for %autorelease, which rises with every commit."""

    epoch: int
    version: str
    release: str | None

    def __str__(self) -> str:
        epoch = f"{self.epoch}:" if self.epoch else ""
        return f"{epoch}{self.version}-{self.release or '%autorelease'}"

    @classmethod
    def read(cls, text: str) -> SpecEvr:
        """Read the tags of a spec's preamble as they are written: macros stay, but ``%{?dist}`` is cut off."""
        tags: dict[str, str] = {}
        for name, value in _SPEC_TAG.findall(text.partition("\n%description")[0]):
            tags.setdefault(name, value)
        release = tags.get("Release", "")
        automatic = release.startswith(("%autorelease", "%{autorelease", "%{?autorelease"))
        epoch = tags.get("Epoch", "")
        return cls(
            int(epoch) if epoch.isdecimal() else 0,
            tags.get("Version", ""),
            None if automatic else _DIST.sub("", release),
        )


def push_refusal(now: SpecEvr | None, new: SpecEvr) -> str:
    """Return why ``new`` must not be pushed over ``now`` (it is not higher for RPM); empty text if it may.

    ``now`` is None where dist-git has no spec yet. With %autorelease in ``new`` a further commit of the same version
    is higher by itself.
    """
    if now is None:
        return ""
    verdict = (new.epoch > now.epoch) - (new.epoch < now.epoch) or compare_versions(new.version, now.version)
    if verdict < 0:
        return f"dist-git has {now}, which is higher than {new}: nothing is pushed"
    if verdict > 0 or new.release is None:
        return ""
    if now.release is None or compare_versions(new.release, now.release) <= 0:
        return (
            f"dist-git has {now} and the change would be {new}, which is not higher: raise the release there"
        )
    return ""


class PullState(StrEnum):
    """The state of a pull request at its forge."""

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


def fork_branch(key: str) -> str:
    """Return the name of the fork's branch for one change, by which the change is found again."""
    return f"{FORK_BRANCH_PREFIX}{key}"


def pull_title(*, package: str, version: str, branch: str) -> str:
    """Return the title of a pull request."""
    return f"Update {package} to {version} on {branch}"


def pull_text(
    *, project: str, tag: str, evr: str, build_url: str, decision: str, diffstat: str, branch: str, key: str
) -> str:
    """Return the text of a pull request in Markdown: what it is for, what it changes, and what a merge does."""
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
    """Return the reason of a build that waits for a person to merge ``pull``."""
    return f"{WAITS_FOR_MERGE} {pull}" + (f"; {note}" if note else "")


def with_trouble(reason: str, trouble: str) -> str:
    """Return a merge-waiting build's reason with ``trouble``: why the pull request cannot be looked at now.

    An empty ``trouble`` takes an earlier one out of the reason.
    """
    known = reason.partition(NOT_SEEN)[0]
    return f"{known}{NOT_SEEN}{trouble}" if trouble else known


@dataclass(frozen=True)
class ChecklistStep:
    """One step that a new package needs before it can be built from dist-git. ``done`` None: we cannot see it."""

    title: str
    done: bool | None
    what: str


def new_stream_checklist(
    package: str, branch: str, *, repository: bool, branch_there: bool, namespace: str = "rpms"
) -> tuple[ChecklistStep, ...]:
    """List the steps before ``package`` can be built on ``branch``, in order, with what is seen to be done.

    Source: Fedora's package review process and the exemption for versioned packages; a granted repository proves
    that the review, or its exemption, was accepted.
    """
    seen = True if repository else None
    return (
        ChecklistStep(
            "Review or exemption", seen, f"A review of {package}, or the exemption for versions of a package"
        ),
        ChecklistStep(
            "Repository requested",
            seen,
            f"fedpkg request-repo {package}, with the review's number or --exception",
        ),
        ChecklistStep("Repository granted", repository, f"{namespace}/{package} is there"),
        ChecklistStep(
            "Branch requested",
            True if branch_there else None,
            f"fedpkg request-branch --repo {package} {branch}",
        ),
        ChecklistStep("Branch granted", branch_there, f"{namespace}/{package} has the branch {branch}"),
    )
