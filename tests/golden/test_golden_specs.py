"""Every stream × strategy that differs, as a whole spec: ``make golden`` writes, a person reads the diff."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from service.catalog import Catalog, load
from service.domain.specs import ChangelogEntry, SourceFacts, SpecFile, SpecRequest
from service.domain.versions import Version
from service.specs.render import catalogue_facts, render_spec
from workers.specs_check import check_spec

HERE = Path(__file__).parent
CATALOG = load(None, copr_owner="@golden")
DAY = date(2026, 11, 2)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
VERSIONS = ("1.31.13", "1.32.1", "1.33.13", "1.34.11", "1.35.6", "1.36.3", "1.37.1", "1.40.0")


def _cells() -> Iterator[tuple[str, str, str]]:
    """(version, strategy, branch); compat twice, because its rows differ from Fedora 44 on.

    Left out is what could not differ: strategies of a source without wazero, most of an unknown minor.
    """
    for version in VERSIONS:
        stream = Version.parse(version).stream
        for strategy in CATALOG.strategies.values():
            if strategy.first_stream is not None and stream < strategy.first_stream:
                continue
            if strategy.id != "default" and (
                version == "1.40.0" or (version == "1.31.13" and strategy.id != "none")
            ):
                continue
            branches = ("f43", "f44") if strategy.id == "compat" else ("f44",)
            for branch in branches:
                yield version, strategy.id, branch


def render(
    catalog: Catalog, text: str, strategy: str, branch: str, facts: SourceFacts | None = None
) -> SpecFile:
    version = Version.parse(text)
    told = facts or catalogue_facts(catalog, "cri-o", version)
    archive = SourceFacts("archive", told.go, told.wazero, told.nri, COMMIT, "ab" * 32)
    return render_spec(
        SpecRequest(
            family="cri-o",
            package=catalog.families["cri-o"].package(version.stream),
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
        ),
        catalog,
    )


def _file(version: str, strategy: str, branch: str) -> Path:
    package = CATALOG.families["cri-o"].package(Version.parse(version).stream)
    suffix = f"-{branch}" if strategy == "compat" else ""
    return HERE / f"{package}-{strategy}{suffix}.spec"


@pytest.mark.parametrize(("version", "strategy", "branch"), list(_cells()))
def test_spec_is_the_golden_one(
    version: str, strategy: str, branch: str, request: pytest.FixtureRequest
) -> None:
    spec = render(CATALOG, version, strategy, branch)
    check_spec(spec, branch=CATALOG.branches[branch].branch)
    golden = _file(version, strategy, branch)
    if request.config.getoption("--update-golden", default=False):
        golden.write_text(spec.text, encoding="utf-8")
    expected = golden.read_text(encoding="utf-8") if golden.is_file() else ""
    difference = list(
        difflib.unified_diff(
            expected.splitlines(), spec.text.splitlines(), golden.name, "rendered", lineterm="", n=1
        )
    )
    assert spec.text == expected, "\n".join(difference[:60])


def test_no_golden_file_is_left_over() -> None:
    wanted = {_file(*cell).name for cell in _cells()}
    assert {file.name for file in HERE.glob("*.spec")} == wanted


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("strategy", ["default", "strict", "none"])
def test_one_text_serves_every_branch(version: str, strategy: str) -> None:
    texts = {render(CATALOG, version, strategy, branch).text for branch in CATALOG.branches}
    assert len(texts) == 1
