"""The API's badge: a small SVG with the state of a package on a branch."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from markupsafe import Markup, escape
from starlette.responses import Response

from service import board
from service.domain.states import BuildState
from service.web.access.auth import needs
from service.web.base.parameters import Context, Word, WordInPath
from service.web.base.problems import READ_PROBLEMS, Problem

# Verdana at 11 px is about this wide a character; textLength makes every renderer agree.
CHARACTER = 6.6
PADDING = 12
HEIGHT = 20
COLOURS = {
    "succeeded": "#1a7f37",
    "failed": "#b42318",
    "errored": "#8f3f97",
    "held": "#8a5a00",
    "behind": "#8a5a00",
    "running": "#1f5fae",
}
GREY = "#57606a"
# What needs somebody speaks first where a branch has several build systems.
ORDER = (BuildState.HELD, BuildState.FAILED, BuildState.ERRORED)


router = APIRouter(prefix="/api/v1", dependencies=[needs("read")], responses=READ_PROBLEMS)


@router.get("/badges/{package}/{branch}.svg", tags=["feeds"], response_class=Response,
            responses={200: {"content": {"image/svg+xml": {}}}})  # fmt: skip
def get_badge(context: Context, package: WordInPath, branch: WordInPath, system: Word = None) -> Response:
    """Where a package stands on a branch, as a small picture."""
    with context.db.reader() as session:
        grid = board.matrix(
            session, context.catalog, datetime.now(UTC), package=package, branch=branch, system=system
        )
    if not grid.rows or not grid.columns:
        raise Problem(404, f"There is no package {package} on branch {branch}.")
    return Response(badge_svg(grid), media_type="image/svg+xml", headers={"Cache-Control": "max-age=60"})


def badge_svg(grid: board.Matrix) -> str:
    """Draw the badge of the one package and branch that ``grid`` was filtered to."""
    row = grid.rows[0]
    word, version = _verdict(row)
    label = f"{row.package} {grid.columns[0].branch}"
    message = f"{version} {word}".strip()
    return _draw(label, message, COLOURS.get(word, GREY))


def _verdict(row: board.StreamRow) -> tuple[str, str]:
    built = [cell for cell in row.cells if cell.build]
    for state in ORDER:
        for cell in built:
            if cell.state == state and cell.build:
                return state.value, cell.build.version
    for cell in built:
        if cell.build and cell.build.is_live:
            return "running", cell.build.version
    for cell in row.cells:
        if cell.behind:
            return "behind", cell.good.version if cell.good else ""
    for cell in built:
        if cell.good:
            return "succeeded", cell.good.version
    return ("not built" if row.refusal or any(cell.refusal for cell in row.cells) else "no build yet"), ""


def _draw(label: str, message: str, colour: str) -> str:
    left, right = _width(label), _width(message)
    text = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{height}" role="img"'
        ' aria-label="{label}: {message}"><title>{label}: {message}</title>'
        '<rect width="{left}" height="{height}" fill="#3b434b"/>'
        '<rect x="{left}" width="{right}" height="{height}" fill="{colour}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        '<text x="{label_x}" y="14" textLength="{label_width}">{label}</text>'
        '<text x="{message_x}" y="14" textLength="{message_width}">{message}</text></g></svg>'
    )
    return str(
        text.format(
            total=left + right, height=HEIGHT, left=left, right=right, colour=colour,
            label=escape(label), message=escape(message),
            label_x=PADDING // 2, label_width=left - PADDING,
            message_x=left + PADDING // 2, message_width=right - PADDING,
        )
    )  # fmt: skip


def _width(text: str) -> int:
    return round(len(text) * CHARACTER) + PADDING
