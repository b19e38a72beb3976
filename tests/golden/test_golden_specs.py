"""Rendered specs, one for each stream and strategy that differs, equal the files of ``make golden``."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pytest

from service.catalog import Catalog, load
from service.domain.sources import SourceFacts
from service.domain.specs import STYLES, ChangelogEntry, SpecFile, SpecRequest
from service.domain.versions import Version
from service.specs.render import catalogue_facts, render_spec
from workers.packaging.spec_check import check_spec

HERE = Path(__file__).parent
CATALOG = load(None, copr_owner="@golden")
DAY = date(2026, 11, 2)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
# The last known patch of each stream of CRI-O; of the sibling families the first.
CRI_O = ("1.29.13", "1.30.14", "1.31.13", "1.32.1", "1.33.13", "1.34.11", "1.35.6", "1.36.3", "1.37.1")
UNKNOWN = {"cri-o": "1.40.0", "cri-tools": "1.40.0", "kubernetes": "1.40.0"}
VERSIONS = (*CRI_O, UNKNOWN["cri-o"])


class Spot(NamedTuple):
    """One golden spec."""

    family: str
    version: str
    strategy: str
    branch: str
    style: str

    @property
    def file(self) -> Path:
        package = CATALOG.families[self.family].package(Version.parse(self.version).stream)
        suffix = f"-{self.branch}" if self.strategy == "compat" else ""
        folder = HERE / "dist-git" if self.style == "dist-git" else HERE
        return folder / f"{package}-{self.strategy}{suffix}.spec"


def versions(family: str) -> tuple[str, ...]:
    """One version for each stream of the catalogue, and one of a minor that it does not know."""
    known = CRI_O if family == "cri-o" else tuple(f"{s}.0" for s in CATALOG.families[family].streams)
    return (*known, UNKNOWN[family])


def _spots() -> Iterator[Spot]:
    """Every spec that differs; compat twice, because its rows differ from Fedora 44 on.

    Left out is what could not differ: strategies of a source without wazero, most of an unknown minor.
    """
    for family in CATALOG.families.values():
        for version in versions(family.name):
            facts = catalogue_facts(CATALOG, family.name, Version.parse(version))
            vendored = [name for name in ("wazero", "nri") if getattr(facts, name)]
            for strategy in CATALOG.strategies:
                if CATALOG.strategy_refusal(family, Version.parse(version).stream, strategy, vendored):
                    continue
                alike = not facts.wazero and strategy not in ("default", "none")
                if alike or (version == UNKNOWN[family.name] and strategy != family.strategy("default")):
                    continue
                for branch in ("f43", "f44") if strategy == "compat" else ("f44",):
                    for style in STYLES:
                        yield Spot(family.name, version, strategy, branch, style)


def render(
    catalog: Catalog,
    text: str,
    strategy: str,
    branch: str,
    facts: SourceFacts | None = None,
    *,
    family: str = "cri-o",
    style: str = "srpm",
) -> SpecFile:
    version = Version.parse(text)
    told = facts or catalogue_facts(catalog, family, version)
    archive = SourceFacts("archive", told.go, told.wazero, told.nri, COMMIT, "ab" * 32)
    return render_spec(
        SpecRequest(
            family=family,
            package=catalog.families[family].package(version.stream),
            version=version,
            branch=branch,
            strategy=strategy,
            facts=archive,
            release_number=2,
            released_on=DAY,
            changelog=(
                ChangelogEntry(DAY, f"{version.rpm}-0.2", "Build with other workarounds"),
                ChangelogEntry(date(2026, 11, 1), f"{version.rpm}-0.1", f"Update to upstream {version.tag}"),
            ),
            style=style,
        ),
        catalog,
    )


@pytest.mark.parametrize("spot", list(_spots()), ids=lambda spot: str(spot.file.relative_to(HERE)))
def test_spec_is_the_golden_one(spot: Spot, request: pytest.FixtureRequest) -> None:
    spec = render(CATALOG, spot.version, spot.strategy, spot.branch, family=spot.family, style=spot.style)
    check_spec(spec, branch=CATALOG.branches[spot.branch].branch)
    if request.config.getoption("--update-golden", default=False):
        spot.file.parent.mkdir(exist_ok=True)
        spot.file.write_text(spec.text, encoding="utf-8")
    expected = spot.file.read_text(encoding="utf-8") if spot.file.is_file() else ""
    difference = list(
        difflib.unified_diff(
            expected.splitlines(), spec.text.splitlines(), spot.file.name, "rendered", lineterm="", n=1
        )
    )
    assert spec.text == expected, "\n".join(difference[:60])


def test_no_golden_file_is_left_over(request: pytest.FixtureRequest) -> None:
    wanted = {spot.file for spot in _spots()}
    found = set(HERE.rglob("*.spec"))
    if request.config.getoption("--update-golden", default=False):
        for file in found - wanted:
            file.unlink()
        found &= wanted
    assert found == wanted


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("strategy", ["default", "strict"])
def test_one_text_serves_every_branch(version: str, strategy: str) -> None:
    texts = {render(CATALOG, version, strategy, branch).text for branch in CATALOG.branches}
    assert len(texts) == 1
