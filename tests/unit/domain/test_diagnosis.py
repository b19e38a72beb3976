"""Reading logs: which lines decide, which section counts, what is shown, and what hostile logs may cost."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator

import pytest

from service.domain.diagnosis import (
    MATCHES_KEPT,
    TRIES_LIMIT,
    Cause,
    Fault,
    Outcome,
    Reader,
    Retry,
    best_verdict,
    compile_pattern,
    diagnose,
    in_words,
)
from service.domain.patterns import LINE_LIMIT
from tests.diagnosis_corpus import causes


def cause(id_: str, has: str, match: str = "", **more: object) -> Cause:
    fields: dict[str, object] = {
        "cause": f"cause {id_}", "advice": "do", "reference": "https://x", "fault": Fault.PACKAGE, "retry": Retry.NO,
    }  # fmt: skip
    return Cause(id=id_, patterns=(compile_pattern(has, match),), **{**fields, **more})  # type: ignore[arg-type]


DISK = cause("disk", "No space left", anywhere=True)
TEST = cause("test", "--- FAIL:", r"--- FAIL: (?P<what>\w{1,50})", cause="a test failed[: {what}]")


def test_the_decisive_lines_are_shown_with_their_numbers_and_neighbours() -> None:
    lines = [f"line {n}" for n in range(1, 2001)]
    lines[1499] = "write: No space left on device"
    verdict = diagnose(lines, [DISK])
    assert verdict.rule == "disk"
    assert [(line.number, line.decisive) for line in verdict.excerpt] == [
        (1498, False), (1499, False), (1500, True), (1501, False), (1502, False), (1503, False),
    ]  # fmt: skip
    assert verdict.excerpt[0].text == "line 1498"
    assert verdict.lines == 2000


@pytest.mark.parametrize("at", [0, 510, 511, 512, 513, 1023, 1024, 1999])
def test_neighbours_across_the_edges_of_batches(at: int) -> None:
    lines = [f"line {n}" for n in range(2000)]
    lines[at] = "No space left on device"
    excerpt = diagnose(lines, [DISK]).excerpt
    assert [line.number for line in excerpt] == list(range(max(at - 1, 1), min(at + 4, 2000) + 1))
    assert all(line.text == lines[line.number - 1] for line in excerpt)


def test_many_decisive_lines_show_the_first() -> None:
    verdict = diagnose(["No space left"] * 10_000, [DISK])
    assert sum(line.decisive for line in verdict.excerpt) == MATCHES_KEPT


def test_the_first_rule_wins_whatever_comes_first_in_the_log() -> None:
    verdict = diagnose(["--- FAIL: TestX (0.1s)", "No space left on device"], [DISK, TEST])
    assert (verdict.rule, verdict.also) == ("disk", ("test",))


def test_what_a_section_that_ended_well_said_is_no_cause() -> None:
    log = [
        "Executing(%check): /bin/sh -e /var/tmp/rpm-tmp.a",
        "--- FAIL: TestFlaky (0.1s)",
        "Executing(%install): /bin/sh -e /var/tmp/rpm-tmp.b",
        "cp: cannot stat 'crio.8': gone",
        "error: Bad exit status from /var/tmp/rpm-tmp.b (%install)",
    ]
    verdict = diagnose(log, [TEST])
    assert (verdict.rule, verdict.section) == ("", "install")
    assert verdict.cause == "unknown cause in %install: cp: cannot stat 'crio.8': gone"
    assert diagnose(log[:2], [TEST]).rule == "test"


def test_a_rule_of_the_surroundings_counts_anywhere() -> None:
    log = ["tar: No space left on device", "Executing(%build): /bin/sh", "error: odd"]
    assert diagnose(log, [DISK]).rule == "disk"


def test_rules_for_green_logs_are_asked_there_only() -> None:
    green = cause("textrel", "creating DT_TEXTREL", of=Outcome.SUCCEEDED)
    log = ["ld: warning: creating DT_TEXTREL in a PIE", "Executing(%install): /bin/sh", "Wrote: crio.rpm"]
    assert diagnose(log, [green], succeeded=True).rule == "textrel"
    assert diagnose(log, [green]).rule == ""
    assert diagnose(["error: x"], [green, DISK], succeeded=True).excerpt == ()


def test_groups_fill_the_texts() -> None:
    assert diagnose(["--- FAIL: TestPins (0.1s)"], [TEST]).cause == "a test failed: TestPins"
    assert in_words("a test failed[: {what}]", {}) == "a test failed"
    assert in_words("Go[ {has}] is older than {needs}", {"needs": "1.26"}) == "Go is older than 1.26"


UNKNOWN = [
    "Executing(%build): /bin/sh -e /var/tmp/rpm-tmp.{tmp}",
    "[2026-11-{day} 10:11:12,345] /builddir/BUILD/cri-o1.32-{version}/x.c:{line}: quux: error: no frob in {arch}",
    "make: *** [Makefile:{line}: all] Error 1",
    "error: Bad exit status from /var/tmp/rpm-tmp.{tmp} (%build)",
]


def test_the_same_unknown_cause_on_five_branches_is_one_cluster() -> None:
    logs = [
        [
            line.format(tmp=f"aB{n}c", day=20 + n, version=f"1.32.{n}", line=100 + 7 * n, arch=arch)
            for line in UNKNOWN
        ]
        for n, arch in enumerate(["x86_64", "aarch64", "ppc64le", "s390x", "x86_64"])
    ]
    verdicts = [diagnose(log, causes()) for log in logs]
    assert {verdict.rule for verdict in verdicts} == {""}
    assert len({verdict.fingerprint for verdict in verdicts}) == 1
    other = diagnose([line.replace("frob", "gizmo") for line in logs[0]], causes())
    assert other.fingerprint != verdicts[0].fingerprint


def test_an_empty_log_has_a_cluster_too() -> None:
    verdict = diagnose([], causes())
    assert (verdict.rule, verdict.cause) == ("", "unknown cause: the log is empty")
    assert re.fullmatch("[0-9a-f]{16}", verdict.fingerprint)


def test_of_several_logs_the_best_rule_speaks() -> None:
    rules = causes()
    build = diagnose(["error: Bad exit status from /var/tmp/rpm-tmp.x (%build)"], rules)
    root = diagnose(["Error: Failed to download metadata for repo 'fedora'"], rules)
    assert best_verdict([("build.log", build), ("root.log", root)], rules)[0] == "root.log"
    assert best_verdict([("build.log", build)], rules)[0] == "build.log"


def test_hostile_lines_are_harmless() -> None:
    """Endless lines, control characters, and lines that make patterns try: bounded work, bounded memory."""
    rules = [cause("greedy", "undefined reference", r"undefined reference to .[^ ]*entrypoint'"), DISK]
    evil = "undefined reference to `github.com/tetratelabs/wazero/" + "entrypoint" * 10_000
    reader = Reader(rules)
    reader.feed(["\x1b[31m\x00<script>alert(1)</script>" * 1000, "x" * 5_000_000, "\udcff error: half"])
    reader.feed([evil] * (TRIES_LIMIT + 500))
    reader.feed(["No space left on device"])
    assert sum(reader._tries.values()) == TRIES_LIMIT
    verdict = reader.verdict()
    assert verdict.rule == "disk"
    assert all(len(line.text) <= LINE_LIMIT for line in verdict.excerpt)
    unknown = diagnose(["\x1b[31merror:\x00 <script>alert(1)</script>"], rules)
    assert unknown.cause == "unknown cause: error:  <script>alert(1)</script>"


def test_memory_does_not_grow_with_the_log() -> None:
    def lines(count: int) -> Iterator[str]:
        return (f"[{n}] error: undefined FAILED line {n} of a long log\n" for n in range(count))

    diagnose(lines(2_000), causes())
    peaks = []
    for count in (5_000, 20_000):
        tracemalloc.start()
        diagnose(lines(count), causes())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000
