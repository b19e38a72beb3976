"""Carries out a write of the API once: its effect and the answer to its Idempotency-Key in one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends, Header
from pydantic import BaseModel
from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.domain.errors import BadCatalog, BadName, BadTag, CommandRefused, NotFound
from service.store.schema import KeptAnswer
from service.store.session import Database, JoinedDatabase, database_now, insert_if_absent
from service.web.access.auth import Caller, needs
from service.web.base.context import WebContext
from service.web.base.parameters import Context
from service.web.base.problems import Problem

KEPT_FOR = timedelta(hours=24)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,100}$",
        description="A word of your own. A repeat with the same word and body within a day gets the first answer "
        "again, and nothing is done twice; with another body it is refused (422).",
    ),
]


@dataclass(frozen=True)
class Done:
    """The outcome of a write: the answer's body, and the rows to hint at after the commit."""

    body: Mapping[str, Any]
    builds: tuple[int, ...] = ()
    deliveries: tuple[int, ...] = ()
    side_tags: tuple[int, ...] = ()
    replan: bool = False
    status: int = 202
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WriteRequest:
    """One request to write: who asks, and with which Idempotency-Key. A route gets it by ``write_needs(scope)``."""

    request: Request
    context: WebContext
    caller: Caller
    key: str | None

    def do(self, action: Callable[[Database], Done], payload: BaseModel | None = None) -> Response:
        """Do the action in one transaction and answer; with a key, at most once. Raises Problem 404, 409 and 422.

        Two requests with one key at the same moment queue up at the key's row: the second gets the first's answer.
        """
        kept: KeptAnswer | None = None
        try:
            with self.context.db.transaction() as session:
                if self.key is not None:
                    asked = _fingerprint(self.request, payload)
                    kept = _claim(session, self.caller.name, self.key, asked)
                    if kept.status:
                        if kept.request_sha256 != asked:
                            raise Problem(
                                422,
                                "header.Idempotency-Key: this key was used for another request; take a fresh one.",
                            )
                        headers = {"Idempotency-Replayed": "true"}
                        return JSONResponse(json.loads(kept.body), kept.status, headers=headers)
                done = action(JoinedDatabase(session))
                if kept is not None:
                    kept.status, kept.body = done.status, json.dumps(done.body)
        except Exception as error:
            raise refused(error) from error
        hint(self.context, done)
        return JSONResponse(dict(done.body), done.status, headers=dict(done.headers))


def write_needs(scope: str) -> Any:
    """Make the dependency of a writing route: the WriteRequest, if the caller has the scope.

    It raises Problem 401 and 403.
    """
    right = needs(scope)

    # It only puts together what others have found out, so it takes no thread of the few.
    async def ask(
        request: Request, context: Context, caller: Caller = right, key: IdempotencyKey = None
    ) -> WriteRequest:
        return WriteRequest(request, context, caller, key)

    return Depends(ask)


def hint(context: WebContext, done: Done) -> None:
    """Send the workers hints of what is due now; a hint that is lost costs a sweep."""
    for build_id in done.builds:
        context.wake.build(build_id)
    for delivery_id in done.deliveries:
        context.wake.delivery(delivery_id)
    for side_tag_id in done.side_tags:
        context.wake.side_tag(side_tag_id)
    if done.replan:
        context.wake.reconcile()


def refused(error: Exception) -> Exception:
    """Turn a command's refusal into the Problem that says so; return any other error as it is."""
    if isinstance(error, NotFound):
        return Problem(404, _sentence(error))
    if isinstance(error, CommandRefused):
        return Problem(409, _sentence(error))
    if isinstance(error, (BadTag, BadName, BadCatalog)):
        return Problem(422, _sentence(error))
    return error


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _fingerprint(request: Request, payload: BaseModel | None) -> str:
    body = payload.model_dump_json() if payload else ""
    return sha256(f"{request.method} {request.url.path}?{request.url.query}\n{body}".encode()).hexdigest()


def _claim(session: Session, actor: str, key: str, asked: str) -> KeptAnswer:
    """Return the key's row, made by its first request and locked until the answer is in it."""
    at = database_now(session)
    session.execute(delete(KeptAnswer).where(KeptAnswer.at < at - KEPT_FOR))
    values = {"actor": actor, "request_key": key, "request_sha256": asked, "status": 0, "body": "", "at": at}
    insert_if_absent(session, KeptAnswer, values, unique=("actor", "request_key"))
    return session.scalars(
        select(KeptAnswer).where(KeptAnswer.actor == actor, KeptAnswer.request_key == key).with_for_update()
    ).one()
