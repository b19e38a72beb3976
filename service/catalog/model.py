"""What the catalogue is made of, once its files have been read. Frozen, and free of TOML."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from service.domain.diagnosis import Cause
from service.domain.errors import BadCatalog
from service.domain.planning import BranchPolicy, BuildTarget, Family
from service.domain.proofs import Proof
from service.domain.side_tags import SideTagPolicy
from service.domain.sources import SourceLayout
from service.domain.versions import Stream

OPEN_END = 10_000
"""Above any number of a Fedora branch."""


@dataclass(frozen=True)
class StreamRange:
    """An inclusive range of streams; None is an open end."""

    first: Stream | None = None
    last: Stream | None = None

    def __contains__(self, stream: Stream) -> bool:
        above = self.first is None or stream >= self.first
        return above and (self.last is None or stream <= self.last)

    def meets(self, other: StreamRange) -> bool:
        """Whether some stream may lie in both ranges."""
        return _starts_before(self, other) and _starts_before(other, self)


def _starts_before(one: StreamRange, other: StreamRange) -> bool:
    return one.first is None or other.last is None or one.first <= other.last


@dataclass(frozen=True)
class Template:
    """One spec template and the streams that it serves."""

    file: str
    streams: StreamRange
    text: str


@dataclass(frozen=True)
class Packaging:
    """How one family becomes a source package: archive, templates, small sources, signature.

    ``files`` are sources of every SRPM; ``dist_git_files`` lie beside the spec in dist-git only, and their names
    may hold ``{package}``.
    """

    layout: SourceLayout
    templates: tuple[Template, ...]
    changelog_author: str
    files: Mapping[str, str] = field(default_factory=dict)
    dist_git_files: Mapping[str, str] = field(default_factory=dict)

    def template(self, stream: Stream) -> Template:
        """The template of ``stream``. Raises BadCatalog where none serves it."""
        for template in self.templates:
            if stream in template.streams:
                return template
        raise BadCatalog(f"no template serves stream {stream}")


@dataclass(frozen=True)
class Strategy:
    """One way of meeting wazero's assembly, chosen per target.

    ``guards`` says whether the spec's ``%check`` refuses an unsound binary. ``first_stream`` is the oldest
    stream that the strategy works for. ``without`` names vendored modules that a source must not have for it.
    """

    id: str
    why: str
    guards: bool
    first_stream: Stream | None = None
    without: frozenset[str] = frozenset()
    reference: str = ""


@dataclass(frozen=True)
class ToolchainFact:
    """Something that the compilers and linkers of some branches do, so that rows need not name the branches.

    Branches are Fedora numbers, inclusive, None is open. ``simulate`` are linker flags that make another linker
    behave alike, for proofs on other machines.
    """

    id: str
    first_branch: int | None
    last_branch: int | None
    simulate: tuple[str, ...]
    why: str
    reference: str


@dataclass(frozen=True)
class Workaround:
    """One row of ``workarounds.toml``: when it applies, what it adds, why, and how it is proved.

    ``requires`` names vendored modules (``wazero``, ``nri``); ``toolchain`` are facts that must hold on the
    branch. Branches are Fedora numbers, inclusive, None is open. ``macros``, ``linker_flags`` and ``build_tags``
    are data that rows combine; nothing is pasted. ``symptoms`` are patterns of log lines that the row's trouble
    writes. ``free_of`` are ids of findings (``service.domain.binaries``) that a binary built with it lacks.
    """

    id: str
    families: frozenset[str]
    strategies: frozenset[str]
    streams: StreamRange
    requires: frozenset[str]
    first_branch: int | None
    last_branch: int | None
    macros: Mapping[str, str]
    linker_flags: tuple[str, ...]
    build_tags: tuple[str, ...]
    toolchain: tuple[ToolchainFact, ...]
    symptoms: tuple[str, ...]
    free_of: frozenset[str]
    proof: Proof
    why: str
    reference: str

    @property
    def branch_range(self) -> tuple[int, int]:
        """Fedora's numbers from and to which the row holds, both inclusive; empty where to is below from."""
        ranges = [(self.first_branch, self.last_branch)]
        ranges += [(fact.first_branch, fact.last_branch) for fact in self.toolchain]
        return max(first or 0 for first, _ in ranges), min(last or OPEN_END for _, last in ranges)

    @property
    def sha256(self) -> str:
        """Changes with everything that a proof of the row depends on, and not with its prose."""
        parts = [
            sorted(self.macros.items()), self.linker_flags, self.build_tags, self.symptoms, sorted(self.free_of),
            [(fact.id, fact.simulate) for fact in self.toolchain], self.proof,
        ]  # fmt: skip
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def holds_on(self, branch_number: int) -> bool:
        """Whether the row applies on the branch with Fedora's number ``branch_number``."""
        first, last = self.branch_range
        return first <= branch_number <= last


@dataclass(frozen=True)
class Catalog:
    """Everything that is data, in the files' order."""

    families: Mapping[str, Family]
    packaging: Mapping[str, Packaging]
    branches: Mapping[str, BranchPolicy]
    targets: tuple[BuildTarget, ...]
    strategies: Mapping[str, Strategy]
    toolchain: Mapping[str, ToolchainFact]
    workarounds: tuple[Workaround, ...]
    systems: tuple[str, ...]
    causes: tuple[Cause, ...] = ()
    side_tag_sets: Mapping[str, SideTagPolicy] = field(default_factory=dict)

    def family_of(self, repository: str) -> Family | None:
        """The family whose upstream is ``owner/name`` on GitHub (letter case aside), or None."""
        wanted = repository.lower()
        return next((f for f in self.families.values() if f.repository.lower() == wanted), None)

    def is_confirmed(self, family: str, stream: Stream) -> bool:
        """Whether a person has looked at the stream; not so where the catalogue has no such stream at all."""
        known = self.families.get(family)
        policy = known.policy(stream) if known else None
        return policy is not None and policy.confirmed

    def is_built(self, family: str) -> bool:
        """Whether any target takes the family."""
        return any(family in target.families for target in self.targets)

    def strategy_refusal(self, family: Family, stream: Stream, wanted: str, vendored: Iterable[str]) -> str:
        """Why a source of ``stream`` that vendors these modules cannot have a strategy; empty text if it can."""
        strategy = self.strategies.get(wanted)
        if strategy is None:
            return f"the catalogue has no strategy {wanted[:40]!r}; it has {', '.join(self.strategies)}"
        if family.strategies and wanted not in family.strategies:
            return f"{family.name} cannot have the strategy {wanted}, only {', '.join(family.strategies)}"
        if strategy.first_stream is not None and stream < strategy.first_stream:
            return f"strategy {wanted} works from stream {strategy.first_stream} on, not for {stream}"
        needless = sorted(strategy.without & set(vendored))
        if needless:
            return f"strategy {wanted} is not for a source that vendors {needless[0]}: it would not link"
        return ""

    def target(self, target_id: str) -> BuildTarget | None:
        """The target with that id, or None."""
        return next((target for target in self.targets if target.id == target_id), None)
