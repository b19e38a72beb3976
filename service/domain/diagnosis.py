"""Diagnoses a build log: rules that name causes, the reading of a log by them, fingerprints for unknown causes.

A log is read once, line by line, with bounded memory and time, whatever it holds. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from service.domain.patterns import LINE_LIMIT, SHORTEST, BadPattern, safe_pattern

_NAME = re.compile(r"\{(\w{1,30})\}")
_OPTIONAL = re.compile(r"\[([^\[\]]{1,200})\]")


class Fault(StrEnum):
    """Whose fault a cause is."""

    PACKAGE = "package"
    INFRASTRUCTURE = "infrastructure"


class Retry(StrEnum):
    """Whether building the same again helps."""

    YES = "yes"
    NO = "no"
    LATER = "later"


class Outcome(StrEnum):
    """Which logs a rule is for: those of failed builds, of succeeded ones, or of both."""

    FAILED = "failed"
    SUCCEEDED = "succeeded"
    ANY = "any"


class RemedyKind(StrEnum):
    """What a remedy does: another strategy, the same again later, or waiting until the branch can build it."""

    STRATEGY = "strategy"
    LATER = "later"
    WAIT = "wait"


class RemedyPolicy(StrEnum):
    """What a target does with a remedy: apply it by itself, suggest it, or neither."""

    AUTO = "auto"
    SUGGEST = "suggest"
    OFF = "off"


@dataclass(frozen=True)
class Pattern:
    """The form of a decisive line: it holds ``has``, and ``match`` (if there is one) is found in it.

    ``has`` is plain text that is searched first, which keeps large logs cheap. The named groups of ``match`` may
    stand in the rule's texts.
    """

    has: str
    match: re.Pattern[str] | None = None

    def find(self, line: str) -> dict[str, str] | None:
        """Return the named groups of a decisive line, without those that took no part; None for any other line."""
        if self.has not in line:
            return None
        if self.match is None:
            return {}
        found = self.match.search(line[:LINE_LIMIT])
        if found is None:
            return None
        return {name: text.strip() for name, text in found.groupdict().items() if text}


@dataclass(frozen=True)
class Remedy:
    """What is tried once after a failure.

    ``strategy`` is the other strategy of the kind STRATEGY, ``minutes`` the time before the next attempt of LATER.
    """

    kind: RemedyKind
    strategy: str = ""
    minutes: int = 0


@dataclass(frozen=True)
class Cause:
    """One rule of diagnosis: the lines that show a cause, what to do about it, and whether to try again.

    ``cause`` is one line; both it and ``advice`` may name groups of the patterns in braces (see ``in_words``).
    ``anywhere``: a line also counts in a section of the log that ended well; without it, only in the section that
    failed. ``named_by`` is the person who named a cluster, for a rule that was made from one; else empty.
    """

    id: str
    patterns: tuple[Pattern, ...]
    cause: str
    advice: str
    reference: str
    fault: Fault
    retry: Retry
    of: Outcome = Outcome.FAILED
    anywhere: bool = False
    remedy: Remedy | None = None
    named_by: str = ""

    def reads(self, *, succeeded: bool) -> bool:
        """Whether the rule is for logs of this outcome."""
        return self.of is Outcome.ANY or (self.of is Outcome.SUCCEEDED) == succeeded

    def groups(self, text: str, *, optional: bool) -> set[str]:
        """Return the groups that ``text`` names, with or without those in square brackets."""
        return set(_NAME.findall(text if optional else _OPTIONAL.sub("", text)))


def in_words(text: str, groups: Mapping[str, str]) -> str:
    """Return ``text`` with its ``{groups}`` filled in.

    A part in square brackets is left out where a group of it is missing; elsewhere ``?`` stands for a missing one.
    """

    def fill(part: str) -> str:
        return _NAME.sub(lambda name: groups.get(name[1], "?"), part)

    def choose(part: re.Match[str]) -> str:
        return fill(part[1]) if set(_NAME.findall(part[1])) <= set(groups) else ""

    return fill(_OPTIONAL.sub(choose, text))


def compile_pattern(has: str, match: str) -> Pattern:
    """Compile a rule's pattern if it is safe on any line. Raises BadPattern with the reason."""
    if len(has) < SHORTEST or "\n" in has:
        raise BadPattern(f"'has' must be one line of at least {SHORTEST} characters, not {has[:40]!r}")
    if not match:
        return Pattern(has)
    try:
        return Pattern(has, safe_pattern(match))
    except BadPattern as error:
        raise BadPattern(f"'match' {error}") from None


FOLDED_LIMIT = 160
_ANSI = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]")
_FOLDS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Timestamps of mock, Koji, COPR and OBS before anything else, while their digits are still there.
        (r"^\[ {0,6}\d{1,7}s\] ", ""),
        (r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})?", "<time>"),
        (r"\b\d{1,2}:\d{2}:\d{2}(?:[.,]\d{1,9})?\b", "<time>"),
        (r"^(?:DEBUG|INFO|ERROR|WARNING) \w{1,30}\.py:\d{1,6}: {1,4}", ""),
        (r"https?://[^\s'\")]{1,300}", "<url>"),
        (r"\brpm-tmp\.\w{1,20}", "rpm-tmp.<x>"),
        (r"\bgo-(?:link|build)-?\d{1,20}", "go-<x>"),
        (r"(?<![\w.])/(?:[\w.+@~%-]{1,100}/){1,40}", "<dir>/"),
        (r"\b(?:x86_64|aarch64|ppc64le|s390x|riscv64|i686|amd64|arm64|noarch)\b", "<arch>"),
        (r"\.(?:fc|el|eln)\d{1,3}\b", ".<dist>"),
        (r"\b0x[0-9a-fA-F]{1,40}\b", "<hex>"),
        (r"\b[0-9a-f]{12,64}\b", "<hex>"),
        (r"\bv?\d{1,6}(?:[.~^-]\d{1,8}){1,6}\w{0,20}", "<version>"),
        (r"\d{1,20}", "<n>"),
        (r"[ \t]{1,200}", " "),
    )
)


def printable(line: str) -> str:
    """Return a line for people: at most 1000 characters, without colours and other control characters."""
    return "".join(c if c.isprintable() else " " for c in _ANSI.sub("", line[:1000])).strip()


def fold(line: str) -> str:
    """Return a line without colours, times, paths, versions, numbers and architectures, to compare failures by."""
    text = printable(line)
    for pattern, replacement in _FOLDS:
        text = pattern.sub(replacement, text)
    return text.strip()[:FOLDED_LIMIT]


def fingerprint(section: str, lines: Iterable[str]) -> str:
    """Return the name of a cluster: 16 hex digits of a SHA-256 over the failed section and the folded lines.

    Order and repeats of the lines do not matter, so that the same trouble has one name on every branch and arch.
    """
    folded = sorted({fold(line) for line in lines} - {""})
    digest = hashlib.sha256("\n".join([section, *folded]).encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


BEFORE, AFTER = 2, 3
"""Lines shown around a decisive one."""
MATCHES_KEPT = 3
"""Decisive lines that are shown of one rule."""
BATCH = 512
"""Lines that are searched together for the plain texts of the patterns."""
TRIES_LIMIT = 2_000
"""How often one pattern's regular expression is tried in one section of a log."""
TRIES_IN_ALL = 50_000
"""How often any is tried in one log: beyond it only plain text counts, so that no log costs hours."""
ERRORS_KEPT = 3
"""Lines that are kept of an unknown failure: the first errors, the last errors, and the end of the log."""
TAIL = 20
SHOWN = 160
"""Characters of a line that stand in the cause of an unknown failure."""
_SECTION = re.compile(r"Executing\(%?(\w{1,40})\):")
_SECTION_HAS = "Executing("
_FAILED_SECTION = re.compile(r"Bad exit status from \S{1,200} \(%(\w{1,40})\)")
# What a line that tells of an unknown failure often holds.
_TELLING = tuple(
    compile_pattern(has, match)
    for has, match in (
        ("error:", ""), ("Error:", ""), ("ERROR:", ""), ("fatal:", ""), ("FATAL", ""), ("panic:", ""),
        ("FAILED", ""), ("undefined", ""), ("annot ", r"\b[Cc]annot\b"), ("not found", ""), ("Traceback", ""),
        ("No such file", ""), ("denied", ""), ("nable to", r"\b[Uu]nable to\b"), ("--- FAIL", ""),
    )
)  # fmt: skip
_NOISE = re.compile(
    r"^\s*(?:\+|Executing\(|RPM build errors:|error: Bad exit status|Bad exit status|ERROR: Exception\(|Finish:|"
    r"make(?:\[\d{1,3}\])?: \*\*\* |collect2: error:|warning:)"
)


@dataclass(frozen=True)
class ExcerptLine:
    """One line of an excerpt: its number in the log (from 1), its text as cut, and whether it is decisive."""

    number: int
    text: str
    decisive: bool = False


@dataclass(frozen=True)
class Verdict:
    """The diagnosis of one log. ``rule`` is empty where no rule fits: then ``fingerprint`` names the cluster.

    ``cause`` and ``advice`` have their groups filled in. ``also`` are the ids of further rules that match.
    ``section`` is the part of the spec that failed (``build``, ``check``), empty if the log does not tell.
    ``lines`` counts the lines of the log.
    """

    rule: str
    cause: str
    advice: str
    excerpt: tuple[ExcerptLine, ...]
    fingerprint: str
    section: str
    lines: int
    also: tuple[str, ...] = ()
    groups: dict[str, str] = field(default_factory=dict)


@dataclass
class _Window:
    """A decisive line with its neighbours; ``wanting`` lines are still to come."""

    lines: list[ExcerptLine]
    wanting: int = AFTER


@dataclass
class _Found:
    """What one rule has found in the section that is being read, or (``anywhere``) in the whole log."""

    groups: dict[str, str]
    windows: list[_Window] = field(default_factory=list)


class Reader:
    """Reads one log by the rules: ``feed`` takes its lines, ``verdict`` ends the reading. For one use.

    ``causes`` are in the order of their rank: the first that matches wins.
    """

    def __init__(self, causes: Sequence[Cause], *, succeeded: bool = False) -> None:
        self._causes = [cause for cause in causes if cause.reads(succeeded=succeeded)]
        self._needles: list[tuple[int, Pattern]] = [
            (rank, pattern) for rank, cause in enumerate(self._causes) for pattern in cause.patterns
        ]
        self._succeeded = succeeded
        self._found: dict[int, _Found] = {}
        self._errors: deque[ExcerptLine] = deque(maxlen=ERRORS_KEPT)
        self._first_errors: list[ExcerptLine] = []
        self._last: deque[str] = deque(maxlen=BEFORE)
        self._tail: deque[ExcerptLine] = deque(maxlen=ERRORS_KEPT)
        self._open: list[_Window] = []
        self._tries: dict[Pattern, int] = {}
        self._tries_left = TRIES_IN_ALL
        self._section = ""
        self._failed = ""
        self.count = 0

    def feed(self, lines: Iterable[str]) -> None:
        """Read the next lines, without their ends. What lies beyond LINE_LIMIT characters is not looked at."""
        for batch in _batches(lines):
            text = "\n".join(batch)
            active = [(rank, pattern) for rank, pattern in self._needles if pattern.has in text]
            telling = [pattern for pattern in _TELLING if pattern.has in text]
            special = _SECTION_HAS in text or "Bad exit status" in text
            if not active and not telling and not special:
                self._skip(batch)
                continue
            for line in batch:
                self._read(line, active, telling)

    def _skip(self, batch: Sequence[str]) -> None:
        """Take a batch in which no pattern can match: only open windows and the last lines need it."""
        if self._open:
            for at, line in enumerate(batch[:AFTER], start=1):
                self._extend(self.count + at, line)
        self._open.clear()
        for at, line in enumerate(batch[-TAIL:], start=self.count + 1 + max(len(batch) - TAIL, 0)):
            self._keep_tail(at, line)
        self.count += len(batch)
        self._last.extend(batch[-BEFORE:])

    def _read(self, line: str, active: Sequence[tuple[int, Pattern]], telling: Sequence[Pattern]) -> None:
        self.count += 1
        if self._open:
            self._extend(self.count, line)
        if _SECTION_HAS in line:
            self._begin_section(line)
        elif "Bad exit status" in line and (ended := _FAILED_SECTION.search(line)):
            self._failed = ended[1]
        for rank, pattern in active:
            if pattern.has in line and self._may_try(pattern):
                groups = pattern.find(line)
                if groups is not None:
                    self._note(rank, groups, line)
        if (
            telling
            and any(p.has in line and p.find(line) is not None for p in telling)
            and not _NOISE.match(line)
        ):
            shown = ExcerptLine(self.count, line, decisive=True)
            if len(self._first_errors) < ERRORS_KEPT:
                self._first_errors.append(shown)
            else:
                self._errors.append(shown)
        else:
            self._keep_tail(self.count, line)
        self._last.append(line)

    def _keep_tail(self, number: int, line: str) -> None:
        if line.strip() and not _NOISE.match(line):
            self._tail.append(ExcerptLine(number, line))

    def _may_try(self, pattern: Pattern) -> bool:
        if pattern.match is None:
            return True
        tried = self._tries.get(pattern, 0)
        if tried >= TRIES_LIMIT or self._tries_left <= 0:
            return False
        self._tries[pattern] = tried + 1
        self._tries_left -= 1
        return True

    def _begin_section(self, line: str) -> None:
        """Begin a section. The one before it ended well: what looked like trouble in it was none."""
        begun = _SECTION.search(line)
        if begun is None or self._failed:
            return
        self._section = begun[1]
        self._errors.clear()
        self._first_errors.clear()
        self._tries.clear()
        if not self._succeeded:
            self._found = {rank: one for rank, one in self._found.items() if self._causes[rank].anywhere}

    def _note(self, rank: int, groups: dict[str, str], line: str) -> None:
        found = self._found.setdefault(rank, _Found(groups))
        found.groups = {**groups, **found.groups}
        if len(found.windows) >= MATCHES_KEPT:
            return
        before = list(self._last)
        first = self.count - len(before)
        lines = [ExcerptLine(first + at, text) for at, text in enumerate(before)]
        window = _Window([*lines, ExcerptLine(self.count, line, decisive=True)])
        found.windows.append(window)
        self._open.append(window)

    def _extend(self, number: int, line: str) -> None:
        for window in self._open:
            window.lines.append(ExcerptLine(number, line))
            window.wanting -= 1
        self._open = [window for window in self._open if window.wanting > 0]

    def verdict(self) -> Verdict:
        """Return the diagnosis. The rule that stands first in the list wins; the others are named in ``also``."""
        section = self._failed or self._section
        ranks = sorted(self._found)
        if not ranks:
            return self._unknown(section)
        cause, found = self._causes[ranks[0]], self._found[ranks[0]]
        excerpt = _merged(window.lines for window in found.windows)
        return Verdict(
            rule=cause.id,
            cause=in_words(cause.cause, found.groups),
            advice=in_words(cause.advice, found.groups),
            excerpt=excerpt,
            fingerprint=fingerprint(section, (line.text for line in excerpt if line.decisive)),
            section=section,
            lines=self.count,
            also=tuple(self._causes[rank].id for rank in ranks[1:]),
            groups=found.groups,
        )

    def _unknown(self, section: str) -> Verdict:
        if self._succeeded:
            return Verdict("", "", "", (), "", section, self.count)
        shown = [*self._first_errors, *self._errors] or list(self._tail)
        where = f" in %{section}" if section else ""
        telling = next((text for line in shown if (text := printable(line.text))), "the log is empty")
        return Verdict(
            rule="",
            cause=f"unknown cause{where}: {telling[:SHOWN]}",
            advice="",
            excerpt=tuple(shown),
            fingerprint=fingerprint(section, (line.text for line in shown)),
            section=section,
            lines=self.count,
        )


def diagnose(lines: Iterable[str], causes: Sequence[Cause], *, succeeded: bool = False) -> Verdict:
    """Read a whole log and return its diagnosis. ``causes`` are in the order of their rank: the first match wins."""
    reader = Reader(causes, succeeded=succeeded)
    reader.feed(lines)
    return reader.verdict()


def best_verdict(verdicts: Iterable[tuple[str, Verdict]], causes: Sequence[Cause]) -> tuple[str, Verdict]:
    """Choose among the diagnoses of several logs of one build, given as (log's name, diagnosis).

    The rule of the best rank wins, then a rule of no rank (a person's), then the first. Raises ValueError for none.
    """
    rank = {cause.id: at for at, cause in enumerate(causes)}
    listed = list(verdicts)
    return min(
        listed, key=lambda named: rank.get(named[1].rule, len(rank)) if named[1].rule else len(rank) + 1
    )


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for line in lines:
        batch.append(line[:LINE_LIMIT])
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _merged(windows: Iterable[Sequence[ExcerptLine]]) -> tuple[ExcerptLine, ...]:
    """Join windows to one excerpt: a line that stands in two of them once, decisive if it is so in one."""
    lines: dict[int, ExcerptLine] = {}
    for window in windows:
        for line in window:
            if line.number not in lines or line.decisive:
                lines[line.number] = line
    return tuple(lines[number] for number in sorted(lines))
