"""Serves the page of a pull request, where the visitor of a demonstration is the maintainer who merges or closes it."""

from __future__ import annotations

import secrets
from html import escape
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.forge import core
from sandbox.forge.dist_git import run_git
from sandbox.ground import Ground
from sandbox.store import Row

PATH = "/pagure/rpms/{repo}/pull-request/{number:int}"
# A form on somebody else's page cannot know this, and so cannot merge anything here.
KEY = secrets.token_hex(16)
STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "pre{overflow:auto;border:1px solid;padding:1rem}.text{white-space:pre-wrap}form{display:inline}"
    "button{font:inherit;padding:.3rem 1rem}"
)


def _diff(ground: Ground, row: Row) -> str:
    if row["state"] != "open":
        return ""
    theirs = str(core.repository(ground, row["package"], row["user"]))
    base = core.head_of(core.repository(ground, row["package"]), row["branch"])
    known = run_git("-C", theirs, "cat-file", "--batch-check", given=f"{base}\n")
    # The package's newest commit need not be in the fork: then there is nothing to compare with here.
    return run_git("-C", theirs, "diff", f"{base}...{row['head']}") if " commit " in known else ""


def _buttons(row: Row) -> str:
    if row["state"] != "open":
        return f"<p>It is {row['state']}.</p>"
    return "".join(
        f'<form method="post"><input type="hidden" name="key" value="{KEY}">'
        f'<button name="act" value="{act}">{label}</button></form> '
        for act, label in (
            ("merge", "Merge"),
            ("squash", "Squash and merge"),
            ("close", "Close without a merge"),
        )
    )


def _page(ground: Ground, row: Row) -> str:
    title = f"#{row['number']} {row['title']}"
    said = "".join(
        f"<li>{escape(one['user'])}: {escape(one['text'])}</li>" for one in core.comments_of(ground, row)
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<p>The sandbox's forge. You are the maintainer of {escape(row['package'])}.</p><h1>{escape(title)}</h1>"
        f"<p>From {escape(row['user'])}'s {escape(row['branch_from'])} into {escape(row['branch'])}.</p>"
        f'{_buttons(row)}<pre class="text">{escape(row["text"])}</pre><ul>{said}</ul>'
        f"<pre>{escape(_diff(ground, row))}</pre>"
        "</body></html>"
    )


async def show(request: Request) -> Response:
    """Show the pull request and its buttons; a submitted form leads back to it."""
    ground: Ground = request.app.state.ground
    try:
        row = core.pull_of(ground, request.path_params["repo"], request.path_params["number"])
    except KeyError:
        return PlainTextResponse("there is no such pull request", 404)
    if request.method == "GET":
        return HTMLResponse(_page(ground, row))
    form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
    if form.get("key") != KEY:
        return PlainTextResponse("use the buttons of the page", 403)
    try:
        if form.get("act") == "close":
            core.close_pull(ground, row, core.MAINTAINER)
        else:
            core.merge_pull(ground, row, form.get("act", ""))
    except core.ForgeRefusal as error:
        return PlainTextResponse(str(error), 409)
    return RedirectResponse(request.url.path, 303)


ROUTES = [Route(PATH, show, methods=["GET", "POST"])]
