"""Serves what COPR has beside its API: result files, uploads, a build's page, repository files."""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.copr.shapes import build_shape, chroot_shape, chroots_of, project_of, source_path
from sandbox.ground import Ground
from sandbox.pages import BANNER, listing, not_found, page, path_below


async def results(request: Request) -> Response:
    """Send a result file, or list a folder. Compressed logs are sent to be read as text."""
    ground: Ground = request.app.state.ground
    path = path_below(ground.results, request.path_params["path"])
    if path is None:
        return not_found()
    if path.is_dir():
        return listing(request.path_params["path"], path)
    if path.name.endswith(".log.gz"):
        return FileResponse(
            path, media_type="text/plain; charset=utf-8", headers={"Content-Encoding": "gzip"}
        )
    plain = path.suffix in {".log", ""}
    return FileResponse(path, media_type="text/plain; charset=utf-8" if plain else None)


async def uploaded(request: Request) -> Response:
    """Send an upload that was not imported yet."""
    ground: Ground = request.app.state.ground
    path = path_below(ground.uploads, request.path_params["path"])
    if path is None or not path.is_file():
        return not_found()
    return FileResponse(path, media_type="application/x-rpm")


async def build_page(request: Request) -> Response:
    """Show a build for people: its state and the addresses of its logs."""
    ground: Ground = request.app.state.ground
    build = ground.store.one("SELECT * FROM build WHERE id = ?", request.path_params["build_id"])
    if build is None:
        return not_found()
    project = project_of(ground.store, build)
    if "owner" not in request.path_params:
        full = f"{project['owner'].replace('@', 'g/')}/{project['name']}"
        return RedirectResponse(f"/coprs/{full}/build/{build['id']}/")
    shape = build_shape(ground, build, project)
    rows = [chroot_shape(ground, project, build, row) for row in chroots_of(ground.store, build["id"])]
    items = "".join(
        f"<li>{escape(row['name'])}: {row['state']}"
        + (f' <a href="{escape(row["result_url"])}">results</a>' if row["result_url"] else "")
        for row in rows
    )
    source = f"{ground.copr_url}/results/{source_path(project, build)}/"
    package = escape(f"{build['package'] or 'not known yet'} {build['version'] or ''}")
    body = f"<p>State: {shape['state']}. Package: {package}.</p><ul>{items}</ul>"
    return page(f"Build {build['id']}", f'{body}<p><a href="{escape(source)}">source step</a>')


async def repository_file(request: Request) -> Response:
    """Send the ``.repo`` file of a project; the repositories that it names hold no packages."""
    ground: Ground = request.app.state.ground
    owner, name, release = (request.path_params[key] for key in ("owner", "name", "release"))
    if ground.store.one("SELECT 1 FROM project WHERE owner = ? AND name = ?", owner, name) is None:
        return not_found()
    return PlainTextResponse(
        f"# {BANNER}\n[copr:sandbox:{owner}:{name}]\nname=Copr repo for {name} owned by {owner}\n"
        f"baseurl={ground.copr_url}/results/{owner}/{name}/{release}-$basearch/\nenabled=1\ngpgcheck=0\n"
    )


ROUTES = [
    Route("/results/{path:path}", results),
    Route("/tmp/{path:path}", uploaded),
    Route("/coprs/build/{build_id:int}", build_page),
    Route("/coprs/{owner}/{name}/build/{build_id:int}/", build_page),
    Route("/coprs/g/{owner}/{name}/build/{build_id:int}/", build_page),
    Route("/coprs/{owner}/{name}/repo/{release}/{filename}", repository_file),
]
