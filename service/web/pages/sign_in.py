"""Signs people in and out of the dashboard: by an OpenID provider where one is configured, else by a token."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from urllib.parse import quote, unquote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.access import tokens
from service.access.sign_ins import sign_in, sign_out
from service.web.access.auth import (
    Form,
    caller_by_cookie,
    check_form,
    check_seed,
    cookie_name,
    is_secure,
    seed_word,
)
from service.web.base.context import context_of
from service.web.base.oidc import Provider
from service.web.base.problems import Problem
from service.web.base.render import page

# A secret of the browser from before its session: it ties the sign-in's form, and the provider's answer, to it.
SEED = "cryopack_seed"
NEXT = "cryopack_next"
SEED_SECONDS = 600

_SEED = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_LOCAL = re.compile(r"/(?![/\\])[!-~]{0,500}", re.ASCII)

router = APIRouter(include_in_schema=False)


@router.get("/sign-in")
def show_sign_in(request: Request) -> Response:
    """Show the sign-in page: the provider's button, or the form for a token."""
    seed = _seed(request) or secrets.token_urlsafe(32)
    provider = context_of(request).provider
    values = {"form_word": seed_word(seed), "provider": provider.host if provider else ""}
    answer = page(request, "sign_in.html", values, headers={"Cache-Control": "no-store"})
    _set(answer, request, _name(request, SEED), seed, SEED_SECONDS)
    _set(
        answer,
        request,
        _name(request, NEXT),
        quote(_local(request.query_params.get("next", "/"))),
        SEED_SECONDS,
    )
    return answer


@router.post("/sign-in/token")
def sign_in_by_token(request: Request, form: Form) -> Response:
    """Begin a session by a token: it has the token's scopes, and ends with it."""
    if context_of(request).provider is not None:
        raise Problem(404, "People sign in at the provider here; tokens are for programs.")
    check_seed(_seed(request), form)
    token = tokens.recognise(context_of(request).db, form.get("token", "").strip())
    if token is None:
        raise Problem(403, "This token is not valid: it is unknown, expired or revoked.")
    return _welcome(request, token.name, token.scopes, token.id)


@router.get("/sign-in/provider")
def go_to_provider(request: Request) -> Response:
    """Send the browser to the provider, which sends it back to the callback.

    It is a link: the Content-Security-Policy's form-action lets no form lead to another host.
    """
    seed = secrets.token_urlsafe(32)
    answer = RedirectResponse(_provider(request).authorization_address(seed), 303)
    _set(answer, request, _name(request, SEED), seed, SEED_SECONDS)
    return answer


@router.get("/sign-in/callback")
def come_back(request: Request) -> Response:
    """Begin a session for a browser that the provider sent back, with a code or with a refusal."""
    provider, query = _provider(request), request.query_params
    if "error" in query or not query.get("code"):
        raise Problem(403, "The sign-in provider did not let you in. Begin again, or ask there.")
    person = provider.person(_seed(request), query.get("state", "")[:200], query["code"][:2000])
    return _welcome(request, person.name, person.scopes, None)


@router.post("/sign-out")
def leave(request: Request, form: Form) -> Response:
    """End the session."""
    check_form(caller_by_cookie(request), form)
    sign_out(context_of(request).db, request.cookies.get(cookie_name(request), ""))
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(
        cookie_name(request), path="/", secure=is_secure(request), httponly=True, samesite="lax"
    )
    return answer


def _welcome(request: Request, name: str, scopes: Iterable[str], token_id: int | None) -> Response:
    """Begin a session, end the one before it, and redirect to the page where the sign-in began."""
    context = context_of(request)
    seconds = context.settings.session_seconds
    sign_out(context.db, request.cookies.get(cookie_name(request), ""))
    text = sign_in(context.db, name, scopes, seconds=seconds, token_id=token_id)
    answer = RedirectResponse(_local(unquote(request.cookies.get(_name(request, NEXT), "/"))), 303)
    _set(answer, request, cookie_name(request), text, int(seconds))
    for used in (SEED, NEXT):
        answer.delete_cookie(
            _name(request, used), path="/", secure=is_secure(request), httponly=True, samesite="lax"
        )
    return answer


def _provider(request: Request) -> Provider:
    provider = context_of(request).provider
    if provider is None:
        raise Problem(404, "There is no sign-in provider here.")
    return provider


def _name(request: Request, name: str) -> str:
    """Return the cookie's name: with the prefix that no sister host can set, where people come by https."""
    return f"__Host-{name}" if is_secure(request) else name


def _seed(request: Request) -> str:
    seed = request.cookies.get(_name(request, SEED), "")
    return seed if _SEED.fullmatch(seed) else ""


def _local(address: str) -> str:
    """Return the address if it is on this service; anything that might lead elsewhere becomes the home page."""
    return address if _LOCAL.fullmatch(address) else "/"


def _set(answer: Response, request: Request, name: str, value: str, seconds: int) -> None:
    answer.set_cookie(
        name, value, max_age=seconds, path="/", secure=is_secure(request), httponly=True, samesite="lax"
    )
