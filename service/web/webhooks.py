"""Receives ``POST /webhooks/github``: checks it, stores it durably, answers, and only then sends a hint."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Sequence
from hashlib import sha256

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from service.releases.intake import Incoming
from service.web.base.context import WebContext, context_of
from service.web.base.inbox import InboxUnavailable, Reservation
from service.web.base.problems import Problem, problem_response

# Parsing more than this on the event loop would be felt by everybody else.
PARSE_ON_LOOP = 256 * 1024
RETRY_AFTER = "10"

_SIGNATURE = re.compile(r"sha256=([0-9a-fA-F]{64})", re.ASCII)
_GUID = re.compile(r"[!-~]{1,100}", re.ASCII)
_EVENT = re.compile(r"[!-~]{1,60}", re.ASCII)


async def receive_github(request: Request) -> Response:
    """Answer one delivery of GitHub; the checks stand in the order of docs/life-of-a-release.md."""
    context = context_of(request)
    try:
        return await _receive(request, context)
    except Problem as problem:
        return problem_response(problem)
    except InboxUnavailable as error:
        return problem_response(_not_ours_yet(str(error)))


async def _receive(request: Request, context: WebContext) -> Response:
    secrets = context.settings.secrets()
    if not secrets:
        raise Problem(404, "The endpoint is off: no webhook secret is configured.")
    _check_content_type(request.headers.get("content-type", ""))
    reservation = context.budget.reservation()
    try:
        body, digests = await _read_body(request, context, reservation, secrets)
        _check_signature(request, context, digests)
        if not await _is_json_object(body, context):
            raise Problem(400, "The body is not a JSON object.")
        guid = _header(request, "X-GitHub-Delivery", _GUID)
        event = _header(request, "X-GitHub-Event", _EVENT)
        if event == "ping":
            return JSONResponse({"delivery": guid, "event": "ping"})
        sender = request.client.host if request.client else ""
        accepted = await context.inbox.store(Incoming(guid, event, body, sender[:100]))
    finally:
        reservation.release()
    if accepted.due:
        context.wake.delivery(accepted.id)
    return JSONResponse(
        {"delivery": accepted.guid, "state": accepted.state, "duplicate": accepted.duplicate}, status_code=202
    )


def _check_content_type(value: str) -> None:
    media_type = value.partition(";")[0].strip().lower()
    if media_type == "application/json" or re.fullmatch(r"application/[\w.\-]+\+json", media_type, re.ASCII):
        return
    raise Problem(415, "Set the webhook's content type to application/json.")


async def _read_body(
    request: Request, context: WebContext, reservation: Reservation, secrets: Sequence[bytes]
) -> tuple[bytes, list[bytes]]:
    """The raw body and its HMAC under each secret, made chunk by chunk: no long hash blocks the loop."""
    limit = context.settings.webhook_body_limit
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
        raise _too_large(limit)
    macs = [hmac.new(secret, digestmod=sha256) for secret in secrets]
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(context.body_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                if not reservation.take(len(chunk)):
                    raise _not_ours_yet("too many large deliveries are on their way")
                chunks.append(chunk)
                for mac in macs:
                    mac.update(chunk)
    except TimeoutError:
        raise Problem(408, f"The body did not arrive within {context.body_seconds:g} seconds.") from None
    except ClientDisconnect:
        raise Problem(400, "The connection closed before the body was complete.") from None
    return b"".join(chunks), [mac.digest() for mac in macs]


def _check_signature(request: Request, context: WebContext, digests: Sequence[bytes]) -> None:
    """Raise Problem 401 for a wrong signature, 429 for too many of them from one address.

    Only wrong ones are counted: GitHub's addresses are everybody's, and whoever has the secret is always let in.
    """
    try:
        _compare_signature(request.headers.getlist("x-hub-signature-256"), digests)
    except Problem:
        address = request.client.host if request.client else ""
        context.rates.take("signature", address, "wrongly signed deliveries from one address")
        raise


def _compare_signature(headers: Sequence[str], digests: Sequence[bytes]) -> None:
    match = _SIGNATURE.fullmatch(headers[0]) if len(headers) == 1 else None
    if match is None:
        raise Problem(401, "X-Hub-Signature-256 is missing or malformed.")
    claimed = bytes.fromhex(match[1])
    fitting = sum(hmac.compare_digest(claimed, digest) for digest in digests)
    if not fitting:
        raise Problem(401, "X-Hub-Signature-256 does not fit the body: check the webhook's secret.")


async def _is_json_object(body: bytes, context: WebContext) -> bool:
    if len(body) <= PARSE_ON_LOOP:
        return parses_to_object(body)
    # One at a time: the parsed form of a large body can be many times its size.
    async with context.large_body_lock:
        return await asyncio.to_thread(parses_to_object, body)


def parses_to_object(body: bytes) -> bool:
    """Whether ``body`` is JSON with an object at its top; garbage, bad text and endless nesting are not."""
    try:
        return isinstance(json.loads(body, parse_constant=_refuse_constant), dict)
    except (ValueError, RecursionError):
        return False


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON, though Python reads it")


def _header(request: Request, name: str, shape: re.Pattern[str]) -> str:
    value = request.headers.get(name, "")
    if not shape.fullmatch(value):
        raise Problem(400, f"The header {name} is missing or is not what GitHub sends.")
    return value


def _too_large(limit: int) -> Problem:
    return Problem(413, f"The body is over {limit} bytes.")


def _not_ours_yet(why: str) -> Problem:
    detail = f"Not stored: {why}. Deliver it again."
    return Problem(503, detail, headers={"Retry-After": RETRY_AFTER})
