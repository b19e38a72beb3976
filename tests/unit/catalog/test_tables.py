"""TOML tables: placeholders, tables over tables, and the lines of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.catalog.tables import Lines, Table
from service.domain.errors import BadCatalog

WORDS = {"branch": "f44"}


def table(words: dict[str, str], **data: Any) -> Table:
    return Table("x.toml", "row[1]", data, words)


def test_placeholders_are_filled_in_texts_lists_and_free_tables() -> None:
    row = table(
        WORDS, a="{branch}-{branch}", b=["x{branch}", "y"], c={"d": ["{branch}", 1], "e": {"f": "{branch}"}}
    )
    assert row.text("a") == "f44-f44"
    assert row.texts("b") == ("xf44", "y")
    assert row.mapping("c") == {"d": ["f44", 1], "e": {"f": "f44"}}
    row.done()


def test_a_pattern_keeps_its_own_placeholders_and_doubled_braces() -> None:
    text = table(WORDS, a="{{{branch}}}/{package}").pattern("a", {"package"}, needed={"package"})
    assert text == "{{f44}}/{package}"
    assert text.format(package="x") == "{f44}/x"


def test_without_placeholders_braces_are_plain_characters() -> None:
    assert table({}, a="{branch} {").text("a") == "{branch} {"


@pytest.mark.parametrize("text", ["{other}", "{branch.x}", "{branch:>9}", "{}", "{", "}"])
def test_another_placeholder_is_refused_with_its_key(text: str) -> None:
    for read in (Table.text, Table.texts, Table.mapping):
        value: Any = {Table.text: text, Table.texts: [text], Table.mapping: {"b": text}}[read]
        with pytest.raises(
            BadCatalog, match=r"^x\.toml: row\[1\]\.a(?:\.b)?: (may hold only {branch}|unbalanced)"
        ):
            read(table(WORDS, a=value), "a")


def test_a_list_that_repeats_itself_once_filled_is_refused() -> None:
    with pytest.raises(BadCatalog, match="names something twice"):
        table(WORDS, a=["f44", "{branch}"]).texts("a")


def test_a_table_over_another_replaces_keys_and_goes_into_tables() -> None:
    below = table({}, a=1, b={"x": 1, "y": {"z": 1}}, c=["l"])
    above = Table("x.toml", "row[1].per_branch.f44", {"b": {"y": {"w": 2}}, "c": ["m"], "d": "{branch}"})
    both = above.over(below, WORDS)
    assert both.place == "row[1]"
    assert both.number("a", low=0, high=9) == 1
    assert both.mapping("b") == {"x": 1, "y": {"z": 1, "w": 2}}
    assert both.texts("c") == ("m",) and both.text("d") == "f44"


def test_lines_are_found_by_number_by_name_and_by_what_is_around() -> None:
    lines = Lines(
        'a = 1\n[b.c]\nd = """\nkey = 2\n"""\n[[row]]\nx = 1\nid = "one"\n[[row]]\nid = "two"\ny = 2\n'
    )
    places = ["a", "b.c", "b.c.d", "row[1].x", "row one", "row one.x", "row[2].y", "row two.y", "row two.z"]
    assert [lines.find(place) for place in places] == [1, 2, 3, 7, 6, 7, 11, 11, 9]
    assert lines.find("nothing.here") == 0


def test_lines_of_tables_in_rows_and_of_rows_for_several_branches(own: Path) -> None:
    text = (
        '[[row]]\nid = "{branch}-x"\nbranches = ["f44", "rawhide"]\na = 1\nb.c = 2\n[row.t]\nd = 3\n'
        '[row.per_branch.rawhide]\na = 4\n[row.per_branch."rawhide".t]\nd = 5\n[[row]]\nid = "y"\n[row.t]\nd = 6\n'
    )
    lines = Lines(text)
    places = [
        "row f44-x",
        "row f44-x.a",
        "row rawhide-x.a",
        "row rawhide-x.b.c",
        "row f44-x.t.d",
        "row rawhide-x.t.d",
    ]
    assert [lines.find(place) for place in places] == [1, 4, 9, 5, 7, 11]
    assert [lines.find(place) for place in ("row[1].t.d", "row[2].t.d", "row y.t.d", "row y.t")] == [
        7,
        15,
        15,
        14,
    ]
    assert lines.find("row f45-x.a") == 0
