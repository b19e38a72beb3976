"""Runs axe-core on a page and returns what it finds."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page

# The rules that look at colours.
COLOURS = ("color-contrast", "link-in-text-block")


def violations(page: Page, *rules: str) -> list[tuple[str, list[str]]]:
    """Return each violated rule with the first of its elements; of all rules, or of these."""
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found = Axe().run(page, options=options).response["violations"]
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"][:3]]) for rule in found]
