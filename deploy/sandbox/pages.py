"""Writes the HTML pages of COPR's farm and Koji's hub, which say on top that nothing was compiled."""

from __future__ import annotations

from html import escape
from pathlib import Path

from starlette.responses import HTMLResponse, PlainTextResponse

BANNER = "cryopack's sandbox: simulated, nothing was compiled"


def page(title: str, body: str) -> HTMLResponse:
    """Return a page with the banner and a heading; ``body`` is HTML, ``title`` is text."""
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
    return HTMLResponse(f"{head}<body><p><strong>{BANNER}</strong></p><h1>{escape(title)}</h1>{body}")


def listing(title: str, folder: Path) -> HTMLResponse:
    """Return a page with links to the entries of a folder."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    links = "".join(f'<li><a href="{escape(name)}">{escape(name)}</a>' for name in names)
    return page(title, f"<ul>{links}</ul>")


def path_below(folder: Path, relative: str) -> Path | None:
    """Return the path below a folder, or None where the address points outside of the folder or to nothing."""
    path = (folder / relative).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.exists() else None


def not_found() -> PlainTextResponse:
    """Return the answer to an address that names nothing."""
    return PlainTextResponse("404 - Not Found", 404)
