"""Reads and checks ``workarounds.toml``: strategies, facts about toolchains, and workarounds.

Rows apply in the order of the file, and so do their flags: of two contradicting ``-z`` flags the linker obeys
the last one. Two rows that can meet in one spec and contradict each other are refused here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from service.catalog.model import OPEN_END, Strategy, ToolchainFact, Workaround
from service.catalog.tables import ID, Table, check_form
from service.catalog.targets import known_branch
from service.domain.binaries import FINDINGS
from service.domain.errors import BadCatalog
from service.domain.patterns import BadPattern, safe_pattern
from service.domain.planning import BranchPolicy
from service.domain.proofs import Proof, Reach, Scenario

REQUIRABLE = frozenset({"wazero", "nri"})
"""The vendored modules that a workaround may require of the source, and a strategy forbid."""

_MACRO = re.compile(r"[A-Za-z_]\w{2,59}", re.ASCII)
_MACRO_VALUE = re.compile(r"[\w ,.:=/+-]{1,200}", re.ASCII)
_FLAG = re.compile(r"-[\w,.=/+-]{1,100}", re.ASCII)
_TAG = re.compile(r"[a-z]\w{0,59}", re.ASCII)
_ADDRESS = re.compile(r"https://[^\s%\\\"'<>]{1,300}", re.ASCII)
# The linker obeys the last one of each pair, so two rows that ask for both contradict each other.
_OPPOSITES = {
    "-Wl,-z,defs": "-Wl,-z,undefs",
    "-Wl,-z,text": "-Wl,-z,notext",
    "-Wl,-z,now": "-Wl,-z,lazy",
    "-Wl,-z,relro": "-Wl,-z,norelro",
}


def read_strategies(rows: Table) -> Mapping[str, Strategy]:
    """Return the ``[[strategy]]`` rows by id. Raises BadCatalog."""
    strategies: dict[str, Strategy] = {}
    for row in rows.rows("strategy"):
        strategy = Strategy(
            id=row.text("id"),
            why=row.text("why"),
            guards=row.flag("guards"),
            first_stream=row.optional_stream("first_stream"),
            without=frozenset(row.texts("without", ())),
            reference=row.text("reference", ""),
        )
        if strategy.id in strategies:
            raise row.wrong("id", f"'{strategy.id}' is there twice")
        strategies[strategy.id] = strategy
        row.done()
    return strategies


def read_toolchain(rows: Table, branches: Mapping[str, BranchPolicy]) -> Mapping[str, ToolchainFact]:
    """Return the ``[[toolchain]]`` rows by id. Raises BadCatalog."""
    facts: dict[str, ToolchainFact] = {}
    for row in rows.rows("toolchain"):
        first, last = _branches(row, branches)
        fact = ToolchainFact(
            id=row.new_id(facts),
            first_branch=first,
            last_branch=last,
            simulate=_each_fitting(row, "simulate", _FLAG),
            why=row.text("why"),
            reference=row.fitting("reference", _ADDRESS),
        )
        facts[fact.id] = fact
        row.done()
    return facts


def read_workarounds(
    rows: Table, branches: Mapping[str, BranchPolicy], toolchain: Mapping[str, ToolchainFact]
) -> tuple[Workaround, ...]:
    """Return the ``[[workaround]]`` rows in the file's order. Raises BadCatalog, also for two that contradict."""
    found: dict[str, Workaround] = {}
    for row in rows.rows("workaround"):
        identity = row.new_id(found)
        row.place = f"workaround {identity}"
        workaround = _read_workaround(row, identity, branches, toolchain)
        unknown = [name for name in workaround.proof.beside if name not in found]
        if unknown:
            raise row.wrong("proof", f"beside: {unknown[0][:40]!r} is no row above this one")
        for other in found.values():
            key, complaint = _contradiction(other, workaround)
            if complaint:
                raise row.wrong(key, complaint)
        found[identity] = workaround
    return tuple(found.values())


def check_workaround(
    row: Workaround, families: Mapping[str, object], strategies: Mapping[str, object]
) -> None:
    """Check that the families and strategies of a workaround exist. Raises BadCatalog."""
    for key, given, known in (
        ("families", row.families, families),
        ("strategies", row.strategies, strategies),
    ):
        unknown = sorted(given - set(known))
        if unknown:
            raise BadCatalog(f"workarounds.toml: workaround {row.id}.{key}: unknown: {unknown[0][:40]!r}")


def check_strategy(strategy: Strategy) -> None:
    """Check the texts of a strategy, and that it forbids known modules only. Raises BadCatalog."""
    place = f"strategy {strategy.id}"
    check_form("workarounds.toml", f"{place}.id", ID, strategy.id)
    if strategy.reference:
        check_form("workarounds.toml", f"{place}.reference", _ADDRESS, strategy.reference)
    unknown = sorted(strategy.without - REQUIRABLE)
    if unknown:
        raise BadCatalog(f"workarounds.toml: {place}.without: unknown: {unknown[0][:40]!r}")


def _read_workaround(
    row: Table,
    identity: str,
    branches: Mapping[str, BranchPolicy],
    toolchain: Mapping[str, ToolchainFact],
) -> Workaround:
    first, last = _branches(row, branches)
    workaround = Workaround(
        id=identity,
        families=frozenset(row.texts("families")),
        strategies=frozenset(row.texts("strategies")),
        streams=row.streams(),
        requires=frozenset(_each_known(row, "requires", REQUIRABLE)),
        first_branch=first,
        last_branch=last,
        macros=_macros(row),
        linker_flags=_each_fitting(row, "linker_flags", _FLAG),
        build_tags=_each_fitting(row, "build_tags", _TAG),
        toolchain=tuple(toolchain[name] for name in _each_known(row, "toolchain", toolchain)),
        symptoms=_symptoms(row),
        free_of=frozenset(_each_known(row, "free_of", FINDINGS)),
        proof=_proof(row),
        why=row.text("why"),
        reference=row.fitting("reference", _ADDRESS),
    )
    if not (workaround.macros or workaround.linker_flags or workaround.build_tags):
        raise row.wrong("macros", "the row adds nothing: give macros, linker_flags or build_tags")
    if workaround.proof.scenario is Scenario.OPTIONAL_LINKNAME and not workaround.build_tags:
        raise row.wrong("proof", f"the scenario {workaround.proof.scenario} is for rows with build_tags")
    lowest, highest = workaround.branch_range
    if lowest > highest:
        raise row.wrong("toolchain", "with its facts and branches the row holds on no branch")
    row.done()
    return workaround


def _branches(row: Table, branches: Mapping[str, BranchPolicy]) -> tuple[int | None, int | None]:
    """Return the Fedora numbers of ``first_branch`` and ``last_branch``, each None where it is missing."""
    numbers: list[int | None] = []
    for key in ("first_branch", "last_branch"):
        if not row.has(key):
            numbers.append(None)
            continue
        numbers.append(known_branch(row, key, row.text(key), branches).number)
    first, last = numbers
    if first is not None and last is not None and first > last:
        raise row.wrong("last_branch", "is older than first_branch")
    return first, last


def _macros(row: Table) -> Mapping[str, str]:
    macros = row.mapping("macros")
    for name, value in macros.items():
        if not _MACRO.fullmatch(name):
            raise row.wrong("macros", f"{name[:60]!r} is not the name of a macro")
        if not isinstance(value, str) or not _MACRO_VALUE.fullmatch(value):
            raise row.wrong("macros", f"{name} must be a plain text, not {value!r}"[:200])
    if "__golang_extldflags" in macros:
        raise row.wrong("macros", "__golang_extldflags is made from all rows' linker_flags; use those")
    return macros


def _symptoms(row: Table) -> tuple[str, ...]:
    patterns = row.texts("symptoms")
    if not patterns:
        raise row.wrong("symptoms", "must name at least one pattern of a log line")
    for pattern in patterns:
        try:
            safe_pattern(pattern)
        except BadPattern as error:
            raise row.wrong("symptoms", f"{pattern[:60]!r} {error}") from error
    return patterns


def _proof(row: Table) -> Proof:
    table = row.table("proof")
    scenario, reach = table.text("scenario"), table.text("reach")
    if scenario not in set(Scenario):
        raise row.wrong("proof", f"unknown scenario {scenario[:40]!r}; there are {', '.join(Scenario)}")
    if reach not in set(Reach):
        raise row.wrong("proof", f"reach must be {' or '.join(Reach)}, not {reach[:40]!r}")
    proof = Proof(Scenario(scenario), Reach(reach), table.texts("beside", ()))
    table.done()
    return proof


def _contradiction(one: Workaround, other: Workaround) -> tuple[str, str]:
    """Return the key of ``other`` that contradicts ``one``, and how; two empty texts where they agree."""
    if not _can_meet(one, other):
        return "", ""
    for macro in sorted(set(one.macros) & set(other.macros)):
        if one.macros[macro] != other.macros[macro]:
            return "macros", f"{one.id} sets the macro {macro} to another value"
    for flag, opposite in _OPPOSITES.items():
        for here, there in ((flag, opposite), (opposite, flag)):
            if here in other.linker_flags and there in one.linker_flags:
                return "linker_flags", f"{here} contradicts {there}, which {one.id} adds"
    for key, mine, theirs in (
        ("linker_flags", other.linker_flags, one.linker_flags),
        ("build_tags", other.build_tags, one.build_tags),
    ):
        repeated = sorted(set(mine) & set(theirs))
        if repeated:
            return key, f"{one.id} adds {repeated[0]} too"
    return "", ""


def _can_meet(one: Workaround, other: Workaround) -> bool:
    """Return whether both may apply to one spec."""
    (one_first, one_last), (other_first, other_last) = one.branch_range, other.branch_range
    return bool(
        one.families & other.families
        and one.strategies & other.strategies
        and one.streams.meets(other.streams)
        and max(one_first, other_first) <= min(one_last, other_last, OPEN_END)
    )


def _each_fitting(row: Table, key: str, form: re.Pattern[str]) -> tuple[str, ...]:
    texts = row.texts(key, ())
    for text in texts:
        if not form.fullmatch(text):
            raise row.wrong(key, f"{text[:80]!r} does not have the expected form")
    for one, other in itertools.combinations(texts, 2):
        if _OPPOSITES.get(one) == other or _OPPOSITES.get(other) == one:
            raise row.wrong(key, f"{one} and {other} contradict each other")
    return texts


def _each_known(row: Table, key: str, known: Mapping[str, object] | frozenset[str]) -> tuple[str, ...]:
    texts = row.texts(key, ())
    for text in texts:
        if text not in known:
            raise row.wrong(key, f"unknown: {text[:40]!r}; there are {', '.join(sorted(known)) or 'none'}")
    return texts
