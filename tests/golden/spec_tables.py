"""Makes the tables of docs/specs.md: what rpmspec reads from our specs, beside Fedora's published ones."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from service.domain.versions import Version
from tests.golden.test_golden_specs import CATALOG, CRI_O, render
from workers.packaging.rpm_commands import definitions, macro_files, run

STREAMS = [Version.parse(text).stream.minor for text in CRI_O]
BEGIN, END = "<!-- made by make golden: begin -->", "<!-- made by make golden: end -->"
QUERIES = {
    "Provides": ["--qf", "[%{PROVIDENEVRS}\n]"],
    "Conflicts": ["--qf", "[%{CONFLICTNEVRS}\n]"],
    "Obsoletes": ["--qf", "[%{OBSOLETENEVRS}\n]"],
    "Requires": ["--qf", "[%{REQUIRENEVRS}\n]"],
    "Recommends": ["--qf", "[%{RECOMMENDNEVRS}\n]"],
    "Suggests": ["--qf", "[%{SUGGESTNEVRS}\n]"],
    "BuildRequires": ["--buildrequires"],
}
Said = dict[str, dict[int, str]]  # name of a dependency -> minor -> what stands after the name


def _since(first: int, last: int = 37, after: str = "") -> dict[int, str]:
    return dict.fromkeys(range(first, last + 1), after)


_GO = ("1.21", "1.22.2", "1.22.2", "1.23.4", "1.24.3", "1.24.6", "1.25.0", "1.26.4", "1.26.5")

# What Fedora's specs of cri-o1.29 to cri-o1.37 said when they were read (2025-02 to 2026-11).
FEDORA: Mapping[str, Said] = {
    "Provides": {"crio": _since(29, after="= V-R"), "ocid": _since(29, after="= V-R")},
    "Conflicts": {"crio": _since(29)},
    "Obsoletes": {"ocid": _since(29, after="<= 0.3")},
    "Requires": {
        "conmon": _since(29),
        "container-selinux": _since(29),
        "containers-common": _since(29, 34, ">= 1:0.1.31-14") | _since(35),
        "crun": _since(35),
        "iptables": _since(29),
        "runc": _since(35),
        "socat": _since(29),
    },
    "Recommends": {"runc": _since(29, 30, ">= 1.0.0-16"), "crun": _since(31, 34)},
    "Suggests": {"kubernetes-cni": _since(35)},
    "BuildRequires": {
        "btrfs-progs-devel": _since(29),
        "conmon": _since(29),
        "crun": _since(31),
        "device-mapper-devel": _since(29),
        "fdupes": _since(37),
        "git-core": _since(29),
        "glib2-devel": _since(29),
        "glibc-static": _since(29),
        "go-md2man": _since(29),
        "go-rpm-macros": _since(29),
        "go-vendor-tools": _since(29),
        "golang": {minor: f">= {version}" for minor, version in zip(range(29, 38), _GO, strict=True)},
        "gpgme-devel": _since(29),
        "iptables": _since(29),
        "libassuan-devel": _since(29),
        "libseccomp-devel": _since(29),
        "make": _since(29),
        "marshalparser": _since(29),
        "runc": _since(29),
        "systemd-rpm-macros": _since(29),
    },
}

# Every difference has its reason here; one without, or a reason without its difference, fails the test.
WHY: Mapping[tuple[str, str], str] = {
    ("Provides", "ocid"): "CRI-O's first name; the versioned packages never had it",
    ("Obsoletes", "ocid"): "CRI-O's first name; a package that no live branch has need not be replaced",
    (
        "Requires",
        "/bin/sh",
    ): "scriptlets: the units follow the presets, and a running crio is restarted on update",
    ("BuildRequires", "binutils"): "the guards in %check read the built binary with readelf and nm",
    ("BuildRequires", "device-mapper-devel"): (
        "only while the driver is vendored: from 1.31 on nothing in the source includes its headers"
    ),
    ("BuildRequires", "gcc"): "pinns is C and cgo needs it; packaging guidelines want it named",
    ("BuildRequires", "glibc-static"): "pinns is linked dynamically here, with Fedora's flags",
    ("BuildRequires", "go-vendor-tools"): "0.9 is the first with %gocheck2, which tests in module mode",
    ("BuildRequires", "golang"): (
        "what go.mod asks for, read from the source; Fedora's numbers are those of its toolchain line or of the day"
    ),
    (
        "BuildRequires",
        "libselinux-devel",
    ): "hack/selinux_tag.sh and the build tag that it gives need it by name",
    ("BuildRequires", "marshalparser"): "works on compiled Python files, of which the package has none",
}


def ours() -> dict[str, Said]:
    """What rpmspec says of the spec of each stream, in the default strategy. rpm's own provides are left out."""
    found: dict[str, Said] = {kind: {} for kind in QUERIES}
    branch = CATALOG.branches["f44"].branch
    for text in CRI_O:
        spec = render(CATALOG, text, "default", "f44")
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            (home / spec.name).write_text(spec.text, encoding="utf-8")
            known = definitions({"dist": branch.dist, "fedora": str(branch.number)})
            for kind, query in QUERIES.items():
                words = [
                    f"--macros={macro_files()}",
                    *known,
                    "-q",
                    "--srpm" if kind == "BuildRequires" else "",
                    *query,
                ]
                done = run("rpmspec", [*filter(None, words), spec.name], home=home, seconds=30)
                assert done.status == 0, done.complaints
                for line in {line.strip() for line in done.output.splitlines()} - {""}:
                    name, _, after = line.partition(" ")
                    if kind == "Provides" and name.partition("(")[0] in (spec.package, "config"):
                        continue
                    after = after.replace(f"{spec.version}-{spec.release}{branch.dist}", "V-R")
                    found[kind].setdefault(name, {})[Version.parse(text).minor] = after
    return found


def _cell(said: Mapping[int, str]) -> str:
    """Ranges of streams, with what stands after the name where it says anything."""
    if not said:
        return "–"
    parts: list[tuple[int, int, str]] = []
    for minor in sorted(said):
        if parts and parts[-1][1] == minor - 1 and parts[-1][2] == said[minor]:
            parts[-1] = (parts[-1][0], minor, said[minor])
        else:
            parts.append((minor, minor, said[minor]))
    if len(parts) == 1 and parts[0][:2] == (STREAMS[0], STREAMS[-1]):
        return f"all: `{parts[0][2]}`" if parts[0][2] else "all"
    words = []
    for first, last, after in parts:
        streams = f"1.{first}" if first == last else f"1.{first}–1.{last}"
        words.append(f"{streams}: `{after}`" if after else streams)
    return ", ".join(words)


def differences(mine: Mapping[str, Said]) -> set[tuple[str, str]]:
    """What rpmspec and Fedora's facts do not agree on: kind and name."""
    return {
        (kind, name)
        for kind in QUERIES
        for name in {*mine[kind], *FEDORA[kind]}
        if mine[kind].get(name, {}) != FEDORA[kind].get(name, {})
    }


def tables(mine: Mapping[str, Said]) -> str:
    """The Markdown between the markers of docs/specs.md."""
    lines: list[str] = [BEGIN]
    for kind in QUERIES:
        names: Iterable[str] = sorted({*mine[kind], *FEDORA[kind]})
        lines += ["", f"### {kind}", "", "| | ours | Fedora's | why they differ |", "|---|---|---|---|"]
        for name in names:
            cells = [_cell(said[kind].get(name, {})) for said in (mine, FEDORA)]
            lines.append(f"| `{name}` | {cells[0]} | {cells[1]} | {WHY.get((kind, name), '')} |")
    return re.sub(r"\n{3,}", "\n\n", "\n".join([*lines, "", END]))
