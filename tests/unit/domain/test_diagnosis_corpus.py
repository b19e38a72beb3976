"""The rules find the known causes in a corpus of real log excerpts, as docs/diagnosis.md says."""

from __future__ import annotations

from collections import Counter

import pytest

from tests import diagnosis_corpus as corpus
from tests.diagnosis_corpus import UNKNOWN, Excerpt

RULES = corpus.causes()
EXCERPTS = corpus.excerpts()


@pytest.mark.parametrize(
    "excerpt", [one for one in EXCERPTS if one.part == "known"], ids=lambda one: str(one.name)
)
def test_known_excerpts(excerpt: Excerpt) -> None:
    verdict = corpus.judge(excerpt, RULES)
    assert (verdict.rule or UNKNOWN) == excerpt.expect
    assert any(line.decisive or not verdict.rule for line in verdict.excerpt)


def test_the_corpus_is_what_the_document_says() -> None:
    assert len(EXCERPTS) >= 40
    held_back = [one for one in EXCERPTS if one.part == "held back"]
    assert len(held_back) * 3 >= len(EXCERPTS)
    names = {rule.id for rule in RULES} | {UNKNOWN}
    assert {one.expect for one in EXCERPTS} <= names
    assert all(one.source and any(one.lines) for one in EXCERPTS)
    public = [one for one in EXCERPTS if one.source.startswith("https://github.com/")]
    assert len(public) >= 40
    assert len({one.lines for one in EXCERPTS}) == len(EXCERPTS)


# What is known of CRI-O's own trouble (R1 to R12), and what a packager expects of any tool that reads logs.
EXPECTED_OF_US = {
    "wazero-undefined", "text-relocations", "textrel-accepted", "textrel-at-run-time", "go-too-old",
    "macro-missing-in-preamble", "macro-unexpanded", "autorelease-unexpanded", "changelog-malformed", "illegal-version",
    "license-check", "other-linker", "dependency-missing", "disk-full", "out-of-memory", "network-in-build", "timeout",
    "test-failure", "patch-does-not-apply", "files-unpackaged", "files-not-found", "mirror-trouble", "builder-lost",
    "arch-excluded",
}  # fmt: skip


def test_every_rule_has_an_excerpt_and_the_expected_ones_have_two() -> None:
    known = Counter(one.expect for one in EXCERPTS if one.part == "known")
    assert {rule.id for rule in RULES} <= set(known)
    assert {rule.id for rule in RULES} >= EXPECTED_OF_US
    assert {id_ for id_ in EXPECTED_OF_US if known[id_] < 2} == set()


def test_the_table_in_the_document_is_measured() -> None:
    """The figures are written by ``python -m tests.diagnosis_corpus``: a changed rule shows in their diff."""
    assert corpus.written() == corpus.table()


def test_a_wrong_cause_is_rare() -> None:
    """A cause that is named is the right one in nine cases of ten, also where the rules had not seen the log."""
    judged = [(one.expect, corpus.judge(one, RULES).rule) for one in EXCERPTS]
    named = [(expect, said) for expect, said in judged if said]
    assert sum(expect == said for expect, said in named) >= 0.9 * len(named)
