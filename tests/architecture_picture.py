"""Draws the table of rooms as pictures for docs/architecture.md: ``python -m tests.architecture_picture`` writes them.

An arrow that follows from others is left out: where ``a`` may import ``b`` and ``b`` may import ``c``, ``a → c`` is not
drawn, though the table allows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.architecture_rules import reach
from tests.rooms import ARROWS, Arrow

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
FLOORS = ("service", "workers", "sandbox")


def reduced(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the graph without each edge that a longer way replaces. The graph must have no circle."""
    return {
        node: {
            after
            for after in afters
            if not any(after in reach(graph, other) for other in afters if other != after)
        }
        for node, afters in graph.items()
    }


def picture(arrows: Mapping[str, Arrow], floor: str) -> str:
    """Draw one floor as a Mermaid flow chart, top down: its rooms and loose files, and the arrows among them."""
    rooms = sorted(name for name in arrows if name.split(".")[0] == floor and name != floor)
    graph = {name: set(arrows[name].ours) & set(rooms) for name in rooms}
    lines = ["```mermaid", "flowchart TD"]
    for name in rooms:
        short = name.removeprefix(f"{floor}.")
        lines.append(f'    {short.replace(".", "_")}["{short}"]')
    for name, afters in sorted(reduced(graph).items()):
        for after in sorted(afters):
            ends = [end.removeprefix(f"{floor}.").replace(".", "_") for end in (name, after)]
            lines.append(f"    {ends[0]} --> {ends[1]}")
    return "\n".join([*lines, "```"])


def drawn(page: str, arrows: Mapping[str, Arrow]) -> str:
    """Return the page with the picture of each floor between its two marks. Raises ValueError without a mark."""
    for floor in FLOORS:
        begin, end = f"<!-- rooms of {floor} -->", f"<!-- end of {floor} -->"
        before, first, rest = page.partition(begin + "\n")
        _, last, after = rest.partition(end)
        if not (first and last):
            raise ValueError(f"the page lacks the marks '{begin}' and '{end}'")
        page = f"{before}{first}{picture(arrows, floor)}\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8"), ARROWS), encoding="utf-8")
