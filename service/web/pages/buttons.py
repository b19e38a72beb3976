"""The buttons of the pages: a page that says what will happen, then a plain POST with the API's command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
from service.sidetags.lifecycle import give_up_side_tag, go_on_side_tag
from service.store.session import Database, JoinedDatabase
from service.web.access.auth import Caller, Form, check_form, page_needs
from service.web.api.builds import known_build
from service.web.api.side_tags import SideTagCommand, asked_of_side_tag, known_side_tag
from service.web.api.writes import Done, hint, refused
from service.web.base.context import WebContext, context_of
from service.web.base.parameters import known_word
from service.web.base.problems import Problem
from service.web.base.render import page

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class ButtonPress:
    """One press of a button: the subject in its address, the caller, and the form's fields."""

    context: WebContext
    subject: str
    caller: Caller
    form: Mapping[str, str]

    @property
    def row_id(self) -> int:
        """The subject as a row's id. Raises Problem 404."""
        if not (self.subject.isascii() and self.subject.isdigit() and len(self.subject) < 18):
            raise Problem(404, "There is no such build, and no such side tag.")
        return int(self.subject)

    def why(self) -> str:
        """Return the reason in the form, cut at its limit. Raises Problem 422 where there is none."""
        text = self.form.get("why", "").strip()[: overrides.WHY_LIMIT]
        if not text:
            raise Problem(422, "Say why, for the others.")
        return text

    def build(self) -> board.BuildDetail:
        """Return the build that the button is on. Raises Problem 404."""
        with self.context.db.reader() as session:
            return known_build(session, self.row_id)


@dataclass(frozen=True)
class TextField:
    """A text field of a button's form. ``limit`` is in characters."""

    name: str
    label: str
    limit: int
    required: bool = True


WHY = TextField("why", "Why, for the others", overrides.WHY_LIMIT)


@dataclass(frozen=True)
class Button:
    """A button of the pages.

    ``what`` makes the text that says what will happen, ``act`` does it in a given transaction, ``back`` makes the
    address of the page to show then.
    """

    name: str
    scope: str
    label: str
    what: Callable[[ButtonPress], str]
    act: Callable[[ButtonPress, Database], Done]
    back: Callable[[str], str]
    texts: tuple[TextField, ...] = ()
    choices: Callable[[ButtonPress], Mapping[str, Mapping[str, str]]] = field(default=lambda press: {})


def _cell(press: ButtonPress) -> str:
    build = press.build().build
    return f"{build.nvr or build.package + ' ' + build.version} on {build.target} (build {build.id}, {build.state})"


def _strategies(press: ButtonPress) -> dict[str, dict[str, str]]:
    known = press.context.catalog.strategies
    return {
        "strategy": {"": "as before", **{name: f"{name}: {row.why}"[:120] for name, row in known.items()}}
    }


def _retry(press: ButtonPress, db: Database) -> Done:
    strategy = press.form.get("strategy") or None
    catalog = press.context.catalog
    commands.check_retry(db, catalog, press.row_id, strategy)
    return _one(commands.request_build(db, catalog, press.row_id, strategy=strategy, **press.caller.by))


def _one(done: commands.Requested) -> Done:
    return Done({"build": done.build_id}, builds=(done.build_id,))


def _give_up(press: ButtonPress, db: Database) -> Done:
    why = press.why()
    seconds = 2 * press.context.settings.submit_doubt_seconds
    return _one(commands.give_up_build(db, press.row_id, why=why, surplus_seconds=seconds, **press.caller.by))


RESOLUTIONS = {
    "how": {
        "": "choose",
        Resolution.GENERATED.value: "take the generated lines",
        Resolution.DIST_GIT.value: "keep dist-git's lines",
        Resolution.DONE.value: "I edited it in dist-git: take what is there now",
    }
}


def _resolve(press: ButtonPress, db: Database) -> Done:
    how = press.form.get("how", "")
    if not how or how not in RESOLUTIONS["how"]:
        raise Problem(422, "Choose how the conflict is settled.")
    return _one(resolve_conflict(db, press.context.catalog, press.row_id, Resolution(how), **press.caller.by))


def _replay(press: ButtonPress, db: Database) -> Done:
    return Done({}, deliveries=(commands.replay_delivery(db, press.subject, **press.caller.by),))


def _wish(press: ButtonPress) -> commands.RebuildRequest:
    """Read which cells to rebuild from a subject.

    It is ``release/cri-o/1.35.6`` for what failed of a release, ``stream/cri-o/1.35`` or ``branch/cri-o/f44``.
    """
    kind, family, name = [*press.subject.split("/"), "", ""][:3]
    if kind not in ("release", "stream", "branch") or not name:
        raise Problem(404, "There are no such cells.")
    known = {
        "release": {"version": name, "failed_only": True},
        "stream": {"stream": name},
        "branch": {"branch": name},
    }
    return commands.RebuildRequest(family=family, strategy=press.form.get("strategy") or None, **known[kind])  # type: ignore[arg-type]


def _what_rebuild(press: ButtonPress) -> str:
    found = commands.preview_rebuild(press.context.db, press.context.catalog, _wish(press))
    ready = [f"{cell.package} {cell.version} on {cell.target}" for cell in found.cells if not cell.refusal]
    left = [f"{cell.package} on {cell.target}: {cell.refusal}" for cell in found.cells if cell.refusal]
    if not ready:
        raise CommandRefused(f"nothing can be built again: {'; '.join(left)}")
    return "\n".join([f"{len(ready)} new builds:", *ready, *(["Left alone:", *left] if left else [])])


def _rebuild(press: ButtonPress, db: Database) -> Done:
    done = commands.request_rebuild(db, press.context.catalog, _wish(press), **press.caller.by)
    return Done({}, builds=done.builds)


def _override(
    kind: str, action: str, changes: Callable[[], Mapping[str, Any]]
) -> Callable[[ButtonPress, Database], Done]:
    def act(press: ButtonPress, db: Database) -> Done:
        overrides.change_catalog(
            db, press.context.live_catalog.files, kind, press.subject, changes(),
            why=press.form.get("why", ""), action=action, **press.caller.by,
        )  # fmt: skip
        return Done({}, replan=True)

    return act


def _what_cause(press: ButtonPress) -> str:
    with press.context.db.reader() as session:
        cluster = board.cluster_of(session, press.subject)
    if cluster is None:
        raise NotFound(f"there is no cluster {press.subject[:40]} of unknown failures without a name")
    where = f"{', '.join(cluster.packages)} on {', '.join(cluster.branches)}"
    return (
        f"{cluster.cause}\nThe name becomes a rule: it is given at once to the builds that failed so "
        f"({cluster.counts.builds}: {where}), and from now on to every failure of cluster {cluster.fingerprint}."
    )


def _name_cause(press: ButtonPress, db: Database) -> Done:
    words = {text.name: press.form.get(text.name, "") for text in CAUSE_TEXTS}
    fault, retry = press.form.get("fault", Fault.PACKAGE.value), press.form.get("retry", Retry.NO.value)
    if fault not in list(Fault) or retry not in list(Retry):
        raise Problem(422, "Choose whose fault it is and whether a retry helps from the lists.")
    diagnoses.name_cluster(
        db, press.subject, **words, fault=Fault(fault), retry=Retry(retry), rename=False, **press.caller.by
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


def _side_tag(press: ButtonPress) -> str:
    tag = known_side_tag(press.context, press.row_id).side_tag
    return f"side tag of {tag.set_id} {tag.stream} on {tag.branch}" + (f" ({tag.name})" if tag.name else "")


def _of_side_tag(command: SideTagCommand) -> Callable[[ButtonPress, Database], Done]:
    def act(press: ButtonPress, db: Database) -> Done:
        why = press.why()
        return asked_of_side_tag(command(db, press.row_id, why=why, **press.caller.by))

    return act


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _to_build(subject: str) -> str:
    return f"/builds/{subject}"


BUTTONS = (
    Button(
        "build-retry", "builds:write", "Build again",
        lambda press: f"A new attempt at the cell of {_cell(press)} begins at once. This build stays as it is.",
        _retry, _to_build, choices=_strategies,
    ),
    Button(
        "build-cancel", "builds:write", "Cancel the build",
        lambda press: f"The end of {_cell(press)} is asked for; the next step carries it out, at the build system too.",
        lambda press, db: _one(commands.request_cancel(db, press.row_id, **press.caller.by)), _to_build,
    ),
    Button(
        "build-resume", "builds:write", "Let it go on",
        lambda press: f"{_cell(press)} goes on. If it was handed over before, it is looked for first: never two.",
        lambda press, db: _one(
            commands.resume_build(db, press.context.catalog, press.row_id, **press.caller.by)
        ),
        _to_build,
    ),
    Button(
        "build-give-up", "builds:write", "Give the build up",
        lambda press: f"{_cell(press)} ends at once, without waiting for its build system. What that may still hold of "
        "it is looked for later, and cancelled.",
        _give_up, _to_build, texts=(WHY,),
    ),
    Button(
        "build-resolve", "builds:write", "Settle the conflict",
        lambda press: f"The lines in conflict in dist-git are settled as you choose, and {_cell(press)} goes on.",
        _resolve, _to_build, choices=lambda press: RESOLUTIONS,
    ),
    Button(
        "rebuild", "builds:write", "Build these cells again", _what_rebuild, _rebuild,
        lambda subject: "/builds", choices=_strategies,
    ),
    Button(
        "cause-name", "builds:write", "Name this cause", _what_cause, _name_cause,
        lambda subject: "/causes", texts=CAUSE_TEXTS, choices=lambda press: CAUSE_CHOICES,
    ),
    Button(
        "delivery-replay", "releases:write", "Look at it again",
        lambda press: f"Delivery {press.subject} is processed again, with the catalogue as it is now.",
        _replay, lambda subject: f"/deliveries/{quote(subject)}",
    ),
    Button(
        "stream-confirm", "catalog:write", "Confirm the stream",
        lambda press: f"Stream {press.subject} is built, and no longer marked as unconfirmed.",
        _override("stream", "stream.confirm", lambda: {"confirmed": True, "build": True}),
        lambda subject: "/catalogue", texts=(WHY,),
    ),
    Button(
        "stream-end", "catalog:write", "Mark the stream as end-of-life",
        lambda press: f"Nothing new is built of stream {press.subject}. What is built stays.",
        _override("stream", "stream.end", lambda: {"build": False, "eol": _today()}),
        lambda subject: "/catalogue", texts=(WHY,),
    ),
    Button(
        "branch-end", "catalog:write", "Mark the branch as end-of-life",
        lambda press: f"Branch {press.subject} gets no new builds. What is built stays.",
        _override("branch", "branch.end", lambda: {"eol": _today()}),
        lambda subject: "/catalogue", texts=(WHY,),
    ),
    Button(
        "target-pause", "catalog:write", "Pause the target",
        lambda press: f"Nothing new is planned for {press.subject}. What is under way goes on.",
        _override("target", "target.pause", lambda: {"enabled": False}),
        lambda subject: "/catalogue", texts=(WHY,),
    ),
    Button(
        "target-resume", "catalog:write", "Resume the target",
        lambda press: f"{press.subject} is planned for again; the newest patch of each stream that it missed is built.",
        _override("target", "target.resume", lambda: {"enabled": True}),
        lambda subject: "/catalogue", texts=(WHY,),
    ),
    Button(
        "side-tag-give-up", "builds:write", "Give the side tag up",
        lambda press: f"The {_side_tag(press)} is removed at the build system with all that it holds, although its "
        "update was not pushed. Builds that wait for their turn get a new one.",
        _of_side_tag(give_up_side_tag), lambda subject: f"/side-tags/{subject}", texts=(WHY,),
    ),
    Button(
        "side-tag-go-on", "builds:write", "Let the set go on",
        lambda press: f"The {_side_tag(press)} goes on: if it is held it is tried or looked at again, else the later "
        "builds of the set are made without those that ended badly.",
        _of_side_tag(go_on_side_tag), lambda subject: f"/side-tags/{subject}", texts=(WHY,),
    ),
)  # fmt: skip


def _routes(button: Button) -> None:
    def show(request: Request, subject: str) -> Response:
        press = ButtonPress(context_of(request), known_word(subject, "thing"), request.state.caller, {})
        try:
            what, choices = button.what(press), button.choices(press)
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

    def submit(request: Request, subject: str, form: Form) -> Response:
        caller: Caller = request.state.caller
        check_form(caller, form)
        press = ButtonPress(context_of(request), known_word(subject, "thing"), caller, form)
        try:
            with press.context.db.transaction() as session:
                done = button.act(press, JoinedDatabase(session))
        except Exception as error:
            raise refused(error) from error
        hint(press.context, done)
        return RedirectResponse(
            _to_build(str(done.body["build"])) if "build" in done.body else button.back(subject), 303
        )

    address = f"/do/{button.name}/{{subject:path}}"
    router.add_api_route(address, show, methods=["GET"], dependencies=[page_needs(button.scope)])
    router.add_api_route(address, submit, methods=["POST"], dependencies=[page_needs(button.scope)])


for each in BUTTONS:
    _routes(each)
