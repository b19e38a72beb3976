"""The pages of the catalogue: targets and overrides, workarounds with their proofs, causes of failures."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import board
from service.domain.proofs import MEANINGS, SCENARIOS, Verdict
from service.web.access.auth import page_needs
from service.web.api.catalog import overrides_shown
from service.web.api.workarounds import trial_words
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


@router.get("/catalogue")
def show_catalogue(request: Request) -> Response:
    """Show the streams, targets and branches, and what maintainers changed of them."""
    context = context_of(request)
    catalog, now = context.catalog, datetime.now(UTC)
    with context.db.reader() as session:
        streams = board.streams(session, catalog, now)
    values = {
        "overrides": overrides_shown(context),
        "targets": board.columns_of(catalog, now.date()),
        "branches": sorted(catalog.branches.values(), key=lambda policy: policy.branch),
        "streams": streams,
        "today": now.date(),
        "may": request.state.caller.may("catalog:write"),
        "now": now,
    }
    return page(request, "catalogue.html", values)


@router.get("/rules")
def show_rules(request: Request) -> Response:
    """Show every workaround with its latest proofs."""
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


@router.get("/causes")
def show_causes(request: Request) -> Response:
    """Show the clusters of unknown failures, and the rules with how often they matched."""
    context = context_of(request)
    with context.db.reader() as session:
        found = board.list_causes(session, context.catalog)
    return page(request, "causes.html", {"causes": found})
