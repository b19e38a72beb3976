"""docs/specs.md holds the tables of today, and a reason for every difference to Fedora's specs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.spec_tables import BEGIN, END, WHY, differences, ours, tables

PAGE = Path(__file__).parents[2] / "docs" / "specs.md"


def test_the_tables_are_what_rpmspec_says(request: pytest.FixtureRequest) -> None:
    mine = ours()
    assert differences(mine) == set(WHY)
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    wanted = before + tables(mine) + after
    if request.config.getoption("--update-golden", default=False):
        PAGE.write_text(wanted, encoding="utf-8")
        text = wanted
    assert text == wanted, "docs/specs.md: run make golden, and read the diff"
