"""The API's Atom feed (RFC 4287) of builds that ended last or wait for a person."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree

from fastapi import APIRouter
from starlette.responses import Response

from service import board
from service.web.access.auth import needs
from service.web.base.parameters import Context
from service.web.base.problems import READ_PROBLEMS

ATOM = "http://www.w3.org/2005/Atom"
# What XML 1.0 cannot hold, even escaped; build logs are full of it.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


router = APIRouter(prefix="/api/v1", dependencies=[needs("read")], responses=READ_PROBLEMS)


@router.get("/feed.atom", tags=["feeds"], response_class=Response,
            responses={200: {"content": {"application/atom+xml": {}}}})  # fmt: skip
def get_feed(context: Context) -> Response:
    """What ended last, or waits for a person, as an Atom feed."""
    with context.db.reader() as session:
        ends = board.latest_ends(session)
    return Response(
        feed_xml(ends, context.settings.base_url, datetime.now(UTC)), media_type="application/atom+xml"
    )


def feed_xml(ends: Sequence[board.EndedBuild], base_url: str, now: datetime) -> bytes:
    """Write the feed's XML. ``base_url`` has no slash at its end."""
    ElementTree.register_namespace("", ATOM)
    feed = ElementTree.Element(f"{{{ATOM}}}feed")
    _add(feed, "id", f"{base_url}/api/v1/feed.atom")
    _add(feed, "title", "cryopack: builds")
    _add(feed, "updated", _time(ends[0].at if ends else now))
    _add(feed, "link", None, rel="self", href=f"{base_url}/api/v1/feed.atom")
    _add(feed, "link", None, rel="alternate", href=f"{base_url}/")
    for end in ends:
        entry = ElementTree.SubElement(feed, f"{{{ATOM}}}entry")
        address = f"{base_url}/builds/{end.build.id}"
        name = end.build.nvr or f"{end.build.package} {end.build.version}"
        _add(entry, "id", f"{address}#event-{end.event_id}")
        _add(entry, "title", f"{name} on {end.build.target}: {end.state}")
        _add(entry, "updated", _time(end.at))
        _add(entry, "link", None, rel="alternate", href=address)
        author = ElementTree.SubElement(entry, f"{{{ATOM}}}author")
        _add(author, "name", "cryopack")
        _add(entry, "summary", end.text or end.state)
    document: bytes = ElementTree.tostring(feed, encoding="utf-8", xml_declaration=True)
    return document


def _add(parent: ElementTree.Element, name: str, text: str | None, **attributes: str) -> None:
    element = ElementTree.SubElement(parent, f"{{{ATOM}}}{name}", attributes)
    if text is not None:
        element.text = _NOT_XML.sub("", text)


def _time(value: datetime) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}"
