"""Reads name, version and release of a Koji build's source: an uploaded SRPM, or a commit of dist-git.

A commit's spec is read with git and as text, not by rpm: Name, Version and Release with the macros that it defines in
one line, and ``%autorelease`` counted as rpmautospec does without options: the commits since the version last changed.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sandbox.building.srpm_header import NotAnSrpm, read_header
from sandbox.ground import Ground
from sandbox.koji.hub import work_path
from sandbox.store import Row

SCM = re.compile(
    r"git\+(?P<scheme>\w+)://(?P<host>[^/?#]*)(?P<path>/[^?#]*?)(?:\.git)?/?(?:\?[^#]*)?#(?P<commit>[0-9a-f]{7,64})"
)
SERVED = re.compile(r"/(?:git|pagure)/(?P<inside>(?:rpms|forks/\w+/rpms)/[\w.+-]+)")
SECONDS = 60
SRPM_FAILED = "error building srpm, mock exited with status 1; see root.log for more information"
_PREAMBLE_END = re.compile(
    r"^%(?:description|package|prep|generate_buildrequires|build|install|check|files|changelog)\b",
    re.MULTILINE,
)
_TAG = re.compile(r"^(Name|Epoch|Version|Release)[ \t]*:[ \t]*(.*?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_DEFINITION = re.compile(r"^%(?:global|define)[ \t]+(\w+)[ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
_MACRO = re.compile(r"%\{\??(\w+)\}|%(\w+)")
_WORD = re.compile(r"[A-Za-z0-9._+~^]+", re.ASCII)
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*", re.ASCII)


@dataclass(frozen=True)
class Source:
    """The fields of a source package that the later steps act on."""

    name: str
    version: str
    release: str
    exclude: list[str] = field(default_factory=list)
    exclusive: list[str] = field(default_factory=list)

    @property
    def nvr(self) -> str:
        return f"{self.name}-{self.version}-{self.release}"

    def arches(self, offered: list[str]) -> list[str]:
        """Return those of the offered architectures that ExcludeArch and ExclusiveArch leave."""
        allowed = [arch for arch in offered if not self.exclusive or {arch, "noarch"} & set(self.exclusive)]
        return [arch for arch in allowed if arch not in self.exclude]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class NoSource:
    """Why there is no source package: the words of the failed task, and what its logs say beside them."""

    fault: str
    detail: str = ""

    @property
    def log(self) -> str:
        """Return both, as the log of the step shows them."""
        return f"{self.detail}\n{self.fault}" if self.detail else self.fault


def dist_of(target: str) -> str:
    """Return the dist tag of a target's branch."""
    match = re.match(r"f(\d+)", target)
    return f".fc{match[1] if match else '46'}"


async def read_source(ground: Ground, task: Row) -> Source | NoSource:
    """Return the source of a task, or why there is none: rpm reads an uploaded SRPM, git a commit."""
    src, target, _ = json.loads(task["request"])
    if "://" in src:
        return await _commit(ground, src, dist_of(target))
    path = work_path(ground, src)
    if not path.is_file() or ".." in src:
        return NoSource(f"the uploaded file {src} does not exist")
    try:
        header = await asyncio.to_thread(read_header, path)
    except NotAnSrpm as error:
        return NoSource(f"not a source package: {error}")
    release = header.release_on(dist_of(target))
    return Source(header.name, header.version, release, list(header.exclude), list(header.exclusive))


async def _commit(ground: Ground, url: str, dist: str) -> Source | NoSource:
    """Return what a test said of this commit; otherwise what its own spec says."""
    told = ground.store.one("SELECT * FROM koji_source WHERE url = ?", url)
    if told is not None:
        return Source(told["name"], told["version"], told["release"])
    match = SCM.fullmatch(url)
    repository = _repository(ground, match) if match else None
    if match is None or repository is None:
        clone = (
            f'Error running GIT command "git clone -n {url.partition("#")[0]}", see checkout.log for details'
        )
        return NoSource(clone, "not a commit of a repository on this machine, and the sandbox asks no other")
    found = await asyncio.to_thread(read_commit, repository, repository.stem, match["commit"], dist)
    return found if isinstance(found, NoSource) else Source(*found)


def _repository(ground: Ground, match: re.Match[str]) -> Path | None:
    """Return the bare repository of an address: a folder, or one that the sandbox serves; None where there is none."""
    if match["scheme"] == "file" and not match["host"]:
        folder = Path(match["path"])
        found = folder.with_name(f"{folder.name}.git")
    else:
        served = SERVED.fullmatch(match["path"])
        if served is None or match["host"].rpartition(":")[0] not in ("127.0.0.1", "localhost"):
            return None
        found = ground.state_dir / "dist-git" / f"{served['inside']}.git"
    return found if found.is_dir() else None


class _Unreadable(Exception):
    pass


def read_commit(repository: Path, package: str, commit: str, dist: str) -> tuple[str, str, str] | NoSource:
    """Return name, version and release of a commit in a bare repository, or why it has none."""
    try:
        _git(repository, "cat-file", "-e", f"{commit}^{{commit}}")
    except _Unreadable as error:
        # In the words of koji's own check-out, which clones and then resets to the commit.
        return NoSource(
            f'Error running GIT command "git reset --hard {commit}", see checkout.log for details', str(error)
        )
    name = f"{package}.spec"
    try:
        text = _git(repository, "show", f"{commit}:{name}").decode("utf-8", "replace")
    except _Unreadable as error:
        return NoSource("No spec file found", f"there is no {name} in commit {commit[:12]}: {error}")
    try:
        tags = _tags(text)
        values = {**tags.macros, "dist": dist}
        named = _word("Name", _expanded(tags.text.get("name", ""), values), _PACKAGE)
        values["name"] = named
        version = _word("Version", _expanded(tags.text.get("version", ""), values), _WORD)
        values["version"] = version
        release = tags.text.get("release", "")
        if release in ("%autorelease", "%{autorelease}"):
            return named, version, f"{_autorelease_number(repository, name, commit)}{dist}"
        return named, version, _word("Release", _expanded(release, values), _WORD)
    except _Unreadable as error:
        return NoSource(SRPM_FAILED, f"error: {name}: {error}")


@dataclass(frozen=True)
class _Tags:
    text: Mapping[str, str]
    macros: Mapping[str, str]


def _tags(spec: str) -> _Tags:
    """Return the first of each tag of the preamble, in lower case, and the macros that are defined in one line."""
    end = _PREAMBLE_END.search(spec)
    preamble = spec[: end.start()] if end else spec
    text: dict[str, str] = {}
    for tag, value in _TAG.findall(preamble):
        text.setdefault(tag.lower(), value)
    return _Tags(text, dict(_DEFINITION.findall(preamble)))


def _expanded(text: str, values: Mapping[str, str]) -> str:
    for _ in range(5):
        filled = _MACRO.sub(lambda found: values.get(found[1] or found[2], found[0]), text)
        if filled == text:
            break
        text = filled
    return text


def _word(tag: str, value: str, form: re.Pattern[str]) -> str:
    if not value:
        raise _Unreadable(f"{tag} field must be present in package")
    if "%" in value:
        raise _Unreadable(f"the sandbox does not know what {tag} '{value}' expands to")
    if not form.fullmatch(value):
        raise _Unreadable(f"{tag} is no single word that rpm takes: '{value}'")
    return value


def _autorelease_number(repository: Path, name: str, commit: str) -> int:
    """Count the commits since the version last changed, this one included, along the longest way of merges."""
    told = _git(repository, "rev-list", "--parents", "--topo-order", "--reverse", commit).decode()
    counts: dict[str, int] = {}
    versions: dict[str, tuple[str, str] | None] = {}
    commits = [line.split() for line in told.splitlines()]
    specs = _files(repository, [f"{one}:{name}" for one, *_ in commits])
    for (one, *parents), spec in zip(commits, specs, strict=True):
        versions[one] = None if spec is None else _version(spec)
        alike = [counts[parent] for parent in parents if versions[parent] == versions[one]]
        counts[one] = 1 + max(alike, default=0)
    return counts[commit]


def _version(spec: str) -> tuple[str, str]:
    tags = _tags(spec)
    return tags.text.get("epoch", ""), _expanded(tags.text.get("version", ""), tags.macros)


def _files(repository: Path, names: list[str]) -> list[str | None]:
    """Return the texts of files that are named ``commit:path``; None for what is not there."""
    told = _git(repository, "cat-file", "--batch", given="".join(f"{name}\n" for name in names).encode())
    found: list[str | None] = []
    at = 0
    while at < len(told):
        end = told.index(b"\n", at)
        head, at = told[at:end].split(), end + 1
        if head[-1] == b"missing":
            found.append(None)
            continue
        size = int(head[-1])
        found.append(told[at : at + size].decode("utf-8", "replace"))
        at += size + 1
    return found


def _git(repository: Path, *arguments: str, given: bytes = b"") -> bytes:
    """Run git, and return what it prints. Raises _Unreadable with its complaint."""
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments],
            input=given, capture_output=True, check=False, timeout=SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Unreadable(f"git does not answer: {type(error).__name__}") from None
    if done.returncode:
        raise _Unreadable(done.stderr.decode("utf-8", "replace").strip() or f"git {arguments[0]} failed")
    return done.stdout
