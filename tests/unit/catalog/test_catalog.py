"""The built-in catalogue says what the domain's facts say, and a wrong one is refused with file and key."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

import service.catalog
from service.catalog import load
from service.catalog.model import StreamRange
from service.domain.diagnosis import RemedyPolicy
from service.domain.errors import BadCatalog
from service.domain.planning import plan
from service.domain.versions import Stream, Version
from service.specs.render import check_templates

BUILT_IN = Path(service.catalog.__file__).parent
TODAY = date(2026, 11, 24)

Edit = Callable[[str, str, str], None]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A maintainer's catalogue: a copy of the built-in one."""
    for name in ("families", "targets.toml", "workarounds.toml", "diagnoses.toml"):
        source = BUILT_IN / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


@pytest.fixture
def edit(own: Path) -> Edit:
    def replace(file: str, old: str, new: str) -> None:
        path = own / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} does not hold {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return replace


def test_built_in_catalogue() -> None:
    catalog = load(None, copr_owner="@crio")
    check_templates(catalog)
    family = catalog.families["cri-o"]
    assert [str(stream) for stream in family.streams] == [f"1.{n}" for n in range(29, 38)]
    assert [str(s) for s, policy in family.streams.items() if not policy.build] == ["1.29", "1.30"]
    assert {str(s) for s, policy in family.streams.items() if policy.facts["wazero"]} == {
        f"1.{n}" for n in range(32, 38)
    }
    assert family.package(Stream(1, 32)) == "cri-o1.32"
    assert catalog.branches["f42"].is_eol(date(2026, 5, 28))
    assert not catalog.branches["f42"].is_eol(date(2026, 5, 27))
    assert catalog.branches["rawhide"].branch.number == 46


def test_koji_targets_come_with_a_profile() -> None:
    catalog = load(None, copr_owner="@crio", koji_profile="fedora")
    koji = [target for target in catalog.targets if target.system == "koji"]
    assert [target.id for target in koji] == ["f43-koji", "f44-koji", "f45-koji", "rawhide-koji"]
    assert {target.project for target in koji} == {"fedora"}
    names = [target.options["koji_target"] for target in koji]
    assert names == ["f43-candidate", "f44-candidate", "f45-candidate", "rawhide"]
    assert all(target.options["scratch"] is True for target in koji)


@pytest.mark.parametrize("profile", ["a b", "a/b", "{x}", "ö", "x" * 200])
def test_bad_profile(profile: str) -> None:
    with pytest.raises(BadCatalog, match="KOJI_PROFILE"):
        load(None, copr_owner="x", koji_profile=profile)


def test_four_copr_targets() -> None:
    catalog = load(None, copr_owner="@crio")
    assert [target.id for target in catalog.targets] == ["f43-copr", "f44-copr", "f45-copr", "rawhide-copr"]
    for target in catalog.targets:
        word = target.branch.chroot_word
        assert target.chroots == (f"fedora-{word}-x86_64", f"fedora-{word}-aarch64")
        assert target.project == "@crio/cri-o"
        assert target.strategy == "default"
        assert target.deadline == timedelta(hours=24)
    assert catalog.target("f44-copr") is catalog.targets[1]
    assert catalog.target("f99-copr") is None


def test_family_of_ignores_case() -> None:
    catalog = load(None, copr_owner="x")
    assert catalog.family_of("CRI-O/cri-o") is catalog.families["cri-o"]
    assert catalog.family_of("cri-o/cri-o.github.io") is None


@pytest.mark.parametrize(
    ("version", "builds"),
    [("1.32.1", 4), ("1.31.0", 4), ("1.30.14", 0), ("1.41.0", 4), ("2.0.0", 0), ("1.36.0-rc.1", 0)],
)
def test_plans_from_the_built_in_catalogue(version: str, builds: int) -> None:
    catalog = load(None, copr_owner="x")
    decision = plan(
        Version.parse(version),
        family=catalog.families["cri-o"],
        targets=catalog.targets,
        branches=catalog.branches,
        today=TODAY,
    )
    assert len(decision.builds) == builds
    assert bool(decision.reason) == (builds == 0)


def test_own_directory_replaces_the_built_in_one(own: Path, edit: Edit) -> None:
    edit("targets.toml", 'id = "f43-copr"', 'id = "mine"')
    assert load(own, copr_owner="x").targets[0].id == "mine"


@pytest.mark.parametrize("owner", ["", "a b", "a/b", "@", "{x}", "ö", "x" * 200])
def test_bad_owner(owner: str) -> None:
    with pytest.raises(BadCatalog, match="COPR_OWNER"):
        load(None, copr_owner=owner)


FAMILY = "families/cri-o/family.toml"
STREAM_134 = 'stream = "1.34"'
BROKEN = [
    ("targets.toml", 'systems = ["copr", "koji"]', "systems = [", r"targets\.toml:\d+: column \d+: "),
    ("targets.toml", "rawhide = 46", "rawhide = 44", r"branches\.f44: rawhide is 44"),
    ("targets.toml", "rawhide = 46", 'rawhide = "46"', "rawhide: must be a whole number"),
    ("targets.toml", "rawhide = 46", "rawhide = true", "rawhide: must be a whole number"),
    ("targets.toml", "[branches.f45]", "[branches.epel9]", "EPEL is refused: .* in mock"),
    ("targets.toml", "eol = 2026-05-28", 'eol = "2026-05-28"', r"branches\.f42\.eol: must be a date"),
    ("targets.toml", "eol = 2026-05-28", "eol = 2026-05-28T10:00:00Z", r"branches\.f42\.eol: must be a date"),
    ("targets.toml", "eol = 2026-05-28", "end = 2026-05-28", r"branches\.f42\.end: unknown key"),
    ("targets.toml", 'branch = "f43"', 'branch = "f41"', r"target\[1\]\.branch: unknown branch 'f41'"),
    ("targets.toml", 'system = "copr"', 'system = "obs"', "f43-copr.system: unknown build system 'obs'"),
    ("targets.toml", 'strategy = "default"', 'strategy = "best"', "f43-copr.strategy: unknown strategy"),
    ("targets.toml", 'strategy = "default"', 'strategy = "no-wasm"', "f43-copr.first_stream: .*1.35"),
    ("targets.toml", 'id = "f44-copr"', 'id = "f43-copr"', "'f43-copr' is there twice"),
    ("targets.toml", "fedora-43-aarch64", "fedora-44-aarch64", "not a chroot of branch f43"),
    ("targets.toml", "fedora-43-aarch64", "epel-9-x86_64", "chroots: EPEL is refused: .* in mock"),
    ("targets.toml", "[branches.f45]", "[branches.f45x]", "not a Fedora branch"),
    ("targets.toml", "fedora-43-aarch64", "fedora-x-aarch64", "not a Fedora chroot"),
    ("targets.toml", 'strategy = "default"', 'style = "git"', "f43-copr.style: must be srpm or dist-git"),
    ("targets.toml", 'strategy = "default"', 'style = "dist-git"', "f43-copr.style: .* needs the style srpm"),
    ("targets.toml", 'families = ["cri-o"]', 'families = ["podman"]', "unknown family 'podman'"),
    ("targets.toml", 'families = ["cri-o"]', "families = []", "must name a family"),
    ("targets.toml", "{owner}/cri-o", "{user}/cri-o", "project: may hold only {owner}"),
    ("targets.toml", "{owner}/cri-o", "{owner.x}/cri-o", "project: may hold only {owner}"),
    ("targets.toml", "{owner}/cri-o", "{owner", "project: unbalanced"),
    ("targets.toml", "deadline_hours = 24", "deadline_hours = 0", "deadline_hours: must be .* from 1"),
    ("targets.toml", "deadline_hours = 24", "deadline = 24", "unknown key"),
    (FAMILY, 'name = "cri-o"', 'name = "crio"', "must be the folder's name"),
    (FAMILY, 'repository = "cri-o/cri-o"', 'repository = "cri-o"', "repository: 'cri-o' does not"),
    (FAMILY, '"cri-o{stream}"', '"cri-o"', "package: must hold {stream}"),
    (FAMILY, '"cri-o{stream}"', '"CRI-O{stream}"', "package: .* does not have the expected form"),
    (FAMILY, '"cri-o{stream}"', '"cri-o{stream!r}"', "package: may hold only {stream}"),
    (FAMILY, 'prereleases = "ignore"', 'prereleases = "maybe"', "prereleases: must be ignore or build"),
    (FAMILY, STREAM_134, 'stream = "1.35"', "1.35 is there twice"),
    (FAMILY, STREAM_134, 'stream = "1.38"', "hole after 1.33"),
    (FAMILY, STREAM_134, 'stream = "v1.34"', "not a stream"),
    (FAMILY, STREAM_134, f"{STREAM_134}\nwazzero = 1", "wazzero: unknown key"),
    (
        FAMILY,
        'first_stream = "1.29"\n# "ignore',
        'first_stream = "1.28"\n# "ignore',
        r"no \[\[stream\]\] 1.28",
    ),
    (FAMILY, 'go = "1.24.6"', 'go = "1.24.6\\n%(id)"', "stream 1.34.go"),
    (FAMILY, 'wazero = "v1.9.0"', 'wazero = "1.9.0"', "stream 1.34.wazero"),
    (
        FAMILY,
        'first_stream = "1.29"\n\n# Small',
        'first_stream = "1.30"\n\n# Small',
        "no range holds stream 1.29",
    ),
    (FAMILY, 'first_stream = "1.29"\n\n# Small', 'last_stream = "1.40"\n\n# Small', "must be open"),
    (FAMILY, 'file = "cri-o.spec.in"', 'file = "../cri-o.spec.in"', "not a plain file name"),
    (FAMILY, 'file = "cri-o.spec.in"', 'file = "other.spec.in"', "other.spec.in: cannot be read"),
    (FAMILY, "{version}.tar.gz", "{sha}.tar.gz", "source.url: may hold only"),
    (FAMILY, "https://", "http://", "source.url: must be an https address"),
    (FAMILY, "(?:const", "(?:(const", "version_pattern: is not a regular expression|exactly one group"),
    (
        FAMILY,
        'first_stream = "1.29"\n# "ig',
        'strategies = ["x y"]\nfirst_stream = "1.29"\n# "ig',
        "strategies",
    ),
    (
        FAMILY,
        'first_stream = "1.29"\n# "ig',
        'strategies = ["best"]\nfirst_stream = "1.29"\n# "ig',
        "strategies: unknown strategy 'best'",
    ),
    (FAMILY, 'name = "{package}.rpmlintrc"', 'name = "../{package}"', "not a plain file name"),
    (FAMILY, 'name = "{package}.rpmlintrc"', 'name = "{stream}.rc"', "name: may hold only {package}"),
    (FAMILY, 'style = "dist-git"', 'style = "koji"', "style: must be srpm or dist-git"),
    (FAMILY, "AND Unlicense", "AND %(id)", "stream 1.29.license"),
    (FAMILY, "cryopack <", "cryopack %(id) <", "changelog_author"),
    ("workarounds.toml", "guards = true", "gards = true", "guards: is missing"),
    (
        "workarounds.toml",
        'without = ["wazero"]',
        'without = ["zlib"]',
        "strategy none.without: unknown: 'zlib'",
    ),
    (
        "workarounds.toml",
        "https://github.com/cri-o/cri-o/issues/8860",
        "see %(id)",
        "strategy default.reference",
    ),
]


@pytest.mark.parametrize(("file", "old", "new", "complaint"), BROKEN)
def test_broken_catalogue(own: Path, edit: Edit, file: str, old: str, new: str, complaint: str) -> None:
    edit(file, old, new)
    with pytest.raises(BadCatalog, match=complaint) as caught:
        load(own, copr_owner="x")
    text = str(caught.value)
    assert text.startswith(f"{file.rpartition('/')[0] or file}")
    assert "\n" not in text


def test_overlapping_templates(own: Path, edit: Edit) -> None:
    edit(
        FAMILY,
        "# Small files",
        '[[template]]\nfile = "cri-o.spec.in"\nfirst_stream = "1.35"\n\n# Small files',
    )
    with pytest.raises(BadCatalog, match="overlap"):
        load(own, copr_owner="x")


def test_two_templates_that_follow_each_other(own: Path, edit: Edit) -> None:
    shutil.copy(own / "families/cri-o/cri-o.spec.in", own / "families/cri-o/new.spec.in")
    edit(FAMILY, 'first_stream = "1.29"\n\n#', 'first_stream = "1.29"\nlast_stream = "1.34"\n\n#')
    edit(
        FAMILY, "# Small files", '[[template]]\nfile = "new.spec.in"\nfirst_stream = "1.35"\n\n# Small files'
    )
    packaging = load(own, copr_owner="x").packaging["cri-o"]
    assert packaging.template(Stream(1, 34)).file == "cri-o.spec.in"
    assert packaging.template(Stream(1, 44)).file == "new.spec.in"


@pytest.mark.parametrize("missing", ["families", "targets.toml", "workarounds.toml", "diagnoses.toml"])
def test_missing_part(own: Path, missing: str) -> None:
    path = own / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(BadCatalog, match=missing):
        load(own, copr_owner="x")


def test_file_that_is_no_text(own: Path) -> None:
    (own / "targets.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadCatalog, match=r"targets\.toml: is not UTF-8 text"):
        load(own, copr_owner="x")


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ((None, None), (None, None), True),
        (("1.29", "1.34"), ("1.35", None), False),
        (("1.29", "1.34"), ("1.34", None), True),
        ((None, "1.30"), ("1.31", "1.31"), False),
        ((None, "1.31"), (None, "1.29"), True),
    ],
)
def test_ranges_meet(one: tuple[str | None, ...], other: tuple[str | None, ...], meet: bool) -> None:
    def ranged(ends: tuple[str | None, ...]) -> StreamRange:
        return StreamRange(*(Stream.parse(end) if end else None for end in ends))

    assert ranged(one).meets(ranged(other)) is meet
    assert ranged(other).meets(ranged(one)) is meet


DIAGNOSES = [
    ('id = "other-linker"', 'id = "wazero-undefined"', "there twice"),
    ('id = "other-linker"', 'id = "Other"', "expected form"),
    ('fault = "package"', 'fault = "gremlins"', "fault: must be one of package, infrastructure"),
    ('retry = "no"', 'retry = "maybe"', "retry: must be one of yes, no, later"),
    ('strategy = "default" }', 'strategy = "magic" }', "unknown strategy 'magic'"),
    ("minutes = 240", "minutes = 0", "minutes: must be a whole number"),
    ('kind = "wait"', 'kind = "pray"', "kind: must be one of strategy, later, wait"),
    ("[a-z]{2,10}/\\S+", "([a-z]+)+/\\S+", "repeats a group"),
    ('has = "signal: killed"', 'has = "x"', "at least 4 characters"),
    ("architecture[ ({arch})] by", "architecture ({arch}) by", "put it in square brackets"),
    ('reference = "https://go.dev/doc', 'reference = "file:///doc', "must be an address"),
    ('cause = "Another', 'couse = "Another', "cause: is missing"),
]


@pytest.mark.parametrize(("old", "new", "complaint"), DIAGNOSES)
def test_broken_diagnoses(own: Path, edit: Edit, old: str, new: str, complaint: str) -> None:
    edit("diagnoses.toml", old, new)
    with pytest.raises(BadCatalog, match=complaint) as caught:
        load(own, copr_owner="x")
    assert re.match(r"diagnoses\.toml:\d+: ", str(caught.value))
    assert "\n" not in str(caught.value)


def test_what_targets_allow(own: Path, edit: Edit) -> None:
    assert {target.remedy for target in load(None, copr_owner="x").targets if target.system == "copr"} == {
        RemedyPolicy.AUTO
    }
    edit("targets.toml", 'remedy = "auto"\n', "")
    assert load(own, copr_owner="x").targets[0].remedy is RemedyPolicy.SUGGEST
    edit("targets.toml", 'remedy = "auto"', 'remedy = "always"')
    with pytest.raises(BadCatalog, match="remedy: must be one of auto, suggest, off"):
        load(own, copr_owner="x")
