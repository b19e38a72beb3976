"""Authenticates callers by token or session cookie, and checks scopes and forms.

Every route declares its scope with ``needs`` or ``page_needs``; a test holds it to that.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends
from starlette.requests import Request

from service.access import tokens
from service.access.sign_ins import who_is
from service.web.base.context import context_of
from service.web.base.problems import Problem

COOKIE = "cryopack_session"
# The __Host- prefix binds the cookie to this host and to https; browsers refuse it on plain http.
SECURE_COOKIE = "__Host-" + COOKIE
FORM_WORD = "form_word"
CHALLENGE = "Bearer"


@dataclass(frozen=True)
class Caller:
    """The one who calls: a token's or a person's name, their scopes and address. Without a name: ``anonymous``."""

    name: str
    scopes: frozenset[str]
    address: str
    form_word: str = ""

    @property
    def known(self) -> bool:
        return bool(self.name)

    @property
    def by(self) -> dict[str, str]:
        """The keyword arguments by which a command learns who asked, for the audit trail."""
        return {"by": self.name, "address": self.address}

    def may(self, scope: str) -> bool:
        """Whether the caller has the scope."""
        return scope in self.scopes


def address_of(request: Request) -> str:
    """Return the client's address; behind a proxy, the one that the trusted proxy names."""
    return request.client.host[:100] if request.client else ""


def anonymous(request: Request) -> Caller:
    """Return a caller without token or session. They may read unless API_READ says otherwise."""
    public = context_of(request).settings.api_read == "public"
    return Caller("", frozenset({"read"} if public else ()), address_of(request))


def caller_by_token(request: Request) -> Caller:
    """Return the caller whom the Authorization header names. Raises Problem 401 for a token that is not valid."""
    header = request.headers.get("authorization")
    if header is None:
        return anonymous(request)
    kind, _, text = header.partition(" ")
    token = tokens.recognise(context_of(request).db, text.strip()) if kind.lower() == "bearer" else None
    if token is None:
        raise Problem(
            401,
            "This token is not valid: it is unknown, expired or revoked.",
            headers={"WWW-Authenticate": f'{CHALLENGE} error="invalid_token"'},
        )
    return Caller(token.name, tokens.implied(token.scopes), address_of(request))


def caller_by_cookie(request: Request) -> Caller:
    """Return the caller whom the session's cookie names; an anonymous one where it is missing or over."""
    text = request.cookies.get(cookie_name(request), "")
    found = who_is(context_of(request).db, text) if text else None
    if found is None:
        return anonymous(request)
    return Caller(found.actor, found.scopes, address_of(request), found.form_word)


def cookie_name(request: Request) -> str:
    """Return the session cookie's name: with the prefix that only https may set, where people come by https."""
    return SECURE_COOKIE if is_secure(request) else COOKIE


def is_secure(request: Request) -> bool:
    """Whether people reach the dashboard by https, as BASE_URL says: the proxy in front may speak http to us."""
    return context_of(request).settings.base_url.startswith("https://")


def needs(scope: str) -> Any:
    """Make the dependency of an API route: the caller, if they have the scope. Raises Problem 401 and 403."""

    def check(request: Request) -> Caller:
        caller = caller_by_token(request)
        if caller.may(scope):
            return caller
        if not caller.known:
            why = f"This needs a token with the scope {scope}: 'cryopack token create' makes one."
            if scope == "read":
                why = (
                    "Reading needs a token here (CRYOPACK_API_READ=token): 'cryopack token create' makes one."
                )
            raise Problem(401, why, headers={"WWW-Authenticate": CHALLENGE})
        raise Problem(
            403,
            f"Token {caller.name} has not the scope {scope}.",
            headers={"WWW-Authenticate": f'{CHALLENGE} error="insufficient_scope", scope="{scope}"'},
        )

    return Depends(_declared(check, scope))


def page_needs(scope: str) -> Any:
    """Make the dependency of a page: the caller, if they have the scope. Raises Problem 401 and 403."""

    def check(request: Request) -> Caller:
        caller = caller_by_cookie(request)
        request.state.caller = caller
        if caller.may(scope):
            return caller
        if not caller.known:
            raise Problem(401, "Sign in to see this.")
        raise Problem(403, f"{caller.name} has not the scope {scope}; an admin of this service can give it.")

    return Depends(_declared(check, scope))


async def form_fields(request: Request) -> dict[str, str]:
    """Return the fields of a form, each once. WriteLimits has bounded the body already. Raises Problem 415, 422."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise Problem(415, "Send the form as application/x-www-form-urlencoded.")
    try:
        pairs = parse_qsl((await request.body()).decode("ascii"), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise Problem(422, "The form cannot be read.") from None
    return dict(pairs)


Form = Annotated[dict[str, str], Depends(form_fields)]


def check_form(caller: Caller, form: Mapping[str, str]) -> None:
    """Raise Problem 403 unless the form came from a page of this caller's session."""
    _check_word(caller.form_word, form)


def check_seed(seed: str, form: Mapping[str, str]) -> None:
    """Raise Problem 403 unless the form, sent before there is a session, came from this browser's sign-in page."""
    _check_word(seed_word(seed) if seed else "", form)


def seed_word(seed: str) -> str:
    """Return the word that the sign-in's form must carry."""
    return sha256(f"form:{seed}".encode()).hexdigest()


def _check_word(word: str, form: Mapping[str, str]) -> None:
    if not word or not hmac.compare_digest(word.encode(), form.get(FORM_WORD, "").encode()):
        raise Problem(
            403, "This form is not from your session. Open the page again and press the button there."
        )


def _declared(check: Callable[[Request], Caller], scope: str) -> Callable[[Request], Caller]:
    check.scope = scope  # type: ignore[attr-defined]
    return check
