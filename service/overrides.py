"""Changes the catalogue through overrides in the database, and gives the catalogue with them applied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.access.audit import note_audit
from service.catalog import Catalog
from service.catalog.overrides import EDITABLE, Effective, Override, apply, effective, values_of
from service.domain.errors import BadCatalog, CommandRefused, NotFound
from service.store.schema import CatalogOverride
from service.store.session import Database, database_now, insert_if_absent

WHY_LIMIT = 500


@dataclass(frozen=True)
class Changed:
    """The result of a change of the catalogue: values before and after of what changed, and a sentence for people."""

    kind: str
    subject: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    sentence: str


class LiveCatalog:
    """The catalogue of the files with the overrides of a database. One per process."""

    def __init__(self, db: Database, files: Catalog) -> None:
        self._db = db
        self.files = files
        self._seen: tuple[tuple[Override, ...], Effective] = ((), Effective(files, {}))

    def look(self) -> Effective:
        """Return the catalogue as it is now. Reads the overrides; applies them again only when they have changed."""
        with self._db.reader() as session:
            rows = read_overrides(session)
        known, found = self._seen
        if rows != known:
            found = effective(self.files, rows)
            self._seen = (rows, found)
        return found


def read_overrides(session: Session) -> tuple[Override, ...]:
    """Return every override, by kind and subject."""
    o = CatalogOverride
    rows = session.execute(
        select(o.kind, o.subject, o.changes, o.why, o.actor, o.at, o.id).order_by(o.kind, o.subject)
    )
    return tuple(Override(*row) for row in rows)


def change_catalog(
    db: Database,
    files: Catalog,
    kind: str,
    subject: str,
    changes: Mapping[str, Any],
    *,
    why: str,
    by: str,
    action: str,
    address: str = "",
) -> Changed:
    """Override values of one target, branch or stream, with a reason and a line of audit. Commits.

    A key whose value is that of the files again is no override any more. Raises NotFound for an unknown subject,
    BadCatalog for an unknown key, a value that the catalogue's checks refuse or a missing reason, and CommandRefused
    where nothing would change: of two people who press the same button the second is told.
    """
    reason = _reason(why)
    own = _known(files, kind, subject)
    with db.transaction() as session:
        at = database_now(session)
        row = _locked(session, kind, subject, at)
        unknown = sorted(set(changes) - set(EDITABLE[kind]))
        if unknown or not changes:
            what = f"{unknown[0][:40]!r} cannot be changed here" if unknown else "nothing to change"
            raise BadCatalog(f"{kind} {subject}: {what}; what can: {', '.join(EDITABLE[kind])}")
        before = _held(files, kind, subject, row.changes)
        wanted = {**row.changes, **changes}
        kept = {key: value for key, value in wanted.items() if value != own[key]}
        # All other overrides are in force, too: a strategy and a range of streams may need each other.
        others = [o for o in read_overrides(session) if (o.kind, o.subject) != (kind, subject)]
        after = values_of(
            apply(effective(files, others).catalog, Override(kind, subject, wanted)), kind, subject
        )
        if after == before:
            raise CommandRefused(f"{kind} {subject} is like that already: {_told(changes)}")
        if kept:
            row.changes, row.why, row.actor, row.at = kept, reason, by[:100], at
        else:
            session.delete(row)
        return _note(session, kind, subject, before, after, by, address, action, reason, at)


def drop_override(
    db: Database, files: Catalog, override_id: int, *, why: str, by: str, address: str = ""
) -> Changed:
    """Remove an override: the values of the files hold again. Commits.

    Raises NotFound, and BadCatalog for a missing reason.
    """
    reason = _reason(why)
    with db.transaction() as session:
        row = session.get(CatalogOverride, override_id, with_for_update=True)
        if row is None:
            raise NotFound(f"there is no override {override_id}")
        kind, subject = row.kind, row.subject
        before: dict[str, Any] = dict(row.changes)
        try:
            own = values_of(files, kind, subject)
        except BadCatalog:
            own = {}
        session.delete(row)
        return _note(
            session, kind, subject, before, {key: own.get(key) for key in before}, by, address,
            "catalog.drop", reason, database_now(session),
        )  # fmt: skip


def _locked(session: Session, kind: str, subject: str, at: datetime) -> CatalogOverride:
    """Return the override's row, locked; made if needed. Two changes of one subject wait for each other here."""
    new = {"kind": kind, "subject": subject, "changes": {}, "why": "-", "actor": "", "at": at}
    insert_if_absent(session, CatalogOverride, new, unique=["kind", "subject"])
    return session.scalars(
        select(CatalogOverride)
        .where(CatalogOverride.kind == kind, CatalogOverride.subject == subject)
        .with_for_update()
    ).one()


def _known(files: Catalog, kind: str, subject: str) -> dict[str, Any]:
    try:
        return values_of(files, kind, subject)
    except BadCatalog as error:
        raise NotFound(str(error)) from None


def _held(files: Catalog, kind: str, subject: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values before the change; an override that does not fit the files any more is left out."""
    return values_of(effective(files, [Override(kind, subject, changes)]).catalog, kind, subject)


def _reason(why: str) -> str:
    reason = " ".join(why.split())
    if not reason or len(reason) > WHY_LIMIT:
        raise BadCatalog(f"say why, in 1 to {WHY_LIMIT} characters: others will read it")
    return reason


def _told(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in changes.items())


def _note(
    session: Session,
    kind: str,
    subject: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    by: str,
    address: str,
    action: str,
    why: str,
    at: datetime,
) -> Changed:
    keys = [key for key in after if before.get(key) != after[key]]
    was, now = {key: before.get(key) for key in keys}, {key: after[key] for key in keys}
    note_audit(
        session, at=at, by=by, address=address, action=action, subject=f"{kind} {subject}", detail=why,
        before=was, after=now,
    )  # fmt: skip
    return Changed(kind, subject, was, now, f"{kind} {subject}: {_told(now)}")
