"""The service on this machine, as the command line sees it: the same answers as the API's, without a server."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from service import board, overrides
from service.access import tokens
from service.builds import commands
from service.distgit.changes import resolve_conflict
from service.domain.distgit import Resolution
from service.domain.errors import NotFound
from service.sidetags.lifecycle import SideTagAsked, give_up_side_tag, go_on_side_tag
from workers.cli.output import plain
from workers.context import Context

# The state that a resource is asked about by the word before the dot.
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "target.pause": {"enabled": False},
    "target.resume": {"enabled": True},
    "target.edit": {},
    "stream.confirm": {"confirmed": True, "build": True},
    "stream.end": {"build": False},
    "branch.end": {},
}


class LocalService:
    """Reads and commands on the database itself. Raises CommandRefused and its like, as the commands do."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._by = getpass.getuser()

    def matrix(self) -> dict[str, Any]:
        """Targets, and rows with their cells in the targets' order."""
        with self._ctx.db.reader() as session:
            found = board.matrix(session, self._ctx.catalog, datetime.now(UTC))
        rows = []
        for row in found.rows:
            cells = [
                {
                    **plain(cell), "state": cell.state,
                    "version": cell.build.version if cell.build else "",
                    "nvr": cell.build.nvr if cell.build else "",
                    "shipped": cell.build.shipped if cell.build else "",
                    "reason": cell.build.reason if cell.build else cell.refusal,
                }
                for cell in row.cells
            ]  # fmt: skip
            rows.append({**plain(row), "cells": cells})
        return {"targets": plain(found.columns), "rows": rows, "counts": dict(found.counts)}

    def builds(self, filters: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
        """Builds, newest first."""
        states = tuple(filters.get("state") or ())
        wanted = board.BuildFilter(
            stream=filters.get("stream"),
            branch=filters.get("branch"),
            system=filters.get("system"),
            states=states,
        )
        with self._ctx.db.reader() as session:
            return _list(board.list_builds(session, wanted, limit=limit).items)

    def build(self, build_id: int) -> dict[str, Any]:
        """One build with its chroots and how it was made."""
        detail = self._detail(build_id)
        rest = plain(detail)
        return {**rest.pop("build"), **rest, "attempts": [attempt.id for attempt in detail.attempts]}

    def events(self, build_id: int) -> list[dict[str, Any]]:
        """A build's history, oldest first."""
        return _list(self._detail(build_id).events)

    def deliveries(self, limit: int) -> list[dict[str, Any]]:
        """Webhook deliveries, newest first."""
        with self._ctx.db.reader() as session:
            return _list(board.list_deliveries(session, limit=limit).items)

    def audit(self, filters: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
        """Who asked for what, newest first."""
        with self._ctx.db.reader() as session:
            return _list(board.list_audit(session, **filters, limit=limit).items)

    def overrides(self) -> list[dict[str, Any]]:
        """What differs from the catalogue's files."""
        with self._ctx.db.reader() as session:
            return _list(overrides.read_overrides(session))

    def retry(self, build_id: int, strategy: str | None) -> dict[str, Any]:
        """A new attempt at an ended build's cell."""
        commands.check_retry(self._ctx.db, self._ctx.catalog, build_id, strategy)
        return self._asked(
            commands.request_build(self._ctx.db, self._ctx.catalog, build_id, by=self._by, strategy=strategy)
        )

    def cancel(self, build_id: int) -> dict[str, Any]:
        """Ask for a build's end."""
        return self._asked(commands.request_cancel(self._ctx.db, build_id, by=self._by))

    def resume(self, build_id: int) -> dict[str, Any]:
        """Let a held build go on."""
        return self._asked(commands.resume_build(self._ctx.db, self._ctx.catalog, build_id, by=self._by))

    def resolve(self, build_id: int, how: str) -> dict[str, Any]:
        """Settle a conflict in dist-git."""
        way = Resolution(how)
        return self._asked(resolve_conflict(self._ctx.db, self._ctx.catalog, build_id, way, by=self._by))

    def give_up(self, build_id: int, why: str) -> dict[str, Any]:
        """End a build whose build system may never answer."""
        seconds = 2 * self._ctx.settings.submit_doubt_seconds
        return self._asked(
            commands.give_up_build(self._ctx.db, build_id, by=self._by, why=why, surplus_seconds=seconds)
        )

    def side_tags(self, filters: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
        """Side tags, newest first."""
        with self._ctx.db.reader() as session:
            return _list(board.list_side_tags(session, **filters, limit=limit).items)

    def side_tag(self, side_tag_id: int) -> dict[str, Any]:
        """One side tag with its history."""
        with self._ctx.db.reader() as session:
            detail = board.side_tag_detail(session, side_tag_id)
        if detail is None:
            raise NotFound(f"there is no side tag {side_tag_id}")
        return dict(plain(detail))

    def give_up_side_tag(self, side_tag_id: int, why: str) -> dict[str, Any]:
        """Have a side tag removed although its update was not pushed."""
        return self._of_side_tag(give_up_side_tag(self._ctx.db, side_tag_id, by=self._by, why=why))

    def go_on_side_tag(self, side_tag_id: int, why: str) -> dict[str, Any]:
        """Let a held side tag go on, or its set without what ended badly."""
        return self._of_side_tag(go_on_side_tag(self._ctx.db, side_tag_id, by=self._by, why=why))

    def _of_side_tag(self, done: SideTagAsked) -> dict[str, Any]:
        self._ctx.wake.side_tag(done.side_tag_id)
        return {"side_tag": done.side_tag_id, "sentence": done.sentence}

    def rebuild(self, wish: Mapping[str, Any], *, dry_run: bool) -> dict[str, Any]:
        """Build many cells again, or say what would be done."""
        asked = commands.RebuildRequest(**wish)
        if dry_run:
            return {
                "dry_run": True,
                **plain(commands.preview_rebuild(self._ctx.db, self._ctx.catalog, asked)),
            }
        done = commands.request_rebuild(self._ctx.db, self._ctx.catalog, asked, by=self._by)
        for build_id in done.builds:
            self._ctx.wake.build(build_id)
        return {"dry_run": False, **plain(done)}

    def add_release(self, family: str, tag: str, bugs: Sequence[int] = ()) -> dict[str, Any]:
        """Announce a release by hand, with the bugs that ask for it."""
        done = commands.add_release(self._ctx.db, self._ctx.catalog, family, tag, bugs=bugs, by=self._by)
        for build_id in done.builds:
            self._ctx.wake.build(build_id)
        return {"sentence": done.sentence, "builds": list(done.builds)}

    def replay(self, guid: str) -> dict[str, Any]:
        """Process a delivery again."""
        self._ctx.wake.delivery(commands.replay_delivery(self._ctx.db, guid, by=self._by))
        return {"delivery": guid, "sentence": f"delivery {guid} is due again"}

    def change(self, action: str, subject: str, changes: Mapping[str, Any], why: str) -> dict[str, Any]:
        """Change the catalogue: ``action`` is one of CHANGES."""
        given = {**CHANGES[action], **changes}
        if action.endswith(".end"):
            given.setdefault("eol", datetime.now(UTC).date().isoformat())
        done = overrides.change_catalog(
            self._ctx.db, self._ctx.live_catalog.files, action.partition(".")[0], subject, given,
            why=why, by=self._by, action=action,
        )  # fmt: skip
        self._ctx.wake.reconcile()
        return dict(plain(done))

    def drop_override(self, override_id: int, why: str) -> dict[str, Any]:
        """Go back to the files."""
        done = overrides.drop_override(
            self._ctx.db, self._ctx.live_catalog.files, override_id, why=why, by=self._by
        )
        self._ctx.wake.reconcile()
        return dict(plain(done))

    def create_token(self, name: str, scopes: list[str], expires_in: timedelta | None) -> dict[str, Any]:
        """Make a token; ``text`` is there this once."""
        made = tokens.create_token(self._ctx.db, name, scopes, by=self._by, expires_in=expires_in)
        return {"text": made.text, "token": plain(made.row)}

    def list_tokens(self) -> list[dict[str, Any]]:
        """Every token, without its text."""
        return _list(tokens.list_tokens(self._ctx.db))

    def revoke_token(self, name: str) -> dict[str, Any]:
        """End a token."""
        return dict(plain(tokens.revoke_token(self._ctx.db, name, by=self._by)))

    def _detail(self, build_id: int) -> board.BuildDetail:
        with self._ctx.db.reader() as session:
            detail = board.build_detail(session, build_id)
        if detail is None:
            raise NotFound(f"there is no build {build_id}")
        return detail

    def _asked(self, done: commands.Requested) -> dict[str, Any]:
        self._ctx.wake.build(done.build_id)
        return {"build": done.build_id, "sentence": done.sentence}


def _list(rows: Any) -> list[dict[str, Any]]:
    return [dict(plain(row)) for row in rows]
