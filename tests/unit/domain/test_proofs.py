"""The verdict on a workaround from a trial without it and one with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.catalog import load
from service.domain.binaries import Finding, Grade
from service.domain.proofs import (
    MEANINGS,
    SCENARIOS,
    Reach,
    Scenario,
    Trial,
    Verdict,
    in_words,
    may_be_retired,
    verdict,
)

TEXTREL = Finding("textrel", Grade.UNSOUND, "it has text relocations")
FAILS = Trial("go build", linked=False, symptom="undefined reference to `entry'")
ODD = Trial("go build", linked=False)
STARTS = Trial("go build", linked=True, started=True, findings=(TEXTREL,))
CALLS = Trial("go build", linked=True, started=True, called=True)
DIES = Trial("go build", linked=True)


@pytest.mark.parametrize(
    ("without", "with_row", "reach", "free_of", "expected"),
    [
        (FAILS, CALLS, Reach.CALL, {"textrel"}, Verdict.CURES),
        (FAILS, STARTS, Reach.START, (), Verdict.CURES),
        (FAILS, STARTS, Reach.CALL, (), Verdict.NEEDED),
        (FAILS, STARTS, Reach.START, {"textrel"}, Verdict.NEEDED),
        (FAILS, DIES, Reach.START, (), Verdict.NEEDED),
        (FAILS, ODD, Reach.START, (), Verdict.NEEDED),
        # A binary that links and is unsound is trouble too, without any line in the log.
        (STARTS, CALLS, Reach.CALL, {"textrel"}, Verdict.CURES),
        (CALLS, CALLS, Reach.CALL, {"textrel"}, Verdict.NO_LONGER_NEEDED),
        (CALLS, STARTS, Reach.CALL, (), Verdict.WORSE),
        (CALLS, ODD, Reach.CALL, (), Verdict.WORSE),
        (ODD, CALLS, Reach.CALL, (), Verdict.UNTRIED),
    ],
)
def test_verdicts(
    without: Trial, with_row: Trial, reach: Reach, free_of: set[str], expected: Verdict
) -> None:
    assert verdict(without, with_row, reach=reach, free_of=free_of) is expected


def test_a_rule_is_retired_only_if_it_was_tried_and_nobody_needs_it() -> None:
    assert not may_be_retired([])
    assert may_be_retired([Verdict.NO_LONGER_NEEDED, Verdict.WORSE])
    for needed in (Verdict.CURES, Verdict.NEEDED, Verdict.UNTRIED):
        assert not may_be_retired([Verdict.NO_LONGER_NEEDED, needed])


def test_every_word_has_its_meaning() -> None:
    assert set(MEANINGS) == set(Verdict)
    assert set(SCENARIOS) == set(Scenario)


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        (FAILS, "does not link"),
        (ODD, "does not link, for another reason"),
        (DIES, "links, does not start"),
        (STARTS, "links, starts, crashes when called (textrel)"),
        (replace(CALLS, called=None), "links, starts"),
        (CALLS, "links, starts and calls"),
    ],
)
def test_trials_in_words(trial: Trial, words: str) -> None:
    ids = [finding.id for finding in trial.findings]
    assert in_words(trial.linked, trial.symptom, trial.started, trial.called, ids) == words


def test_a_row_that_changes_loses_its_proof_and_new_prose_does_not_matter() -> None:
    row = load(None, copr_owner="x").workarounds[0]
    assert replace(row, why="in other words", reference="https://example.org/").sha256 == row.sha256
    for change in (
        {"linker_flags": ("-Wl,-z,undefs",)},
        {"macros": {}},
        {"build_tags": ("x",)},
        {"free_of": frozenset()},
        {"symptoms": ("another",)},
    ):
        assert replace(row, **change).sha256 != row.sha256, change  # type: ignore[arg-type]
