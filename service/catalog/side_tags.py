"""What must hold of side tags in a catalogue."""

from __future__ import annotations

from service.catalog.model import Catalog
from service.domain.errors import BadCatalog
from service.domain.planning import BuildTarget
from service.domain.side_tags import SYSTEMS


def check_side_tag_sets(catalog: Catalog) -> None:
    """Every set has families that exist, and one base on each branch. Raises BadCatalog."""
    for policy in catalog.side_tag_sets.values():
        place = f"targets.toml: side_tag_set {policy.set_id}"
        unknown = sorted(set(policy.families) - set(catalog.families))
        if unknown or not policy.families:
            what = f"unknown family {unknown[0][:40]!r}" if unknown else "must name a family"
            raise BadCatalog(f"{place}.families: {what}")
    bases: dict[tuple[str, ...], BuildTarget] = {}
    for target in catalog.targets:
        if target.side_tag is not None:
            key = (target.side_tag.set_id, target.branch.name, target.system, target.project)
            other = bases.setdefault(key, target)
            if other.options.get("koji_target") != target.options.get("koji_target"):
                raise BadCatalog(
                    f"targets.toml: target {target.id}.side_tag: {other.id} shares its side tags, and has another "
                    "koji_target"
                )


def side_tag_complaint(target: BuildTarget) -> str:
    """Why a target cannot build in side tags; empty text if it can, or does not want to."""
    if target.side_tag is None:
        return ""
    if target.system not in SYSTEMS:
        return f"{target.system} has no side tags; there are some at: {', '.join(sorted(SYSTEMS))}"
    if target.dist_git is None or target.options.get("scratch", True):
        return "a side tag takes official builds only: it needs [target.dist_git] and scratch = false"
    outside = [family for family in target.families if family not in target.side_tag.families]
    if outside:
        return f"the set {target.side_tag.set_id} has no family {outside[0]}; use another target for it"
    return ""
