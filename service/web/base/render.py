"""Renders pages: the Jinja2 environment, its filters, and the static files with hashed addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from service.catalog import Catalog
from service.domain.states import BuildState
from service.domain.versions import Stream
from service.web.base.context import context_of
from service.web.base.problems import Problem

FOLDER = Path(__file__).parents[1] / "static"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Which picture of icons.svg goes with a word; a picture never stands without its word.
ICONS = {
    **{name: name for name in (*BuildState, "empty", "behind")},
    "received": "pending", "processed": "succeeded", "ignored": "empty", "skipped": "empty",
    "known": "pending", "planned": "pending", "unsupported": "empty", "withdrawn": "canceled",
}  # fmt: skip

MINUTE, HOUR, DAY = 60, 3600, 86400

# Control characters and the marks that turn text around: a log line must not rewrite the page around it.
# Half characters: JSON may hold them, UTF-8 cannot.
_TERMINAL = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Asset:
    """One static file as it is served."""

    address: str
    content: bytes
    media_type: str


def _read(folder: Path) -> dict[str, Asset]:
    assets = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in MEDIA_TYPES:
            content = path.read_bytes()
            name = f"{path.stem}.{sha256(content).hexdigest()[:16]}{path.suffix}"
            assets[path.name] = Asset(f"/static/{name}", content, MEDIA_TYPES[path.suffix])
    return assets


_ASSETS = _read(FOLDER)
_BY_ADDRESS = {asset.address: asset for asset in _ASSETS.values()}


def asset_address(name: str) -> str:
    """Return the address of ``style.css`` and the like. Raises KeyError for what is not there."""
    return _ASSETS[name].address


def asset_at(address: str) -> Asset | None:
    """Return the file of an address, or None for an address with another hash."""
    return _BY_ADDRESS.get(address)


async def serve_asset(request: Request) -> Response:
    """Answer with one static file, to be cached for ever: its address changes with its content."""
    asset = asset_at(request.url.path)
    if asset is None:
        raise Problem(404, "There is no such file.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(asset.content, media_type=asset.media_type, headers=headers)


def plain(text: str) -> str:
    """Strip a terminal's colours from foreign text, and make visible what cannot be printed."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", _TERMINAL.sub("", text))


def one_line(text: str, limit: int = 160) -> str:
    """Return the first line of a foreign text, shortened."""
    first = plain(text).strip().partition("\n")[0]
    return first if len(first) <= limit else first[: limit - 1].rstrip() + "…"


def age(value: datetime, now: datetime) -> str:
    """Write a time as ``3 min ago`` or ``in 20 s``: one unit, so that it can be read at a glance."""
    seconds = (now - value).total_seconds()
    words = duration(abs(seconds))
    if abs(seconds) < 1:
        return "just now"
    return f"{words} ago" if seconds > 0 else f"in {words}"


def duration(seconds: float) -> str:
    """Write a length of time in one unit."""
    if seconds < 2 * MINUTE:
        return f"{int(seconds)} s"
    if seconds < 2 * HOUR:
        return f"{int(seconds // MINUTE)} min"
    if seconds < 2 * DAY:
        return f"{int(seconds // HOUR)} h"
    return f"{int(seconds // DAY)} d"


def between(start: datetime | None, end: datetime | None) -> str:
    """Write how long something took; empty while it has not both ends."""
    return duration(max((end - start).total_seconds(), 0)) if start and end else ""


def utc(value: datetime) -> str:
    """Write a time as ``2026-11-24 12:00:03 UTC``."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def rfc3339(value: datetime) -> str:
    """Write a time in RFC 3339, for machines."""
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def weblink(address: str) -> str:
    """Return the address if it is http or https, else empty text: a build system's addresses are foreign, too."""
    return address if address.startswith(("http://", "https://")) else ""


def short_nvr(nvr: str, package: str) -> str:
    """Cut ``cri-o1.32-1.32.1-0.1.fc43`` to ``1.32.1-0.1.fc43``: the row tells the package already."""
    return nvr.removeprefix(f"{package}-")


def query(values: Mapping[str, Any], **changes: Any) -> str:
    """Write a query string of the values that are set, with some of them changed."""
    pairs = {key: value for key, value in {**values, **changes}.items() if value}
    text = urlencode({key: 1 if value is True else value for key, value in pairs.items()})
    return f"?{text}" if text else "?"


def day(value: date | None) -> str:
    """Write a date as ``2026-05-28``; empty where unknown."""
    return value.isoformat() if value else ""


def megabytes(size: int) -> str:
    """Write a number of bytes for people."""
    if size < 10_000:
        return f"{size} bytes"
    return f"{size / 1000:.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def coloured_diff(lines: tuple[str, ...]) -> Markup:
    """Mark up the lines of a unified diff; the signs stay, so that colour is not the only difference."""
    kinds = {"+": "ins", "-": "del"}
    parts = []
    for line in lines:
        name = kinds.get(line[:1], "span")
        kind = "head" if line.startswith(("+++", "---", "@@")) else "line"
        name = "span" if kind == "head" else name
        parts.append(Markup('<{0} class="diff-{1}">{2}</{0}>').format(Markup(name), kind, plain(line)))
    return Markup("\n").join(parts)


FILTERS = (
    age, day, duration, megabytes, one_line, plain,
    rfc3339, short_nvr, utc, weblink,
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
        between=between,
        coloured_diff=coloured_diff,
        icons=ICONS,
        query=query,
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
    """Render the page of an error."""
    return page(request, "error.html", {"status": status, "detail": detail}, status=status, headers=headers)
