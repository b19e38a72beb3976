"""Families, release styles and strategies: what each may be combined with, and what its specs say."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from service.catalog import load
from service.domain.planning import plan
from service.domain.specs import STYLES
from service.domain.versions import Stream, Version
from service.specs.render import render_spec
from tests.golden.test_golden_specs import CATALOG, render
from tests.unit.specs.test_render import active_lines, request

TODAY = date(2026, 11, 24)


def test_sibling_families_are_there_and_off() -> None:
    catalog = load(None, copr_owner="x")
    assert set(catalog.families) == {"cri-o", "cri-tools", "kubernetes"}
    assert [name for name in catalog.families if catalog.is_built(name)] == ["cri-o"]
    assert catalog.families["kubernetes"].package(Stream(1, 32)) == "kubernetes1.32"
    for name in ("cri-tools", "kubernetes"):
        decision = plan(
            Version.parse("1.32.0"),
            family=catalog.families[name],
            targets=catalog.targets,
            branches=catalog.branches,
            today=TODAY,
        )
        assert decision.reason == f"no target builds it: no build target takes the family {name}"


def test_a_target_that_takes_siblings_builds_them_with_their_own_strategy() -> None:
    catalog = load(None, copr_owner="x")
    taking = replace(catalog.targets[0], families=tuple(catalog.families))
    strategies = {}
    for family in catalog.families.values():
        decision = plan(
            Version.parse("1.35.0"),
            family=family,
            targets=[taking, *catalog.targets[1:]],
            branches=catalog.branches,
            today=TODAY,
        )
        strategies[family.name] = [(build.package, build.strategy) for build in decision.builds]
    assert strategies["cri-o"] == [("cri-o1.35", "default")] * 4
    assert strategies["cri-tools"] == [("cri-tools1.35", "none")]
    assert strategies["kubernetes"] == [("kubernetes1.35", "none")]


@pytest.mark.parametrize(
    ("family", "stream", "strategy", "vendored", "refusal"),
    [
        ("cri-o", "1.32", "default", ["wazero"], ""),
        ("cri-o", "1.31", "none", ["nri"], ""),
        ("cri-o", "1.32", "none", ["nri", "wazero"], "strategy none is not for a source that vendors wazero"),
        ("cri-o", "1.34", "no-wasm", ["wazero"], "strategy no-wasm works from stream 1.35 on, not for 1.34"),
        ("cri-o", "1.35", "no-wasm", ["wazero"], ""),
        ("cri-o", "1.35", "best", [], "the catalogue has no strategy 'best'; it has default, strict"),
        ("kubernetes", "1.35", "none", [], ""),
        ("kubernetes", "1.35", "strict", [], "kubernetes cannot have the strategy strict, only none"),
        ("cri-tools", "1.35", "compat", [], "cri-tools cannot have the strategy compat, only none"),
    ],
)
def test_strategies_that_cannot_be_had(
    family: str, stream: str, strategy: str, vendored: list[str], refusal: str
) -> None:
    catalog = load(None, copr_owner="x")
    told = catalog.strategy_refusal(catalog.families[family], Stream.parse(stream), strategy, vendored)
    assert told.startswith(refusal) and bool(told) is bool(refusal)


def test_dist_git_style() -> None:
    spec = render(CATALOG, "1.36.3", "default", "f44", style="dist-git")
    lines = spec.text.splitlines()
    assert "Release:        %autorelease" in lines
    assert lines[lines.index("%changelog") + 1 :] == ["%autochangelog"]
    assert "%bcond license_check 1" in lines
    assert "%goprep -k" in lines and not any(line.startswith("Source1:") for line in lines)
    assert list(spec.dist_git_files) == ["cri-o1.36.rpmlintrc", "gating.yaml"]
    assert list(spec.files) == ["go-vendor-tools.toml"]
    assert render(CATALOG, "1.36.3", "default", "f44").dist_git_files == {}
    assert spec.release == "1"


@pytest.mark.parametrize(
    ("version", "strategy", "branch", "style"),
    [
        (v, s, "f44", t)
        for v in ("1.36.3",)
        for s in ("default", "strict", "compat", "no-wasm")
        for t in STYLES
    ]
    + [("1.31.13", "none", "f44", style) for style in STYLES],
)
def test_every_strategy_says_why_and_where(version: str, strategy: str, branch: str, style: str) -> None:
    spec = render(CATALOG, version, strategy, branch, style=style)
    prose = " ".join(line.removeprefix("# ") for line in spec.text.splitlines() if line.startswith("#"))
    assert f"Strategy {strategy}: {CATALOG.strategies[strategy].why.replace('%', '%%')}" in prose
    for row in CATALOG.workarounds:
        if row.id in spec.workarounds:
            assert f"{row.id}: {row.why.replace('%', '%%')} See {row.reference}" in prose
    assert "ocid" not in spec.text


def test_a_computed_license_is_the_spec_s() -> None:
    facts = replace(
        request("1.36.3").facts, license="MIT AND Apache-2.0", licensed_by="go-vendor-tools 0.13.0"
    )
    text = render_spec(request("1.36.3", facts=facts), CATALOG).text
    assert "License:        MIT AND Apache-2.0\n" in text
    assert "# The License expression below was computed from this source by go-vendor-tools 0.13.0." in text
    assert "was not computed" in render_spec(request("1.36.3"), CATALOG).text


@pytest.mark.parametrize("family", ["cri-tools", "kubernetes"])
def test_versioned_siblings(family: str) -> None:
    spec = render(CATALOG, "1.32.0", "none", "f44", family=family)
    assert spec.name == f"{family}1.32.spec"
    assert f"Provides:       {family} = %{{version}}-%{{release}}" in spec.text
    assert f"Conflicts:      {family}\n" in spec.text
    assert "%gobuild" not in "\n".join(active_lines(spec.text))
    prerelease = render(CATALOG, "1.33.0-rc.1", "none", "f44", family=family)
    assert "%global tag             v1.33.0-rc.1" in prerelease.text
    assert "Version:        1.33.0~rc.1" in prerelease.text


def test_the_kubelet_takes_its_own_minor_of_cri_o() -> None:
    text = render(CATALOG, "1.32.0", "none", "f44", family="kubernetes").text
    for name in ("crio", "cri-o"):
        assert f"Conflicts:      {name} < 1.32\nConflicts:      {name} >= 1.33\n" in text
