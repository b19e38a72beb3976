"""``/api/v1``: one module a subject, with its routes and the shapes of its bodies and answers."""

from __future__ import annotations

from service.web.api import (
    audit,
    badges,
    builds,
    catalog,
    causes,
    checks,
    deliveries,
    feed,
    logs,
    matrix,
    releases,
    side_tags,
    tokens,
    workarounds,
)

# In this order the OpenAPI document lists the routes: first what is read, then what is asked for.
ROUTERS = (
    matrix.router, releases.reading, builds.reading, deliveries.reading, audit.router, catalog.reading,
    workarounds.router, badges.router, feed.router, logs.router, checks.router,
    releases.writing, builds.writing, deliveries.writing, catalog.listing, catalog.writing, tokens.router,
    causes.router, side_tags.router,
)  # fmt: skip
