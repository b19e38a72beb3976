"""Whether built RPMs are what was planned, and fit for use. Pure: headers, payloads and binaries are read elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from service.domain.binaries import BinaryFacts, Grade, judge
from service.domain.errors import BadName
from service.domain.states import Soundness
from service.domain.versions import Nvr, Version

NOTE = "note"
"""The weight of what a person should know and what makes no build degraded."""

_DEPENDENCY = re.compile(r"(Provides|Conflicts|Requires)(?:\(\w+\))?:\s*(.+?)\s*", re.IGNORECASE)
_SECTION = re.compile(
    r"%(?:description|package|prep|build|install|check|files|changelog|generate_buildrequires)\b"
)
_MACRO = re.compile(r"%\{\??(\w+)\}|%(\w+)")
# What ELF calls the machine of an RPM's arch.
_MACHINES = {"x86_64": "x86_64", "aarch64": "aarch64", "ppc64le": "ppc64", "s390x": "s390"}
_BUILD_ID = re.compile(r"/usr/lib/(?:debug/)?\.build-id(?:/.*)?")


@dataclass(frozen=True)
class RpmHeader:
    """One built RPM. Dependencies are as rpm says them: ``crio = 1.35.6-0.1.fc44``; ``files`` are paths."""

    name: str
    version: str
    release: str
    arch: str
    provides: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def nvra(self) -> str:
        return f"{self.name}-{self.version}-{self.release}.{self.arch}"


OWN_RELEASE = "{release}"
"""Stands in planned dependencies for the release of the RPM itself, where that is not counted by us."""


@dataclass(frozen=True)
class Expected:
    """What was planned: the package's name, version and release with its dist tag, the arch, its dependencies.

    A ``release`` that begins with a dot is only how it ends (``.fc44``): dist-git counts the rest, and nobody has told.
    ``in_dist_git``: maintainers may have changed the spec there, so a dependency that is not as generated is a note for
    them and no fault.
    """

    name: str
    version: str
    release: str
    arch: str
    dependencies: Mapping[str, tuple[str, ...]]
    in_dist_git: bool = False

    def fits(self, release: str) -> bool:
        """Whether an RPM's release is the planned one."""
        return release.endswith(self.release) if self._only_end else release == self.release

    @property
    def _only_end(self) -> bool:
        return self.release.startswith(".")

    def __str__(self) -> str:
        return f"{self.version}-{'…' if self._only_end else ''}{self.release}"


@dataclass(frozen=True)
class Judged:
    """One thing found: in which RPM, in which of its files (empty: in its header), and how much it weighs."""

    rpm: str
    file: str
    id: str
    grade: str
    text: str


def planned_dependencies(spec: str, values: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """What the main package's preamble surely states: provides, conflicts, requires, with known macros filled in.

    Lines within a condition, and lines with a macro that is not among ``values``, promise nothing.
    """
    found: dict[str, list[str]] = {"provides": [], "conflicts": [], "requires": []}
    depth = 0
    for line in spec.splitlines():
        word = line.strip()
        if word.startswith("%if"):
            depth += 1
        elif word.startswith("%endif"):
            depth -= 1
        elif _SECTION.match(word):
            break
        match = _DEPENDENCY.fullmatch(word)
        if match is None or depth:
            continue
        text = _MACRO.sub(lambda m: values.get(m[1] or m[2], m[0]), match[2])
        if "%" not in text:
            found[match[1].lower()].append(text)
    return {kind: tuple(texts) for kind, texts in found.items()}


def judge_header(header: RpmHeader, expected: Expected) -> list[Judged]:
    """What of an RPM's name, version, release, arch and dependencies is not as planned."""
    found = []

    def wrong(name: str, text: str, grade: str = Grade.UNSOUND) -> None:
        found.append(Judged(header.nvra, "", name, grade, text))

    if header.version != expected.version or not expected.fits(header.release):
        wrong("other-version", f"it is {header.version}-{header.release}, planned was {expected}")
    if header.arch not in (expected.arch, "noarch"):
        wrong("other-arch", f"it is for {header.arch}, planned was {expected.arch}")
    if header.name == expected.name:
        has = {"provides": header.provides, "conflicts": header.conflicts, "requires": header.requires}
        for kind, wanted in expected.dependencies.items():
            for text in (one.replace(OWN_RELEASE, header.release) for one in wanted):
                if text in has[kind]:
                    continue
                told = f"{kind.capitalize()}: {text}"
                if expected.in_dist_git:
                    told = f"the generated spec says {told}, and the RPM does not; the spec in dist-git may differ"
                    wrong(f"missing-{kind}", told, NOTE)
                else:
                    wrong(f"missing-{kind}", f"the spec says {told}, and the RPM does not")
    return found


def other_build(nvr: str, package: str, version: str) -> str:
    """Why a build of that name is none of this package and upstream version; empty where it is, or has no name yet."""
    if not nvr:
        return ""
    wanted = Version.parse(version).rpm
    try:
        found = Nvr.parse(nvr)
    except BadName:
        found = Nvr("", "", "")
    if (found.name, found.version) == (package, wanted):
        return ""
    return (
        f"what was built is {nvr}, and {package}-{wanted} was planned: the spec of the commit that was built has "
        "another name or version. Look at that commit; untag the build if nobody wants it"
    )


def judge_binary(header: RpmHeader, file: str, facts: BinaryFacts, go_line: str) -> list[Judged]:
    """What is wrong with one ELF file of an RPM."""
    judged = [Judged(header.nvra, file, one.id, one.grade, one.text) for one in judge(facts, go_line)]
    machine = _MACHINES.get(header.arch)
    if machine and facts.machine != machine:
        text = f"it is a program for {facts.machine} in an RPM for {header.arch}"
        judged.insert(0, Judged(header.nvra, file, "other-machine", Grade.UNSOUND, text))
    return judged


def unreadable(header: RpmHeader, file: str, why: str) -> Judged:
    """A file that begins as ELF and cannot be read as such."""
    return Judged(header.nvra, file, "unreadable", Grade.UNSOUND, why)


def compare_files(header: RpmHeader, before: Sequence[str], version_before: str) -> list[Judged]:
    """Files that came or went since the previous build, as notes. Build ids and versions in paths do not count."""
    if not before:
        return []
    old = {_without_version(path, version_before) for path in before} - {""}
    new = {_without_version(path, header.version) for path in header.files} - {""}
    told = []
    for name, paths, verb in (("files-gone", old - new, "are gone"), ("files-new", new - old, "are new")):
        if paths:
            shown = ", ".join(sorted(paths)[:8])
            more = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
            told.append(
                Judged(
                    header.nvra,
                    "",
                    name,
                    NOTE,
                    f"{len(paths)} files {verb} since the last good build: {shown}{more}",
                )
            )
    return told


def _without_version(path: str, version: str) -> str:
    return "" if _BUILD_ID.fullmatch(path) else path.replace(version, "{version}")


def verdict(found: Iterable[Judged], *, binaries: int) -> Soundness:
    """The soundness of one chroot: sound only where programs were looked at and nothing was found."""
    if any(one.grade != NOTE for one in found):
        return Soundness.DEGRADED
    return Soundness.SOUND if binaries else Soundness.UNKNOWN


def build_soundness(chroots: Iterable[str], verdicts: Mapping[str, str]) -> Soundness:
    """The soundness of a build from those of its succeeded chroots: one degraded is enough, sound needs all."""
    known = [verdicts.get(chroot, Soundness.UNKNOWN.value) for chroot in chroots]
    if Soundness.DEGRADED in known:
        return Soundness.DEGRADED
    return Soundness.SOUND if known and set(known) == {Soundness.SOUND.value} else Soundness.UNKNOWN
