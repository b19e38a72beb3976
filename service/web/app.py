"""Makes the web application: middlewares, routes and log.

Start it with ``uvicorn --factory service.web.app:create_app``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from anyio import to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.board import BadCursor
from service.settings import Settings, load_settings
from service.web import api, pages
from service.web.api.openapi import described
from service.web.base.context import WebContext
from service.web.base.errors import (
    DATABASE_AWAY,
    on_bad_cursor,
    on_database_away,
    on_http_exception,
    on_invalid_request,
    on_problem,
)
from service.web.base.middleware import ETags, EveryAnswer, WriteLimits
from service.web.base.problems import Problem
from service.web.base.render import serve_asset
from service.web.health import healthz, metrics, readyz
from service.web.webhooks import receive_github

# Measured on two cores: four threads serve more than forty, which only wait for each other.
THREADS = 4


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application; without ``settings`` they are read from the environment. Raises SettingsError."""
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
    app.add_middleware(ETags)
    app.add_middleware(WriteLimits, body_limit=chosen.body_limit)
    app.add_middleware(EveryAnswer)
    if proxies := chosen.proxies():
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=proxies)
    for router in (*api.ROUTERS, *pages.ROUTERS):
        app.include_router(router)
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(BadCursor, on_bad_cursor)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    for kind in DATABASE_AWAY:
        app.add_exception_handler(kind, on_database_away)
    app.add_route("/webhooks/github", receive_github, methods=["POST"], include_in_schema=False)
    app.add_route("/static/{name}", serve_asset, methods=["GET"], include_in_schema=False)
    app.add_route("/healthz", healthz, methods=["GET"], include_in_schema=False)
    app.add_route("/readyz", readyz, methods=["GET"], include_in_schema=False)
    app.add_route("/metrics", metrics, methods=["GET"], include_in_schema=False)
    return app


def configure_log() -> None:
    """Set structlog up unless the process has done so; the server's access log would say everything twice."""
    logging.getLogger("uvicorn.access").disabled = True
    if structlog.is_configured():
        return
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
