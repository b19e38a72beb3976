"""Fetch, read, commit and push dist-git repositories by running git without prompts, hooks or foreign configuration.

A repository is kept bare and its files are read and written as objects, so that nothing in it (attributes, filters,
hooks, submodules, links) is ever acted upon.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from service.domain.distgit import TRAILER

SECONDS = 300.0
LARGEST_TEXT = 4 * 1024 * 1024
MIRRORED = "refs/heads/*:refs/remotes/origin/*"

_SAFE = (
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.auto=0", "commit.gpgSign=false",
    "fetch.recurseSubmodules=false", "transfer.fsckObjects=true", "http.lowSpeedLimit=1000", "http.lowSpeedTime=30",
)  # fmt: skip
_GONE = ("does not appear to be a git repository", "not found", "does not exist", "no such repository")
_MOVED = ("[rejected]", "non-fast-forward", "fetch first", "cannot lock ref", "stale info")


class GitTrouble(Exception):
    """git failed, or the remote refused; ``str(error)`` is one line."""


class RepositoryMissing(GitTrouble):
    """The remote answers that there is no such repository."""


class BranchMoved(GitTrouble):
    """The push was rejected because somebody else pushed meanwhile: fetch and merge again."""


@dataclass(frozen=True)
class Author:
    """Author and committer of our commits."""

    name: str
    email: str


@dataclass(frozen=True)
class Credential:
    """User and token to push over HTTP. git gets them in its environment, so that no list of processes shows them."""

    user: str
    token: str = field(repr=False)

    def environment(self, url: str) -> dict[str, str]:
        """Return the environment by which git uses it for this address only; empty for SSH and files."""
        if not url.startswith(("https://", "http://")):
            return {}
        basic = base64.b64encode(f"{self.user}:{self.token}".encode()).decode()
        return {
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": f"http.{url}.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
            "GIT_CONFIG_KEY_1": "http.followRedirects",
            "GIT_CONFIG_VALUE_1": "false",
        }


class Repository:
    """A bare copy of one remote repository. The caller makes sure that one process at a time uses it."""

    def __init__(self, folder: Path, url: str, *, seconds: float = SECONDS) -> None:
        self._folder = folder
        self._url = url
        self._seconds = seconds

    @property
    def url(self) -> str:
        """Return the address that it is fetched from."""
        return self._url

    def fetch(self) -> None:
        """Fetch every branch, into a new copy where the old one is broken. Raises RepositoryMissing, GitTrouble.

        A git that was killed leaves locks and half-written files, which no later git repairs.
        """
        try:
            self._fetch()
        except RepositoryMissing:
            raise
        except GitTrouble as error:
            if not isinstance(error, BranchMoved) and not self._is_broken():
                raise
            shutil.rmtree(self._folder)
            self._fetch()

    def _fetch(self) -> None:
        if not (self._folder / "HEAD").is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            _git(["init", "--quiet", "--bare", "--template=", str(self._folder)], seconds=self._seconds)
        self._run("fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", self._url, MIRRORED)

    def _is_broken(self) -> bool:
        if any(self._folder.rglob("*.lock")):
            return True
        check = ["--git-dir", str(self._folder), "fsck", "--connectivity-only", "--no-dangling"]
        return _call(check, seconds=self._seconds)[0] != 0

    def head(self, branch: str) -> str:
        """Return the commit of a branch at the last fetch, empty where there is none."""
        told = self._run("for-each-ref", "--format=%(objectname)", f"refs/remotes/origin/{branch}")
        return told.strip()

    def commit_of(self, commit: str, key: str) -> str:
        """Return the newest commit up to ``commit`` that carries the change's key, empty where none does."""
        wanted = f"^{TRAILER}: {key}$"
        return self._run(
            "log", "-1", "--format=%H", f"--grep={wanted}", "--extended-regexp", commit, "--"
        ).strip()

    def newest_key(self, commit: str) -> str:
        """Return the key of the newest of our changes up to ``commit``, empty where there is none."""
        told = self._run(
            "log", "-1", "--format=%B", f"--grep=^{TRAILER}: [a-z0-9]+$", "--extended-regexp", commit, "--"
        )
        found = re.findall(rf"^{TRAILER}: ([a-z0-9]+)$", told, re.MULTILINE)
        return found[-1] if found else ""

    def contains(self, head: str, commit: str) -> bool:
        """Return whether ``commit`` is ``head`` or an ancestor of it."""
        return self.knows(commit) and not self._run("rev-list", "-1", commit, f"^{head}", "--").strip()

    def knows(self, commit: str) -> bool:
        """Return whether a commit is in this copy."""
        return " commit " in self._run("cat-file", "--batch-check", given=f"{commit}\n")

    def diffstat(self, before: str, after: str) -> str:
        """Return what changed between two commits, one line a file."""
        return self._run("diff", "--stat=100", before, after, "--").rstrip()

    def read(self, commit: str, name: str) -> str | None:
        """Return a file's text, None where it is not there. Raises GitTrouble for a link or a file too large."""
        listed = self._run("ls-tree", "-l", "-z", commit, "--", name).rstrip("\0")
        if not listed:
            return None
        mode, kind, blob, size = listed.partition("\t")[0].split()
        if kind != "blob" or mode == "120000" or int(size) > LARGEST_TEXT:
            raise GitTrouble(f"dist-git's {name} is not a plain file of at most {LARGEST_TEXT} bytes")
        return self._run("cat-file", "blob", blob)

    def write_commit(
        self, parent: str, files: Mapping[str, str | None], message: str, author: Author, at: datetime
    ) -> str:
        """Make a commit on ``parent`` with some files replaced; None removes one. The same input gives the same id."""
        with tempfile.TemporaryDirectory(prefix="cryopack-git-") as home:
            environment = {"GIT_INDEX_FILE": str(Path(home) / "index")}
            self._run("read-tree", parent, environment=environment)
            for name, text in files.items():
                if text is None:
                    self._run("update-index", "--force-remove", "--", name, environment=environment)
                    continue
                blob = self._run("hash-object", "-w", "--stdin", given=text).strip()
                mode = f"100644,{blob},{name}"
                self._run("update-index", "--add", "--cacheinfo", mode, environment=environment)
            tree = self._run("write-tree", environment=environment).strip()
        when = f"{int(at.timestamp())} +0000"
        who = {
            "GIT_AUTHOR_NAME": author.name, "GIT_AUTHOR_EMAIL": author.email, "GIT_AUTHOR_DATE": when,
            "GIT_COMMITTER_NAME": author.name, "GIT_COMMITTER_EMAIL": author.email, "GIT_COMMITTER_DATE": when,
        }  # fmt: skip
        return self._run("commit-tree", tree, "-p", parent, given=message, environment=who).strip()

    def push(self, url: str, commit: str, branch: str) -> None:
        """Push one commit to one branch, never by force. Raises BranchMoved, RepositoryMissing, GitTrouble."""
        self._run("push", "--quiet", "--no-verify", url, f"{commit}:refs/heads/{branch}")

    def replace(self, url: str, commit: str, branch: str, *, expected: str, credential: Credential) -> None:
        """Force one of our branches to a commit if it still is at ``expected`` (empty: does not exist).

        Raises BranchMoved, RepositoryMissing, GitTrouble.
        """
        lease = f"--force-with-lease=refs/heads/{branch}:{expected}"
        self._run(
            "push", "--quiet", "--no-verify", lease, url, f"{commit}:refs/heads/{branch}",
            environment=credential.environment(url),
        )  # fmt: skip

    def _run(self, *arguments: str, given: str = "", environment: Mapping[str, str] | None = None) -> str:
        words = ["--git-dir", str(self._folder), *arguments]
        return _git(words, seconds=self._seconds, given=given, environment=environment)


def remote_branches(
    url: str, *, credential: Credential | None = None, seconds: float = 30.0
) -> Mapping[str, str]:
    """Return the branches of a remote repository and their commits. Raises RepositoryMissing, GitTrouble."""
    environment = credential.environment(url) if credential else {}
    told = _git(["ls-remote", "--heads", url], seconds=seconds, environment=environment)
    lines = (line.partition("\trefs/heads/") for line in told.splitlines())
    return {branch: commit for commit, _, branch in lines}


def merge_lines(base: str, now: str, new: str, *, favour: str = "") -> tuple[str, bool]:
    """Merge three texts line by line. Returned are the text, with marks where it conflicts, and whether it does.

    ``favour`` resolves the conflicting lines: ``ours`` takes those of ``now``, ``theirs`` those of ``new``.
    """
    with tempfile.TemporaryDirectory(prefix="cryopack-merge-") as home:
        names = {"dist-git": now, "generated before": base, "generated now": new}
        labels: list[str] = []
        for number, (label, text) in enumerate(names.items()):
            (Path(home) / str(number)).write_bytes(text.encode(errors="surrogateescape"))
            labels += ["-L", label]
        how = [f"--{favour}"] if favour else ["--diff3"]
        words = ["merge-file", "-p", *how, *labels, *(str(Path(home) / str(number)) for number in range(3))]
        status, merged, complaint = _call(words, seconds=60.0)
    if status < 0 or status > 127:
        raise GitTrouble(f"git merge-file: {_first(complaint)}")
    return merged, status > 0


def _git(
    arguments: Sequence[str],
    *,
    seconds: float,
    given: str = "",
    environment: Mapping[str, str] | None = None,
) -> str:
    status, output, complaint = _call(arguments, seconds=seconds, given=given, environment=environment)
    if status == 0:
        return output
    lower = complaint.lower()
    if any(word in lower for word in _MOVED):
        raise BranchMoved(_first(complaint))
    if any(word in lower for word in _GONE) and "could not resolve" not in lower:
        raise RepositoryMissing(_first(complaint))
    raise GitTrouble(_first(complaint))


def _call(
    arguments: Sequence[str],
    *,
    seconds: float,
    given: str = "",
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    program = shutil.which("git")
    if program is None:
        raise GitTrouble("git is not installed: install the package git")
    bare = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C.UTF-8",
        "HOME": os.environ.get("HOME", "/nonexistent"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=20",
        "GIT_ALLOW_PROTOCOL": "https:http:ssh:file",
        **(environment or {}),
    }
    if "SSH_AUTH_SOCK" in os.environ:
        bare["SSH_AUTH_SOCK"] = os.environ["SSH_AUTH_SOCK"]
    settings = [word for pair in _SAFE for word in ("-c", pair)]
    try:
        done = subprocess.run(
            [program, *settings, *arguments],
            input=given.encode(errors="surrogateescape"),
            capture_output=True,
            env=bare,
            cwd="/",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GitTrouble(f"git {_verb(arguments)} did not end within {seconds:g} s") from None
    return done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="replace")


def _verb(arguments: Sequence[str]) -> str:
    return arguments[2] if arguments[0] == "--git-dir" else arguments[0]


def _first(complaint: str) -> str:
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    told = next(
        (line for line in lines if line.startswith(("fatal:", "error:", " !"))), lines[0] if lines else ""
    )
    return told.removeprefix("fatal: ").removeprefix("error: ")[:300] or "git gave no reason"
