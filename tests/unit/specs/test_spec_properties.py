"""Any valid catalogue and any version give a spec of the planned NVR, and no text brings a line or a macro along.

norpm reads the preamble in milliseconds, so that many specs can be tried; a smaller number goes to rpmspec.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from norpm.macro import MacroRegistry
from norpm.macrofile import macrofile_parse
from norpm.specfile import ParserHooks, specfile_expand

from service.catalog import Catalog, Strategy, validate
from service.domain.errors import BadCatalog, BadSpec, BadTag
from service.domain.sources import SourceFacts
from service.domain.specs import STYLES, ChangelogEntry, SpecFile, SpecRequest
from service.domain.versions import Version, parse_tag
from service.specs.render import render_spec
from tests.golden.test_golden_specs import CATALOG
from workers.packaging.spec_check import check_spec

MACROS = (Path(__file__).parents[3] / "workers" / "packaging" / "macros" / "fedora.macros").read_text(
    encoding="utf-8"
)
hostile = st.text(alphabet=st.sampled_from(list("%({[)}]\\\n\r\t#*-@:; ab1\u2028\x00\x1b\x85€")), max_size=60)
numbers = st.integers(0, 999_999)
SLOW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def versions(draw: st.DrawFn, family: str) -> Version:
    """A version of a stream that the family has or inherits, pre-releases among them."""
    first = CATALOG.families[family].first_stream
    minor = draw(st.one_of(st.integers(first.minor, first.minor + 12), st.integers(first.minor, 999_999)))
    words = ("", "", "alpha.1", "beta.0", "rc.1", "rc1", "rc")
    return Version(first.major, minor, draw(numbers), draw(st.sampled_from(words)))


@st.composite
def catalogues(draw: st.DrawFn) -> Catalog:
    """The built-in catalogue with other names, authors, licenses and reasons, where ``validate`` lets them pass."""
    families, packaging = dict(CATALOG.families), dict(CATALOG.packaging)
    name = draw(st.sampled_from(sorted(families)))
    prefix = draw(st.from_regex(r"[a-z0-9][a-z0-9._+-]{0,20}", fullmatch=True))
    author = draw(st.from_regex(r"[A-Za-z .'-]{1,30} <[a-z0-9.]{1,20}@[a-z0-9.]{1,20}>", fullmatch=True))
    license_ = draw(st.sampled_from(["MIT", "Apache-2.0 OR MIT", "(MIT AND ISC) OR GPL-2.0-or-later"]))
    streams = {
        stream: replace(policy, facts={**policy.facts, "license": license_}, confirmed=draw(st.booleans()))
        for stream, policy in families[name].streams.items()
    }
    families[name] = replace(families[name], name_pattern=f"{prefix}{{stream}}", streams=streams)
    packaging[name] = replace(packaging[name], changelog_author=author)
    reason = draw(st.text(min_size=1, max_size=120))
    strategies = {key: replace(each, why=reason) for key, each in CATALOG.strategies.items()}
    rows = tuple(replace(row, why=reason) for row in CATALOG.workarounds)
    made = replace(CATALOG, families=families, packaging=packaging, strategies=strategies, workarounds=rows)
    try:
        validate(made)
    except BadCatalog:
        assume(False)
    return made


@st.composite
def requests(draw: st.DrawFn, catalog: Catalog) -> SpecRequest:
    family = catalog.families[draw(st.sampled_from(sorted(catalog.families)))]
    version = draw(versions(family.name))
    wazero = draw(st.sampled_from(["", "v1.8.2", "v1.10.1"]))
    facts = SourceFacts(
        draw(st.sampled_from(["archive", "catalogue"])),
        go=draw(st.from_regex(r"1\.[0-9]{1,2}(\.[0-9]{1,2})?", fullmatch=True)),
        wazero=wazero if family.name == "cri-o" else "",
        nri=draw(st.sampled_from(["", "v0.9.1-0.20250219030224-e597e7849f24"])),
        commit=draw(st.sampled_from(["", "ab" * 20])),
        license=draw(st.sampled_from(["", "MIT AND ISC"])),
    )
    vendored = [name for name in ("wazero", "nri") if getattr(facts, name)]
    possible = [
        name
        for name in catalog.strategies
        if not catalog.strategy_refusal(family, version.stream, name, vendored)
    ]
    number = draw(numbers) + 1
    entry = ChangelogEntry(
        draw(st.dates(date(2000, 1, 1), date(2037, 1, 1))), f"{version.rpm}-0.{number}", draw(hostile)
    )
    return SpecRequest(
        family=family.name,
        package=family.package(version.stream),
        version=version,
        branch=draw(st.sampled_from(sorted(catalog.branches))),
        strategy=draw(st.sampled_from(possible)),
        facts=facts,
        release_number=number,
        released_on=draw(st.dates(date(2000, 1, 1), date(2037, 1, 1))),
        changelog=(entry,),
        style=draw(st.sampled_from(STYLES)),
    )


class Tags(ParserHooks):
    """The first value of each tag, by its name in lower case."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    def tag_found(self, name: str, value: str, tag_raw: object) -> None:
        self.tags.setdefault(name.lower(), value)


def read(spec: SpecFile, dist: str) -> tuple[str, str, str]:
    """Name, version and release as norpm reads them."""
    registry = MacroRegistry()
    macrofile_parse(MACROS, registry)
    registry["dist"], registry["fedora"] = dist, dist.removeprefix(".fc")
    hooks = Tags()
    # norpm takes a comment with a colon for a tag, so comments go first; what they hold is tried below.
    text = "\n".join(line for line in spec.text.split("\n") if not line.startswith("#"))
    specfile_expand(text, registry, hooks)
    return hooks.tags["name"], hooks.tags["version"], hooks.tags["release"]


def planned(request: SpecRequest, dist: str) -> tuple[str, str, str]:
    release = f"0.{request.release_number}" if request.style == "srpm" else "1"
    return request.package, request.version.rpm, f"{release}{dist}"


@given(data=st.data())
@QUICK
def test_a_spec_reads_back_as_the_planned_nvr(data: st.DataObject) -> None:
    catalog = data.draw(catalogues())
    request = data.draw(requests(catalog))
    dist = catalog.branches[request.branch].branch.dist
    assert read(render_spec(request, catalog), dist) == planned(request, dist)


@given(data=st.data())
@SLOW
def test_rpmspec_reads_the_same(data: st.DataObject) -> None:
    catalog = data.draw(catalogues())
    request = data.draw(requests(catalog))
    branch = catalog.branches[request.branch].branch
    tags = check_spec(render_spec(request, catalog), branch=branch)
    assert (tags["Name"], tags["Version"], tags["Release"]) == planned(request, branch.dist)


def shape(text: str) -> tuple[int, list[str]]:
    """How many lines outside comments a spec has, and every macro that RPM would expand in it."""
    lines = [line for line in text.split("\n") if not line.startswith("#")]
    macros = re.findall(r"%[{(\[A-Za-z_!?*#][^\s}]*", "\n".join(lines).replace("%%", ""))
    return len(lines), macros


def commented(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith("#")]


PLAIN = SpecRequest(
    family="cri-o",
    package="cri-o1.36",
    version=Version.parse("1.36.3"),
    branch="f44",
    strategy="default",
    facts=SourceFacts("archive", "1.26.3", "v1.10.1", "v0.11.0"),
    release_number=1,
    released_on=date(2026, 11, 2),
    changelog=(ChangelogEntry(date(2026, 11, 2), "1.36.3-0.1", "Update"),),
)
SHAPE = shape(render_spec(PLAIN, CATALOG).text)


def with_text(place: str, text: str) -> tuple[SpecRequest, Catalog]:
    """A hostile text in one place of the catalogue or of what a source says."""
    family, packaging = CATALOG.families["cri-o"], CATALOG.packaging["cri-o"]
    if place in ("go", "wazero", "nri", "commit", "sha256", "url", "license", "licensed_by"):
        facts = replace(
            PLAIN.facts, **({"license": "MIT"} if place == "licensed_by" else {}), **{place: text}
        )
        return replace(PLAIN, facts=facts), CATALOG
    if place == "changelog":
        return replace(PLAIN, changelog=(replace(PLAIN.changelog[0], text=text),)), CATALOG
    if place == "evr":
        return replace(PLAIN, style="dist-git", changelog=(replace(PLAIN.changelog[0], evr=text),)), CATALOG
    if place == "author":
        mine = {**CATALOG.packaging, "cri-o": replace(packaging, changelog_author=text)}
        return PLAIN, replace(CATALOG, packaging=mine)
    if place == "module":
        mine = {
            **CATALOG.packaging,
            "cri-o": replace(packaging, layout=replace(packaging.layout, module=text)),
        }
        return PLAIN, replace(CATALOG, packaging=mine)
    if place == "package":
        # Reading the file refuses single braces; doubled ones reach the rules behind it.
        doubled = text.replace("{", "{{").replace("}", "}}")
        named = {**CATALOG.families, "cri-o": replace(family, name_pattern=doubled + "{stream}")}
        package = text + str(PLAIN.version.stream)
        return replace(PLAIN, package=package), replace(CATALOG, families=named)
    if place == "catalogue license":
        streams = {s: replace(p, facts={**p.facts, "license": text}) for s, p in family.streams.items()}
        return PLAIN, replace(
            CATALOG, families={**CATALOG.families, "cri-o": replace(family, streams=streams)}
        )
    if place in ("strategy why", "strategy reference"):
        key = place.partition(" ")[2]
        told: dict[str, Strategy] = {
            name: replace(each, **{key: text}) for name, each in CATALOG.strategies.items()
        }
        return PLAIN, replace(CATALOG, strategies=told)
    key = place.partition(" ")[2]
    rows = tuple(replace(row, **{key: text}) for row in CATALOG.workarounds)
    return PLAIN, replace(CATALOG, workarounds=rows)


PLACES = [
    "go", "wazero", "nri", "commit", "sha256", "url", "license", "licensed_by", "changelog", "evr", "author",
    "module", "package", "catalogue license", "strategy why", "strategy reference", "row why",
    "row reference",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@given(text=st.one_of(hostile, st.text(max_size=80)))
@settings(max_examples=40, deadline=None)
def test_no_text_brings_a_line_or_a_macro_along(place: str, text: str) -> None:
    """It is refused, or the spec has the lines and the macros that it has with a tame text in its place."""
    assume(text or place != "wazero")
    request, catalog = with_text(place, text)
    refusal = ""
    try:
        validate(catalog)
        spec = render_spec(request, catalog)
    except (BadCatalog, BadSpec) as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        return
    expected = (
        SHAPE
        if request.style == "srpm"
        else shape(render_spec(replace(PLAIN, style="dist-git"), CATALOG).text)
    )
    assert shape(spec.text) == expected
    for line in commented(spec.text):
        assert line.isprintable() and not re.search(r"%", line.replace("%%", "")), line
        assert not line.endswith("\\")


@given(text=st.one_of(hostile, st.text(max_size=40), st.from_regex(r"v1\.\d+\.\d+.{0,6}")))
@settings(max_examples=200, deadline=None)
def test_a_tag_is_refused_or_plain(text: str) -> None:
    try:
        version = parse_tag(text)
    except BadTag as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert refusal.isprintable()
        return
    assert re.fullmatch(r"v[0-9a-z.-]{5,60}", text) and version.tag == text
