"""The templates' environment and what every page needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from service.web.context import context_of

environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(
    request: Request,
    template: str,
    values: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Render one page. ``values`` are the template's own names."""
    settings = context_of(request).settings
    html = environment.get_template(template).render(
        {"sandbox": settings.sandbox, "path": request.url.path, **values}
    )
    return HTMLResponse(html, status, headers=dict(headers or {}))


def error_page(request: Request, status: int, detail: str, headers: Mapping[str, str]) -> Response:
    """The page of an error: one line, and what to do."""
    return page(request, "error.html", {"status": status, "detail": detail}, status=status, headers=headers)
