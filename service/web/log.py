"""One structured line per event on standard error: JSON for machines, plain for a terminal."""

from __future__ import annotations

import logging
import sys

import structlog


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
