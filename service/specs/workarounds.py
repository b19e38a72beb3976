"""Selects the workarounds that a spec needs and makes its lines of them: macros, linker flags, build tags. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from service.catalog import Catalog, Workaround
from service.domain.errors import BadSpec
from service.domain.specs import SpecRequest
from service.specs.template import comment

MODULE_MODE = ("gomodulesmode", "GO111MODULE=on")


def applicable(request: SpecRequest, catalog: Catalog) -> tuple[Workaround, ...]:
    """Return the workarounds (rows of the table) that apply to the request, in the order of the table.

    Raises BadSpec for a branch that the catalogue does not know, and for a strategy that the family, the stream
    or the source cannot have.
    """
    stream = request.version.stream
    vendored = {name for name in ("wazero", "nri") if getattr(request.facts, name)}
    refusal = catalog.strategy_refusal(catalog.families[request.family], stream, request.strategy, vendored)
    if refusal:
        raise BadSpec(refusal)
    branch = catalog.branches.get(request.branch)
    if branch is None:
        raise BadSpec(f"branch {request.branch[:40]!r} is not in the catalogue")
    return tuple(
        row
        for row in catalog.workarounds
        if request.family in row.families
        and request.strategy in row.strategies
        and stream in row.streams
        and row.requires <= vendored
        and row.holds_on(branch.branch.number)
    )


def macros(rows: Iterable[Workaround]) -> dict[str, str]:
    """Return the macros of all rows, name to value; the catalogue's validation has refused rows that disagree."""
    return {name: value for row in rows for name, value in row.macros.items()}


def builds_in_module_mode(rows: Iterable[Workaround]) -> bool:
    """Whether the rows make ``%gobuild`` build in module mode, which the section's exports must match."""
    return MODULE_MODE in macros(rows).items()


def build_tags(rows: Iterable[Workaround]) -> tuple[str, ...]:
    """Return the Go build tags that the rows add, in their order."""
    return tuple(tag for row in rows for tag in row.build_tags)


def linker_block(rows: Sequence[Workaround]) -> str:
    """Return the ``%global`` lines of the rows, each under its rows' reasons and references.

    All linker flags meet in the one macro ``__golang_extldflags``, in the order of the rows. The block must
    stand before the first ``%gobuild``, after which it has no effect. Build tags are set in ``%build``; the block
    says why. Empty where there are no rows.
    """
    blocks: list[str] = []
    for name, value in macros(rows).items():
        reasons = [_reason(row) for row in rows if name in row.macros]
        blocks.append("\n".join([*reasons, f"%global {name} {value}"]))
    flagged = [row for row in rows if row.linker_flags]
    if flagged:
        flags = " ".join(flag for row in flagged for flag in row.linker_flags)
        blocks.append("\n".join([*map(_reason, flagged), f"%global __golang_extldflags {flags}"]))
    tagged = [row for row in rows if row.build_tags]
    if tagged:
        tags = " ".join(tag for row in tagged for tag in row.build_tags)
        blocks.append("\n".join([*map(_reason, tagged), f"# Build tags that it adds below: {tags}"]))
    return "\n\n".join(blocks)


def _reason(row: Workaround) -> str:
    return comment(f"{row.id}: {row.why}") + "\n" + comment(f"See {row.reference}")
