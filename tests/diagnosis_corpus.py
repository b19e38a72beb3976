"""The corpus of log excerpts, what the rules make of it, and the table of it that docs/diagnosis.md holds.

``python -m tests.diagnosis_corpus`` writes the table into the document; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.catalog import load
from service.domain.diagnosis import Cause, Verdict, diagnose

ROOT = Path(__file__).parents[1]
FOLDERS = {"known": ROOT / "tests/corpus/known", "held back": ROOT / "tests/corpus/held_back"}
DOCUMENT = ROOT / "docs/diagnosis.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
UNKNOWN = "unknown"
_HEADER = re.compile(r"# (source|expect|outcome): (.+)")


@dataclass(frozen=True)
class Excerpt:
    """One excerpt: where it is from, the rule that a person expects, and its lines without the header."""

    name: str
    part: str
    source: str
    expect: str
    succeeded: bool
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """How often a rule was right: of what it named, and of what was its."""

    right: int
    named: int
    its: int

    def text(self) -> str:
        precision = f"{self.right}/{self.named}" if self.named else "–"
        recall = f"{self.right}/{self.its}" if self.its else "–"
        return f"{precision} | {recall}"


def causes() -> tuple[Cause, ...]:
    return load(None, copr_owner="corpus").causes


def excerpts() -> list[Excerpt]:
    """Every excerpt of both parts, by name."""
    return [read(path, part) for part, folder in FOLDERS.items() for path in sorted(folder.glob("*.log"))]


def read(path: Path, part: str) -> Excerpt:
    lines = path.read_text(encoding="utf-8").split("\n")
    header: dict[str, str] = {}
    while lines and (found := _HEADER.fullmatch(lines[0])):
        header[found[1]] = found[2]
        lines.pop(0)
    return Excerpt(
        name=path.stem, part=part, source=header["source"], expect=header["expect"],
        succeeded=header.get("outcome") == "succeeded", lines=tuple(lines),
    )  # fmt: skip


def judge(excerpt: Excerpt, rules: Sequence[Cause]) -> Verdict:
    return diagnose(excerpt.lines, rules, succeeded=excerpt.succeeded)


def scores(judged: Iterable[tuple[Excerpt, str]], names: Iterable[str]) -> dict[str, Score]:
    pairs = [(excerpt.expect, said) for excerpt, said in judged]
    return {
        name: Score(
            right=sum(expect == said == name for expect, said in pairs),
            named=sum(said == name for _, said in pairs),
            its=sum(expect == name for expect, _ in pairs),
        )
        for name in names
    }


def table() -> str:
    """The Markdown between the marks of docs/diagnosis.md."""
    rules = causes()
    judged = [(one, judge(one, rules).rule or UNKNOWN) for one in excerpts()]
    names = [*(rule.id for rule in rules), UNKNOWN]
    parts = {part: scores([pair for pair in judged if pair[0].part == part], names) for part in FOLDERS}
    out = ["| rule | known: precision | recall | held back: precision | recall |", "|---|---|---|---|---|"]
    out += [
        f"| {name} | " + " | ".join(parts[part][name].text() for part in FOLDERS) + " |" for name in names
    ]
    for part in FOLDERS:
        own = [(one, said) for one, said in judged if one.part == part]
        right = sum(one.expect == said for one, said in own)
        named = [pair for pair in own if pair[1] != UNKNOWN]
        correct = sum(one.expect == said for one, said in named)
        out.append(
            f"\n{part.capitalize()}: {len(own)} excerpts, {right} as expected; a cause was named {len(named)} times, "
            f"{correct} times the right one."
        )
    wrong = [(one, said) for one, said in judged if one.expect != said]
    out.append("\nNot as expected:\n")
    out += [f"- {one.name}: expected {one.expect}, said {said}" for one, said in wrong]
    return "\n".join(out)


def written() -> str:
    """The table as it stands in the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return text.partition(BEGIN)[2].partition(END)[0].strip("\n")


def main() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
