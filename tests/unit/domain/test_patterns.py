"""Patterns that are refused, the data that are checked for them, and what an accepted one costs."""

from __future__ import annotations

import time

import pytest

from service.catalog import load
from service.domain.diagnosis import compile_pattern
from service.domain.patterns import LINE_LIMIT, BadPattern, first_match, safe_pattern

BAD = [
    ("", "must have 4 to 300"),
    ("abc", "must have 4 to 300"),
    ("x" * 301, "must have 4 to 300"),
    ("(a|b)*cde", "repeats a group"),
    ("(a+)+b", "repeats a group"),
    ("(?:ab){2,9}", "repeats a group"),
    (".*needle.*x", "one wide repeat"),
    ("a{1,21}b{1,30}c", "one wide repeat"),
    ("a.*b.*c.*", "one wide repeat"),
    (r"(a)needle\1", "refers back to a group"),
    ("(?P<a>x)(?P=a)", "refers back to a group"),
    ("needle(?=x)", "looks around"),
    ("(?<!needle)x", "looks around"),
    ("(?i)needle", "sets flags"),
    ("needle(", "not a regular expression"),
    ("[abcd", "not a regular expression"),
    ("a*b{0,9}", "fits an empty line"),
]


@pytest.mark.parametrize(("text", "complaint"), BAD)
def test_what_may_be_slow_or_fits_everything_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(BadPattern, match=complaint):
        safe_pattern(text)


@pytest.mark.parametrize(("text", "complaint"), BAD[1:])
def test_diagnoses_are_held_to_the_same(text: str, complaint: str) -> None:
    with pytest.raises(BadPattern, match=f"'match' .*{complaint}"):
        compile_pattern("needle", text)
    with pytest.raises(BadPattern, match="'has' must be one line of at least 4"):
        compile_pattern("abc", "")


def test_workarounds_are_held_to_the_same() -> None:
    """Each of their symptoms would be taken for a diagnosis, too."""
    rows = load(None, copr_owner="x").workarounds
    assert [compile_pattern("needle", text) for row in rows for text in row.symptoms]


@pytest.mark.parametrize(
    "text", ["a+b{1,20}c{1,20}d", "needle.*x+", "needle[*+]{1,20}.*", r"lit\*\+\(.*", "(?:a|b)c.*"]
)
def test_what_is_bounded_is_taken(text: str) -> None:
    assert safe_pattern(text)


def test_every_pattern_of_the_catalogue_is_quick_on_hostile_lines() -> None:
    catalog = load(None, copr_owner="x")
    texts = [text for row in catalog.workarounds for text in row.symptoms]
    texts += [one.match.pattern for cause in catalog.causes for one in cause.patterns if one.match]
    assert len(texts) > 30
    hostile = [
        "undefined reference to `" + "a.entry" * 280,
        "relocation target " + "a." * 990,
        "read-only segment has " * 90,
    ]
    started = time.process_time()
    for text in texts:
        first_match((text,), "\n".join(hostile * 3))
    # Milliseconds a line; what the limit tells is a pattern that runs for minutes.
    assert time.process_time() - started < 20


def test_what_lies_beyond_the_limit_is_not_searched() -> None:
    assert first_match(("needle",), " " * (LINE_LIMIT - 6) + "needle") == "needle"
    assert first_match(("needle",), " " * (LINE_LIMIT - 5) + "needle") == ""
