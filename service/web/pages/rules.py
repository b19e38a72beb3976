"""The table of workarounds for people: what each adds, why, and whether a toolchain still needs it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import board
from service.domain.proofs import MEANINGS, SCENARIOS, Verdict
from service.web.access.auth import page_needs
from service.web.api.rule_shapes import trial_words
from service.web.base.context import context_of
from service.web.base.render import page

# The colour that goes with a verdict; it never stands without the word.
_SHADES = {
    Verdict.CURES: "succeeded",
    Verdict.NEEDED: "held",
    Verdict.NO_LONGER_NEEDED: "superseded",
    Verdict.WORSE: "failed",
    Verdict.UNTRIED: "errored",
}

router = APIRouter(include_in_schema=False, dependencies=[page_needs("read")])


@router.get("/rules")
def show_rules(request: Request) -> Response:
    """Every workaround with its latest proofs."""
    context = context_of(request)
    with context.db.reader() as session:
        found = board.rules(session, context.catalog)
    return page(
        request,
        "rules.html",
        {
            "rules": found,
            "toolchain": context.catalog.toolchain,
            "scenarios": SCENARIOS,
            "meanings": MEANINGS,
            "shades": _SHADES,
            "trial_words": trial_words,
        },
    )
