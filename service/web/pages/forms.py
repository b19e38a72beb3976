"""The buttons of the pages: first a page that says what will happen, then a plain POST. Same commands as the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service import board, overrides
from service.builds import commands
from service.distgit.changes import resolve_conflict
from service.domain.diagnosis import Fault, Retry
from service.domain.distgit import Resolution
from service.domain.errors import CommandRefused, NotFound
from service.results import diagnoses
from service.store.session import Database, JoinedDatabase
from service.web.access.auth import Caller, Form, check_form, page_needs
from service.web.api.writes import Done, hint, refused
from service.web.base.context import context_of
from service.web.base.problem import Problem
from service.web.base.render import page
from service.web.pages.buttons import WHY, Asked, Button, TextField
from service.web.pages.matrix import known_word
from service.web.pages.side_tags import BUTTONS as SIDE_TAG_BUTTONS

router = APIRouter(include_in_schema=False)


def _cell(asked: Asked) -> str:
    build = asked.build().build
    return f"{build.nvr or build.package + ' ' + build.version} on {build.target} (build {build.id}, {build.state})"


def _strategies(asked: Asked) -> dict[str, dict[str, str]]:
    known = asked.context.catalog.strategies
    return {
        "strategy": {"": "as before", **{name: f"{name}: {row.why}"[:120] for name, row in known.items()}}
    }


def _retry(asked: Asked, db: Database) -> Done:
    strategy = asked.form.get("strategy") or None
    catalog = asked.context.catalog
    commands.check_retry(db, catalog, asked.build_id, strategy)
    return _one(commands.request_build(db, catalog, asked.build_id, strategy=strategy, **asked.by))


def _one(done: commands.Requested) -> Done:
    return Done({"build": done.build_id}, builds=(done.build_id,))


def _give_up(asked: Asked, db: Database) -> Done:
    why = asked.form.get("why", "").strip()[: overrides.WHY_LIMIT]
    if not why:
        raise Problem(422, "Say why, for the others.")
    seconds = 2 * asked.context.settings.submit_doubt_seconds
    return _one(commands.give_up_build(db, asked.build_id, why=why, surplus_seconds=seconds, **asked.by))


RESOLUTIONS = {
    "how": {
        "": "choose",
        Resolution.GENERATED.value: "take the generated lines",
        Resolution.DIST_GIT.value: "keep dist-git's lines",
        Resolution.DONE.value: "I edited it in dist-git: take what is there now",
    }
}


def _resolve(asked: Asked, db: Database) -> Done:
    how = asked.form.get("how", "")
    if not how or how not in RESOLUTIONS["how"]:
        raise Problem(422, "Choose how the conflict is settled.")
    return _one(resolve_conflict(db, asked.context.catalog, asked.build_id, Resolution(how), **asked.by))


def _replay(asked: Asked, db: Database) -> Done:
    return Done({}, deliveries=(commands.replay_delivery(db, asked.subject, **asked.by),))


def _wish(asked: Asked) -> commands.RebuildRequest:
    """``release/cri-o/1.35.6`` for what failed of a release, ``stream/cri-o/1.35``, ``branch/cri-o/f44``."""
    kind, family, name = [*asked.subject.split("/"), "", ""][:3]
    if kind not in ("release", "stream", "branch") or not name:
        raise Problem(404, "There are no such cells.")
    known = {
        "release": {"version": name, "failed_only": True},
        "stream": {"stream": name},
        "branch": {"branch": name},
    }
    return commands.RebuildRequest(family=family, strategy=asked.form.get("strategy") or None, **known[kind])  # type: ignore[arg-type]


def _what_rebuild(asked: Asked) -> str:
    found = commands.preview_rebuild(asked.context.db, asked.context.catalog, _wish(asked))
    ready = [f"{cell.package} {cell.version} on {cell.target}" for cell in found.cells if not cell.refusal]
    left = [f"{cell.package} on {cell.target}: {cell.refusal}" for cell in found.cells if cell.refusal]
    if not ready:
        raise CommandRefused(f"nothing can be built again: {'; '.join(left)}")
    return "\n".join([f"{len(ready)} new builds:", *ready, *(["Left alone:", *left] if left else [])])


def _rebuild(asked: Asked, db: Database) -> Done:
    done = commands.request_rebuild(db, asked.context.catalog, _wish(asked), **asked.by)
    return Done({}, builds=done.builds)


def _override(
    kind: str, action: str, changes: Callable[[], Mapping[str, Any]]
) -> Callable[[Asked, Database], Done]:
    def act(asked: Asked, db: Database) -> Done:
        overrides.change_catalog(
            db, asked.context.live_catalog.files, kind, asked.subject, changes(),
            why=asked.form.get("why", ""), action=action, **asked.by,
        )  # fmt: skip
        return Done({}, replan=True)

    return act


def _what_cause(asked: Asked) -> str:
    with asked.context.db.reader() as session:
        cluster = board.cluster_of(session, asked.subject)
    if cluster is None:
        raise NotFound(f"there is no cluster {asked.subject[:40]} of unknown failures without a name")
    where = f"{', '.join(cluster.packages)} on {', '.join(cluster.branches)}"
    return (
        f"{cluster.cause}\nThe name becomes a rule: it is given at once to the builds that failed so "
        f"({cluster.counts.builds}: {where}), and from now on to every failure of cluster {cluster.fingerprint}."
    )


def _name_cause(asked: Asked, db: Database) -> Done:
    words = {text.name: asked.form.get(text.name, "") for text in CAUSE_TEXTS}
    fault, retry = asked.form.get("fault", Fault.PACKAGE.value), asked.form.get("retry", Retry.NO.value)
    if fault not in list(Fault) or retry not in list(Retry):
        raise Problem(422, "Choose whose fault it is and whether a retry helps from the lists.")
    diagnoses.name_cluster(
        db, asked.subject, **words, fault=Fault(fault), retry=Retry(retry), rename=False, **asked.by
    )
    return Done({})


CAUSE_TEXTS = (
    TextField("cause", "The cause, in one line", diagnoses.TEXT_LIMIT),
    TextField("why", "How you know", diagnoses.TEXT_LIMIT),
    TextField("advice", "What to do (may stay empty)", diagnoses.TEXT_LIMIT, required=False),
    TextField(
        "reference", "Address of an issue or a page (may stay empty)", diagnoses.TEXT_LIMIT, required=False
    ),
)
CAUSE_CHOICES: Mapping[str, Mapping[str, str]] = {
    "fault": {Fault.PACKAGE: "the package's", Fault.INFRASTRUCTURE: "the infrastructure's"},
    "retry": {Retry.NO: "does not help", Retry.YES: "helps", Retry.LATER: "helps later"},
}


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _to_build(subject: str) -> str:
    return f"/builds/{subject}"


BUTTONS = (
    Button(
        "build-retry", "builds:write", "Build again",
        lambda asked: f"A new attempt at the cell of {_cell(asked)} begins at once. This build stays as it is.",
        _retry, _to_build, choices=_strategies,
    ),
    Button(
        "build-cancel", "builds:write", "Cancel the build",
        lambda asked: f"The end of {_cell(asked)} is asked for; the next step carries it out, at the build system too.",
        lambda asked, db: _one(commands.request_cancel(db, asked.build_id, **asked.by)), _to_build,
    ),
    Button(
        "build-resume", "builds:write", "Let it go on",
        lambda asked: f"{_cell(asked)} goes on. If it was handed over before, it is looked for first: never two.",
        lambda asked, db: _one(commands.resume_build(db, asked.context.catalog, asked.build_id, **asked.by)), _to_build,
    ),
    Button(
        "build-give-up", "builds:write", "Give the build up",
        lambda asked: f"{_cell(asked)} ends at once, without waiting for its build system. What that may still hold of "
        "it is looked for later, and cancelled.",
        _give_up, _to_build, texts=(WHY,),
    ),
    Button(
        "build-resolve", "builds:write", "Settle the conflict",
        lambda asked: f"The lines in conflict in dist-git are settled as you choose, and {_cell(asked)} goes on.",
        _resolve, _to_build, choices=lambda asked: RESOLUTIONS,
    ),
    Button(
        "rebuild", "builds:write", "Build these cells again", _what_rebuild, _rebuild,
        lambda subject: "/builds", choices=_strategies,
    ),
    Button(
        "cause-name", "builds:write", "Name this cause", _what_cause, _name_cause,
        lambda subject: "/causes", texts=CAUSE_TEXTS, choices=lambda asked: CAUSE_CHOICES,
    ),
    Button(
        "delivery-replay", "releases:write", "Look at it again",
        lambda asked: f"Delivery {asked.subject} is processed again, with the catalogue as it is now.",
        _replay, lambda subject: f"/deliveries/{quote(subject)}",
    ),
    Button(
        "stream-confirm", "catalog:write", "Confirm the stream",
        lambda asked: f"Stream {asked.subject} is built, and no longer marked as unconfirmed.",
        _override("stream", "stream.confirm", lambda: {"confirmed": True, "build": True}),
        lambda subject: "/catalogue", texts=(WHY,),
    ),
    Button(
        "stream-end", "catalog:write", "Mark the stream as end-of-life",
        lambda asked: f"Nothing new is built of stream {asked.subject}. What is built stays.",
        _override("stream", "stream.end", lambda: {"build": False, "eol": _today()}),
        lambda subject: "/catalogue", texts=(WHY,),
    ),
    Button(
        "branch-end", "catalog:write", "Mark the branch as end-of-life",
        lambda asked: f"Branch {asked.subject} gets no new builds. What is built stays.",
        _override("branch", "branch.end", lambda: {"eol": _today()}),
        lambda subject: "/catalogue", texts=(WHY,),
    ),
    Button(
        "target-pause", "catalog:write", "Pause the target",
        lambda asked: f"Nothing new is planned for {asked.subject}. What is under way goes on.",
        _override("target", "target.pause", lambda: {"enabled": False}),
        lambda subject: "/catalogue", texts=(WHY,),
    ),
    Button(
        "target-resume", "catalog:write", "Resume the target",
        lambda asked: f"{asked.subject} is planned for again; the newest patch of each stream that it missed is built.",
        _override("target", "target.resume", lambda: {"enabled": True}),
        lambda subject: "/catalogue", texts=(WHY,),
    ),
)  # fmt: skip


def _routes(button: Button) -> None:
    def show(request: Request, subject: str) -> Response:
        asked = Asked(context_of(request), known_word(subject, "thing"), request.state.caller, {})
        try:
            what, choices = button.what(asked), button.choices(asked)
        except Exception as error:
            raise refused(error) from error
        values = {
            "button": button,
            "what": what,
            "choices": choices,
            "subject": subject,
            "back": button.back(subject),
        }
        return page(request, "confirm.html", values, headers={"Cache-Control": "no-store"})

    def press(request: Request, subject: str, form: Form) -> Response:
        caller: Caller = request.state.caller
        check_form(caller, form)
        asked = Asked(context_of(request), known_word(subject, "thing"), caller, form)
        try:
            with asked.context.db.transaction() as session:
                done = button.act(asked, JoinedDatabase(session))
        except Exception as error:
            raise refused(error) from error
        hint(asked.context, done)
        return RedirectResponse(
            _to_build(str(done.body["build"])) if "build" in done.body else button.back(subject), 303
        )

    address = f"/do/{button.name}/{{subject:path}}"
    router.add_api_route(address, show, methods=["GET"], dependencies=[page_needs(button.scope)])
    router.add_api_route(address, press, methods=["POST"], dependencies=[page_needs(button.scope)])


for each in (*BUTTONS, *SIDE_TAG_BUTTONS):
    _routes(each)
