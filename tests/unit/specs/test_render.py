"""Every spec: strict templates, the workarounds that apply, and no text from outside that RPM would expand."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.catalog import Catalog, load
from service.domain.errors import BadCatalog, BadSpec
from service.domain.sources import SourceFacts
from service.domain.specs import ChangelogEntry, SpecRequest
from service.domain.versions import Version
from service.specs.render import NAMES, catalogue_facts, check_templates, render_spec
from service.specs.template import check, comment, fill, rpm_text
from service.specs.workarounds import applicable, linker_block
from tests.golden.test_golden_specs import CATALOG, DAY, render

STREAM_135 = Version.parse("1.35.0").stream


def request(version: str = "1.32.1", **changes: object) -> SpecRequest:
    parsed = Version.parse(version)
    made = SpecRequest(
        family="cri-o",
        package=f"cri-o{parsed.stream}",
        version=parsed,
        branch="f44",
        strategy="default",
        facts=catalogue_facts(CATALOG, "cri-o", parsed),
        release_number=1,
        released_on=DAY,
        changelog=(ChangelogEntry(DAY, f"{parsed.rpm}-0.1", "Update"),),
    )
    return replace(made, **changes)


def active_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


@pytest.mark.parametrize(
    ("version", "strategy", "branch", "rows"),
    [
        ("1.31.13", "default", "rawhide", ()),
        ("1.31.13", "compat", "f44", ()),
        ("1.32.1", "default", "f43", ("go-module-mode", "ld-undefs")),
        ("1.32.1", "strict", "f45", ("go-module-mode",)),
        ("1.33.0", "compat", "f43", ("ld-undefs",)),
        ("1.34.0", "compat", "f44", ("ld-undefs", "ld-notext")),
        ("1.36.3", "compat", "rawhide", ("ld-undefs", "ld-notext")),
        ("1.35.6", "no-wasm", "f44", ("go-module-mode", "nri-no-wasm")),
        ("1.31.13", "none", "f44", ()),
        ("1.52.0", "default", "f44", ("go-module-mode", "ld-undefs")),
    ],
)
def test_rows_that_apply(version: str, strategy: str, branch: str, rows: tuple[str, ...]) -> None:
    asked = request(version, strategy=strategy, branch=branch)
    assert tuple(row.id for row in applicable(asked, CATALOG)) == rows
    assert render_spec(asked, CATALOG).workarounds == rows


def test_the_archive_decides_not_the_stream() -> None:
    """A 1.31 that vendors wazero needs the rows, and a 1.36 that no longer does needs none."""
    with_wazero = replace(request("1.31.13").facts, wazero="v1.8.2")
    assert render_spec(request("1.31.13", facts=with_wazero), CATALOG).workarounds == (
        "go-module-mode",
        "ld-undefs",
    )
    without = replace(request("1.36.3").facts, wazero="")
    spec = render_spec(request("1.36.3", facts=without), CATALOG)
    assert spec.workarounds == ()
    assert "__golang_extldflags" not in spec.text


def test_flags_of_two_rows_meet_in_one_macro() -> None:
    block = linker_block(applicable(request(strategy="compat", branch="f44"), CATALOG))
    assert re.findall(r"^%global .*$", block, re.MULTILINE) == [
        "%global __golang_extldflags -Wl,-z,undefs -Wl,-z,notext"
    ]
    assert block.count("# See https://") == 2
    assert linker_block([]) == ""


@pytest.mark.parametrize("version", ["1.32.1", "1.34.11", "1.37.1", "1.40.0"])
def test_globals_stand_before_the_first_build(version: str) -> None:
    lines = active_lines(render(CATALOG, version, "default", "f44").text)
    build = next(number for number, line in enumerate(lines) if line.startswith("%gobuild"))
    for macro in ("%global gomodulesmode GO111MODULE=on", "%global __golang_extldflags -Wl,-z,undefs"):
        assert lines.index(macro) < build


@pytest.mark.parametrize(("strategy", "module_mode", "guards"), [
    ("default", True, True),
    ("strict", True, True),
    ("compat", False, False),
    ("no-wasm", True, True),
])  # fmt: skip
def test_exports_and_guards(strategy: str, module_mode: bool, guards: bool) -> None:
    text = render(CATALOG, "1.36.3", strategy, "f44").text
    build = text[text.index("\n%build\n") : text.index("\n%install\n")]
    checks = text[text.index("\n%check\n") : text.index("\n%post\n")]
    assert ("export GO111MODULE=on" in build) is module_mode
    assert ('export GOFLAGS="-mod=vendor -buildvcs=false"' in build) is module_mode
    assert "-buildvcs=false" in build
    assert "GOPROXY=off" in build
    assert "GO111MODULE=on" in checks
    assert 'export GOFLAGS="-mod=vendor -buildvcs=false"' in checks
    assert ("readelf -dW bin/crio > crio.dynamic" in checks) is guards
    assert ("nm -D --undefined-only bin/crio > crio.undefined" in checks) is guards
    # Only in module mode does Go write down dependencies, so only there their absence is a fault.
    assert ("go version -m bin/crio > crio.modules" in checks) is (guards and module_mode)
    assert checks.count("%gocheck2 ") == 1
    if guards:
        assert checks.index("readelf") < checks.index("%gocheck2 ")


def test_versioned_metadata() -> None:
    text = render(CATALOG, "1.32.1", "default", "f44").text
    lines = text.splitlines()
    assert "Name:           cri-o1.32" in lines
    assert "Release:        0.2%{?dist}" in lines
    assert "Provides:       crio = %{version}-%{release}" in lines
    assert "Conflicts:      crio" in lines
    assert "ocid" not in text
    assert "autorelease" not in text
    assert "autochangelog" not in text
    assert "%goprep -k" in lines
    assert "%bcond check 1" in lines


def test_what_the_commit_and_the_date_come_from() -> None:
    facts = replace(request("1.36.3").facts, commit="a" * 40)
    with_commit = render_spec(request("1.36.3", facts=facts), CATALOG).text
    assert f"internal/version.buildCommit={'a' * 40}" in with_commit
    assert "buildCommit" not in render_spec(request("1.36.3"), CATALOG).text
    assert "buildCommit" not in render_spec(request("1.35.6", facts=facts), CATALOG).text
    assert "${SOURCE_DATE_EPOCH:-1793577600}" in with_commit


def test_spec_says_where_its_facts_come_from() -> None:
    told = render_spec(request(), CATALOG).text
    assert "# Taken from the catalogue, because no source archive was at hand" in told
    read = render_spec(
        request(facts=replace(request().facts, origin="archive", sha256="0" * 64)), CATALOG
    ).text
    assert "# Read from the source archive (sha256" in read
    assert "Taken from the catalogue" not in read


def test_unknown_minor_says_so() -> None:
    words = "# Stream 1.40 is newer than the catalogue, so this is the template of 1.37"
    assert words in render(CATALOG, "1.40.0", "default", "f44").text
    assert "newer than the catalogue" not in render(CATALOG, "1.37.1", "default", "f44").text


def test_a_listed_stream_that_nobody_confirmed_says_so() -> None:
    family = CATALOG.families["cri-o"]
    policy = replace(family.streams[STREAM_135], confirmed=False)
    unsure = replace(family, streams={**family.streams, STREAM_135: policy})
    catalog = replace(CATALOG, families={**CATALOG.families, "cri-o": unsure})
    text = render(catalog, "1.35.6", "default", "f44").text
    assert "# Nobody has confirmed yet what the catalogue says of stream 1.35." in text


def test_prerelease() -> None:
    spec = render_spec(request("1.33.0-rc.1"), CATALOG)
    assert "Version:        1.33.0~rc.1" in spec.text
    assert "%global tag             v1.33.0-rc.1" in spec.text
    assert (spec.version, spec.source_name) == ("1.33.0~rc.1", "cri-o-1.33.0-rc.1.tar.gz")


def test_changelog_is_english_and_escaped() -> None:
    entries = (
        ChangelogEntry(
            date(2026, 11, 2), "1.32.1-0.1", "100% %(touch /tmp/x)\n* Mon Jan 01 2001 x - 1-1\n%prep \\"
        ),
        ChangelogEntry(date(2025, 3, 5), "1.32.0-0.1", ""),
    )
    text = render_spec(request(changelog=entries), CATALOG).text
    assert text.split("\n%changelog\n")[1].splitlines() == [
        "* Mon Nov 02 2026 cryopack <cryopack@localhost.localdomain> - 1.32.1-0.1",
        "- 100%% %%(touch /tmp/x) * Mon Jan 01 2001 x - 1-1 %%prep",
        "",
        "* Wed Mar 05 2025 cryopack <cryopack@localhost.localdomain> - 1.32.0-0.1",
        "- No text",
    ]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"family": "podman"}, "family 'podman' is not in the catalogue"),
        ({"strategy": "best"}, "has no strategy 'best'"),
        ({"strategy": "no-wasm"}, "works from stream 1.35 on"),
        ({"strategy": "none"}, "not for a source that vendors wazero"),
        ({"style": "koji"}, "style 'koji' is neither srpm nor dist-git"),
        ({"facts": SourceFacts("archive", "1.23", license="MIT\nName: x")}, "not an SPDX license"),
        ({"branch": "f12"}, "branch 'f12' is not in the catalogue"),
        ({"package": "cri-o1.33"}, "is packaged as cri-o1.32"),
        ({"release_number": 0}, "below 1"),
        ({"changelog": ()}, "must begin with 1.32.1-0.1, not with nothing"),
        ({"release_number": 2}, "must begin with 1.32.1-0.2, not with 1.32.1-0.1"),
        ({"facts": SourceFacts("archive", "1.23\n%(id)")}, "not a Go version"),
        ({"facts": SourceFacts("archive", "")}, "not a Go version"),
        ({"facts": SourceFacts("archive", "1.23", wazero="v1 %(id)")}, "not a version of wazero"),
        ({"facts": SourceFacts("archive", "1.23", commit="deadbeef")}, "not a full git commit"),
        ({"facts": SourceFacts("rumour", "1.23")}, "archive or catalogue"),
    ],
)
def test_requests_that_do_not_fit(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadSpec, match=complaint) as caught:
        render_spec(request(**changes), CATALOG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1.28.4", "2.0.0", "0.3.0"])
def test_streams_that_the_catalogue_does_not_have(text: str) -> None:
    version = Version.parse(text)
    asked = replace(request(), version=version, package=f"cri-o{version.stream}")
    with pytest.raises(BadSpec, match="has no stream"):
        render_spec(asked, CATALOG)


hostile = st.text(alphabet=st.sampled_from(list("%({[)}]\\\n\r\t#*-@ab1\u2028\x00\x1b\x85€")), max_size=80)


@given(text=st.one_of(hostile, st.text(max_size=500)), sha256=hostile, url=hostile)
@settings(max_examples=200, deadline=None)
def test_nothing_from_outside_becomes_a_macro_or_a_line(text: str, sha256: str, url: str) -> None:
    """Texts from outside add no lines and no macros to the spec."""
    facts = replace(request("1.36.3").facts, origin="archive", sha256=sha256, url=url)
    spoken = render_spec(
        request("1.36.3", facts=facts, changelog=(ChangelogEntry(DAY, "1.36.3-0.1", text),)), CATALOG
    )
    silent = render_spec(
        request(
            "1.36.3",
            facts=replace(facts, sha256="", url=""),
            changelog=(ChangelogEntry(DAY, "1.36.3-0.1", "x"),),
        ),
        CATALOG,
    )

    def macros(of: str) -> list[str]:
        return re.findall(r"%[{(\[A-Za-z_][^\s}]*", of.replace("%%", ""))

    assert macros(spoken.text) == macros(silent.text)
    assert len(spoken.text.split("\n")) == len(silent.text.split("\n"))
    assert all(line.isprintable() for line in spoken.text.split("\n"))


@given(
    facts=st.one_of(
        st.builds(SourceFacts, st.just("archive"), hostile),
        st.builds(SourceFacts, st.just("archive"), st.just("1.23"), wazero=hostile.filter(bool)),
        st.builds(SourceFacts, st.just("archive"), st.just("1.23"), nri=hostile.filter(bool)),
        st.builds(SourceFacts, st.just("archive"), st.just("1.23"), commit=hostile.filter(bool)),
    )
)
@settings(max_examples=100, deadline=None)
def test_facts_of_a_wrong_form_are_refused_in_one_line(facts: SourceFacts) -> None:
    with pytest.raises(BadSpec) as caught:
        render_spec(request("1.36.3", facts=facts), CATALOG)
    assert str(caught.value).isprintable()


@given(st.text(max_size=600))
@settings(max_examples=300, deadline=None)
def test_rpm_text(text: str) -> None:
    safe = rpm_text(text)
    assert len(safe.splitlines()) <= 1
    assert "%" not in safe.replace("%%", "")
    assert "\\" not in safe
    assert len(safe) <= 800
    for line in comment(text).splitlines():
        assert line.startswith("# ")


def fill_135(text: str, **values: str) -> str:
    return fill(text, file="t", stream=STREAM_135, values=values)


def test_template_language() -> None:
    text = (
        "a @{x}\n@if stream >= 1.35\nnew\n@if y\nboth\n@end\n@else\nold\n@end\n"
        "@if stream <= 1.34\nolder\n@end\n@{x}@{x}"
    )
    assert fill_135(text, x="1", y="yes") == "a 1\nnew\nboth\n11\n"
    assert fill_135(text, x="1", y="") == "a 1\nnew\n11\n"
    assert fill(text, file="t", stream=Version.parse("1.34.0").stream, values={"x": "@{y}", "y": ""}) == (
        "a @{y}\nold\nolder\n@{y}@{y}\n"
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ok\n@{nobody}", "t:2: unknown name 'nobody'"),
        ("@{}", "t:1: unknown name ''"),
        ("@{x }", "t:1: unknown name 'x '"),
        ("@if nobody\n@end", "t:1: unknown name 'nobody'"),
        ("@if\n@end", "t:1: '' is not a condition"),
        ("@if stream > 1.35\n@end", "is not a condition"),
        ("@if stream >= 1\n@end", "is not a condition"),
        ("@if x", "t:1: this @if is never closed"),
        ("@end", "t:1: @end without an open @if"),
        ("@else", "t:1: @else without an open @if"),
        ("@if x\n@else\n@else\n@end", "t:3: @else without an open @if"),
        ("@if x\n@else y\n@end", "t:2: @else takes nothing"),
        ("@elif x", "t:1: '@elif x' is not @if, @else or @end"),
        ("@ if x", "is not @if"),
    ],
)
def test_malformed_templates(text: str, complaint: str) -> None:
    with pytest.raises(BadCatalog, match=re.escape(complaint)):
        fill_135(text, x="1")
    with pytest.raises(BadCatalog, match=re.escape(complaint)):
        check(text, file="t", names={"x"})


def test_an_unfilled_place_is_refused_and_a_closed_block_is_still_checked() -> None:
    with pytest.raises(BadSpec, match=r"t:1: nothing to fill in for @\{x\}"):
        fill_135("a @{x}", x="")
    text = "@if stream >= 1.99\n@{nobody}\n@end"
    assert fill_135(text) == "\n"
    with pytest.raises(BadCatalog, match="t:2: unknown name 'nobody'"):
        check(text, file="t", names=NAMES)


def test_check_templates_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog: Catalog = load(None, copr_owner="x")
    packaging = catalog.packaging["cri-o"]
    spoiled = replace(packaging.templates[0], text="Name: @{pakage}\n")
    broken = replace(catalog, packaging={"cri-o": replace(packaging, templates=(spoiled,))})
    with pytest.raises(BadCatalog, match=r"families/cri-o/cri-o\.spec\.in:1: unknown name 'pakage'"):
        check_templates(broken)
