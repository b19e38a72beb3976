"""The dashboard: one module a subject, with its pages; the buttons of all of them in ``buttons``."""

from __future__ import annotations

from service.web.pages import (
    buttons,
    catalog,
    deliveries,
    glossary,
    logs,
    matrix,
    releases,
    service,
    side_tags,
    sign_in,
)

ROUTERS = (
    matrix.router, releases.router, logs.router, side_tags.router, deliveries.router, catalog.router,
    service.router, glossary.router, sign_in.router, buttons.router,
)  # fmt: skip
