"""Verifies built RPMs: are headers, files and binaries as planned, and is the build fit for use?

Pure: workers/results reads headers and payloads, workers/binaries the ELF files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from service.domain.binaries import BinaryFacts, Grade, judge
from service.domain.errors import BadName
from service.domain.states import Soundness
from service.domain.versions import Nvr, Version

NOTE = "note"
"""The grade of what a person should know and what does not make a build degraded; beside those of Grade."""

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
    """The header of one built RPM. Dependencies are as rpm prints them, ``crio = 1.35.6-0.1.fc44``; files are paths."""

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
"""Stands in planned dependencies for the RPM's own release, where dist-git counts it and not we."""


@dataclass(frozen=True)
class Expected:
    """What was planned: the package's name, version, release with dist tag, arch and dependencies.

    A ``release`` that begins with a dot is only its end (``.fc44``): dist-git counts the rest, which is not known.
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
class RpmFinding:
    """One finding in a built RPM: its file (empty: the header), a stable id, its grade, and a sentence for people."""

    rpm: str
    file: str
    id: str
    grade: str
    text: str


def planned_dependencies(spec: str, values: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Read the provides, conflicts and requires of a spec's main package, with the macros of ``values`` filled in.

    Lines within a condition, and lines with a macro that is not among ``values``, are left out: what they give is
    not certain. The result has the keys ``provides``, ``conflicts`` and ``requires``.
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


def judge_header(header: RpmHeader, expected: Expected) -> list[RpmFinding]:
    """Return what of an RPM's version, release, arch and dependencies is not as planned.

    Dependencies are compared in the main package only.
    """
    found = []

    def wrong(name: str, text: str, grade: str = Grade.UNSOUND) -> None:
        found.append(RpmFinding(header.nvra, "", name, grade, text))

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
    """Return why the build ``nvr`` is not of this package and upstream version; empty where it is, or has no name yet.

    Raises BadTag for a ``version`` that is none.
    """
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


def judge_binary(header: RpmHeader, file: str, facts: BinaryFacts, go_line: str) -> list[RpmFinding]:
    """Return what is wrong with one ELF file of an RPM; see ``service.domain.binaries.judge`` for ``go_line``."""
    judged = [RpmFinding(header.nvra, file, one.id, one.grade, one.text) for one in judge(facts, go_line)]
    machine = _MACHINES.get(header.arch)
    if machine and facts.machine != machine:
        text = f"it is a program for {facts.machine} in an RPM for {header.arch}"
        judged.insert(0, RpmFinding(header.nvra, file, "other-machine", Grade.UNSOUND, text))
    return judged


def unreadable(header: RpmHeader, file: str, why: str) -> RpmFinding:
    """Return the finding for a file that begins as ELF and cannot be read as such."""
    return RpmFinding(header.nvra, file, "unreadable", Grade.UNSOUND, why)


def compare_files(header: RpmHeader, before: Sequence[str], version_before: str) -> list[RpmFinding]:
    """Return notes on the files that came or went since the previous build, at most one of each kind.

    ``before`` are the paths of that build; empty means that there is none. Build ids and versions in paths are
    left out of the comparison.
    """
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
                RpmFinding(
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


def verdict(found: Iterable[RpmFinding], *, binaries: int) -> Soundness:
    """Return the soundness of one chroot: sound only where programs were looked at and nothing but notes was found.

    ``binaries`` is the number of ELF files that were looked at.
    """
    if any(one.grade != NOTE for one in found):
        return Soundness.DEGRADED
    return Soundness.SOUND if binaries else Soundness.UNKNOWN


def build_soundness(chroots: Iterable[str], verdicts: Mapping[str, str]) -> Soundness:
    """Return the soundness of a build from those of its succeeded chroots: one degraded is enough, sound needs all.

    ``verdicts`` maps chroots to the values of Soundness; a chroot that is not in it is unknown.
    """
    known = [verdicts.get(chroot, Soundness.UNKNOWN.value) for chroot in chroots]
    if Soundness.DEGRADED in known:
        return Soundness.DEGRADED
    return Soundness.SOUND if known and set(known) == {Soundness.SOUND.value} else Soundness.UNKNOWN
