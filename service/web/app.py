"""The web application. Start it with ``uvicorn --factory service.web.app:create_app``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.board import BadCursor
from service.settings import Settings, load_settings
from service.web.access.limits import WriteLimits
from service.web.api import actions, catalog_actions, checks, logs, read
from service.web.api.etags import Tags
from service.web.api.openapi import described
from service.web.base.answers import EveryAnswer
from service.web.base.context import WebContext
from service.web.base.errors import (
    DATABASE_AWAY,
    on_bad_cursor,
    on_database_away,
    on_http_exception,
    on_invalid_request,
    on_problem,
)
from service.web.base.problem import Problem
from service.web.health import healthz, metrics, readyz
from service.web.log import configure_log
from service.web.pages import causes, forms, matrix, releases, rules, side_tags, sign_in
from service.web.pages import logs as log_pages
from service.web.pages import service as service_pages
from service.web.webhooks import receive_github

# Measured on two cores: four threads serve more than forty, which only wait for each other.
THREADS = 4


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; without ``settings`` they are read from the environment. Raises SettingsError."""
    chosen = settings or load_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure_log()
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        context = WebContext.create(chosen)
        app.state.context = context
        try:
            yield
        finally:
            await to_thread.run_sync(context.close)

    app = FastAPI(
        title="cryopack",
        summary="Packages of CRI-O for Fedora: releases, builds and where they stand",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    # The last one added is the outermost.
    app.add_middleware(Tags)
    app.add_middleware(WriteLimits, body_limit=chosen.body_limit)
    app.add_middleware(EveryAnswer)
    if proxies := chosen.proxies():
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=proxies)
    app.include_router(service_pages.router)
    app.include_router(read.router)
    app.include_router(logs.router)
    app.include_router(checks.router)
    app.include_router(actions.router)
    app.include_router(catalog_actions.router)
    app.include_router(causes.router)
    app.include_router(causes.pages)
    app.include_router(side_tags.router)
    app.include_router(side_tags.pages)
    app.include_router(matrix.router)
    app.include_router(releases.router)
    app.include_router(log_pages.router)
    app.include_router(sign_in.router)
    app.include_router(forms.router)
    app.include_router(rules.router)
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(BadCursor, on_bad_cursor)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    for kind in DATABASE_AWAY:
        app.add_exception_handler(kind, on_database_away)
    app.add_route("/webhooks/github", receive_github, methods=["POST"], include_in_schema=False)
    app.add_route("/static/{name}", service_pages.serve_asset, methods=["GET"], include_in_schema=False)
    app.add_route("/healthz", healthz, methods=["GET"], include_in_schema=False)
    app.add_route("/readyz", readyz, methods=["GET"], include_in_schema=False)
    app.add_route("/metrics", metrics, methods=["GET"], include_in_schema=False)
    return app
