"""The templates' environment, and the answer that is a page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from service.catalog import Catalog
from service.domain.states import BuildState
from service.domain.versions import Stream
from service.web.base import wording
from service.web.base.assets import asset_address
from service.web.base.context import context_of

# Which picture of icons.svg goes with a word; a picture never stands without its word.
ICONS = {
    **{name: name for name in (*BuildState, "empty", "behind")},
    "received": "pending", "processed": "succeeded", "ignored": "empty", "skipped": "empty",
    "known": "pending", "planned": "pending", "unsupported": "empty", "withdrawn": "canceled",
}  # fmt: skip

FILTERS = (
    wording.age, wording.day, wording.duration, wording.megabytes, wording.one_line, wording.plain,
    wording.rfc3339, wording.short_nvr, wording.utc, wording.weblink,
)  # fmt: skip


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({function.__name__: function for function in FILTERS})
    made.globals.update(
        asset=asset_address,
        between=wording.between,
        coloured_diff=wording.coloured_diff,
        icons=ICONS,
        query=wording.query,
    )
    return made


environment = _environment()


def page(
    request: Request,
    template: str,
    values: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Render one page. ``values`` are added to ``now``, ``path``, ``sandbox`` and ``caller`` (None: not asked).

    ``unconfirmed(family, stream)`` tells templates whether a stream that is built waits for a person's look.
    """
    context = context_of(request)

    # Asked for by lists only: an error's page must not need the database.
    @cache
    def catalog() -> Catalog:
        return context.catalog

    def unconfirmed(family: str, stream: str) -> bool:
        known = catalog().families.get(family)
        policy = known.policy(Stream.parse(stream)) if known else None
        return policy is not None and not policy.confirmed

    known = {
        "unconfirmed": unconfirmed,
        "sandbox": context.settings.sandbox,
        "path": request.url.path,
        "now": datetime.now(UTC),
        # Set where the route asked who calls; an error's page may come before anybody asked.
        "caller": getattr(request.state, "caller", None),
    }
    html = environment.get_template(template).render({**known, **values})
    return HTMLResponse(html, status, headers={"Cache-Control": "no-cache", **(headers or {})})


def error_page(request: Request, status: int, detail: str, headers: Mapping[str, str]) -> Response:
    """The page of an error: one line, and what to do."""
    return page(request, "error.html", {"status": status, "detail": detail}, status=status, headers=headers)
