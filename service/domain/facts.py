"""What a source says of itself, beside what the catalogue says of its stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COMPARED = ("go", "wazero", "nri", "license")
"""Facts that both sides have. ``license`` is compared only where it was computed from the source."""

NOT_COMPUTED = "not computed"
"""What is stored in place of a license that no tool at hand could tell."""

LICENSE_CHANGED = "license changed"
"""How the reason of a build begins that waits for a person because of its license."""


@dataclass(frozen=True)
class Disagreement:
    """One fact in which source and catalogue differ. An empty text means that there is none. The source won."""

    name: str
    source: str
    catalogue: str


def disagreements(facts: Mapping[str, Any], catalogue: Mapping[str, str]) -> tuple[Disagreement, ...]:
    """Where the facts of an archive differ from the catalogue's; nothing for facts that are the catalogue's own."""
    if facts.get("origin") != "archive":
        return ()
    found = []
    for name in COMPARED:
        said = computed_license(facts) if name == "license" else str(facts.get(name, ""))
        known = catalogue.get(name, "")
        if said != known and (said or name != "license"):
            found.append(Disagreement(name, said, known))
    return tuple(found)


def computed_license(facts: Mapping[str, Any]) -> str:
    """The expression that was computed from a release's source; empty where none was."""
    text = str(facts.get("license", ""))
    return "" if text == NOT_COMPUTED else text


def license_holds(facts: Mapping[str, Any]) -> bool:
    """Whether the release has a computed license about which no person is asked any more."""
    settled = not facts.get("license_waits") or facts.get("license_accepted_by")
    return bool(computed_license(facts) and settled)


def license_question(facts: Mapping[str, Any], before: str, *, same: bool) -> str:
    """Why a release must wait for a person: its computed license is not that of the stream before it; else empty.

    ``before`` is the last expression that holds for the stream; ``same`` says whether both mean the same.
    """
    expression = computed_license(facts)
    if not expression or not before or same or facts.get("license_accepted_by"):
        return ""
    return (
        f"{LICENSE_CHANGED} from {before} to {expression} (computed by {facts.get('licensed_by', 'somebody')}): "
        "look at what upstream vendors now; resuming one build accepts it for the whole release"
    )
