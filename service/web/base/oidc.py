"""The OpenID Connect client for sign-ins: discovery, code flow with PKCE, groups to scopes."""

from __future__ import annotations

import hmac
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry

from service.access.tokens import SCOPES
from service.settings import Settings
from service.web.base.problems import Problem

# Signatures with a key of the provider's; never "none", and never one with a shared secret.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
TIMEOUT = httpx2.Timeout(5.0)
KEPT_SECONDS = 3600.0
LEEWAY_SECONDS = 60
ANSWER_LIMIT = 256 * 1024
WELL_KNOWN = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class Person:
    """A person as the provider names them, with the scopes that their groups have here."""

    name: str
    scopes: frozenset[str]


class Provider:
    """One OpenID provider. Its description and keys are fetched when first needed, and again after an hour."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._known: tuple[float, Mapping[str, Any], KeySet] | None = None
        self.host = urlsplit(settings.oidc_discovery_url).hostname or ""

    @property
    def redirect_uri(self) -> str:
        """The address that the provider sends people back to; it must be registered there."""
        return f"{self._settings.base_url}/sign-in/callback"

    def authorization_address(self, seed: str) -> str:
        """Return the provider's address to send a browser to. Raises Problem 503 where the provider does not answer.

        ``seed`` is a secret of that browser; state, nonce and PKCE follow from it.
        """
        description, _ = self._describe()
        challenge = _urlsafe(sha256(_derived("verifier", seed).encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self._settings.oidc_scopes,
            "state": _derived("state", seed),
            "nonce": _derived("nonce", seed),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{description['authorization_endpoint']}?{urlencode(query)}"

    def person(self, seed: str, state: str, code: str) -> Person:
        """Exchange the code of a browser that came back for the person.

        Raises Problem 403 for an answer that does not hold, 503 where the provider is away.
        """
        if not seed or not hmac.compare_digest(_derived("state", seed).encode(), state.encode()):
            raise Problem(403, "This sign-in was not begun in this browser, or long ago. Begin again.")
        description, keys = self._describe()
        answer = self._ask(
            "POST",
            description["token_endpoint"],
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self.redirect_uri,
                "code_verifier": _derived("verifier", seed),
            },
            auth=(self._settings.oidc_client_id, self._settings.oidc_client_secret.get_secret_value()),
        )
        claims = self._claims(str(answer.get("id_token", "")), description, keys, _derived("nonce", seed))
        groups = claims.get(self._settings.oidc_groups_claim)
        if groups is None and description.get("userinfo_endpoint") and answer.get("access_token"):
            bearer = {"Authorization": f"Bearer {answer['access_token']}"}
            more = self._ask("GET", description["userinfo_endpoint"], headers=bearer)
            if more.get("sub") != claims["sub"]:
                raise Problem(403, "The provider told of two different people. Begin again.")
            claims = {**more, **claims}
            groups = claims.get(self._settings.oidc_groups_claim)
        name = claims.get(self._settings.oidc_name_claim) or claims["sub"]
        return Person(f"{name}@{self.host}"[:100], self._scopes(groups))

    def _scopes(self, groups: object) -> frozenset[str]:
        theirs = {str(group) for group in groups} if isinstance(groups, list) else set()
        given = {"read"}
        for group, scopes in self._settings.group_scopes().items():
            if group in theirs:
                given |= scopes & set(SCOPES)
        return frozenset(given)

    def _claims(self, text: str, description: Mapping[str, Any], keys: KeySet, nonce: str) -> dict[str, Any]:
        registry = JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": description["issuer"]},
            aud={"essential": True, "value": self._settings.oidc_client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            token = jwt.decode(text, keys, algorithms=ALGORITHMS)
            registry.validate(token.claims)
        except (JoseError, ValueError) as error:
            # Keys are changed now and then: the next try fetches them anew.
            self._forget()
            raise Problem(
                403, f"The provider's word does not hold ({type(error).__name__}). Begin again."
            ) from error
        # OpenID Connect Core 3.1.3.7: who else may be named as audience, the word must have been given to us.
        several = isinstance(token.claims["aud"], list) and len(token.claims["aud"]) > 1
        if token.claims.get("azp", None if several else self._settings.oidc_client_id) != (
            self._settings.oidc_client_id
        ):
            raise Problem(403, "The provider's word does not hold (azp). Begin again.")
        return dict(token.claims)

    def _describe(self) -> tuple[Mapping[str, Any], KeySet]:
        with self._lock:
            if self._known is not None and time.monotonic() - self._known[0] < KEPT_SECONDS:
                return self._known[1], self._known[2]
        description = self._ask("GET", self._settings.oidc_discovery_url)
        for key in ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not isinstance(description.get(key), str):
                raise Problem(503, f"The sign-in provider's description lacks {key}.")
        # OpenID Connect Discovery 4.3: a description that speaks for somebody else must not be used.
        if description["issuer"].removesuffix("/") + WELL_KNOWN != self._settings.oidc_discovery_url:
            raise Problem(
                503, f"What {self.host} describes is another sign-in provider than the one asked for."
            )
        try:
            keys = KeySet.import_key_set(self._ask("GET", description["jwks_uri"]))  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise Problem(503, f"The keys of the sign-in provider {self.host} cannot be read.") from error
        with self._lock:
            self._known = (time.monotonic(), description, keys)
        return description, keys

    def _forget(self) -> None:
        with self._lock:
            self._known = None

    def _ask(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        away = {"Retry-After": "10"}
        try:
            with httpx2.Client(timeout=TIMEOUT, follow_redirects=False) as client:
                answer = client.request(method, url, **options)
            body = answer.json() if len(answer.content) <= ANSWER_LIMIT else None
        except (httpx2.HTTPError, ValueError):
            raise Problem(
                503, f"The sign-in provider {self.host} does not answer. Try again.", headers=away
            ) from None
        if answer.status_code in (400, 401):
            raise Problem(403, f"The sign-in provider {self.host} refused this sign-in. Begin again.")
        if answer.status_code != 200 or not isinstance(body, dict):
            raise Problem(
                503,
                f"The sign-in provider {self.host} answers HTTP {answer.status_code}. Try again.",
                headers=away,
            )
        return body


def _derived(what: str, seed: str) -> str:
    """Derive a secret from the seed for one use; knowing one tells nothing of the others."""
    return sha256(f"{what}:{seed}".encode()).hexdigest()


def _urlsafe(digest: bytes) -> str:
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
