"""An OpenID Connect provider for the tests, on loopback: real HTTP, real RS256 tokens, one person who always agrees."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "cryopack", "a-client-secret"


class OidcProvider:
    """``claims`` go into the ID token on top of the right ones; ``broken`` names what it does wrong.

    ``issuer`` is what it calls itself in its description, where that is not its address.
    """

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one"})
        self.other_key = RSAKey.generate_key(2048, {"kid": "one"})
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {"sub": "person-1"}
        self.broken = self.issuer = ""
        self.codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                provider.get(self)

            def do_POST(self) -> None:
                provider.post(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def get(self, call: BaseHTTPRequestHandler) -> None:
        address = urlsplit(call.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path == "/.well-known/openid-configuration":
            answer(call, {
                "issuer": self.issuer or self.url, "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys",
                "userinfo_endpoint": f"{self.url}/userinfo",
            })  # fmt: skip
        elif address.path == "/keys":
            answer(call, {"keys": 7 if self.broken == "keys" else [self.key.as_dict(private=False)]})
        elif address.path == "/authorize":
            code = f"code-{len(self.codes)}"
            self.codes[code] = query
            call.send_response(302)
            back = urlencode({"code": code, "state": query["state"]})
            call.send_header("Location", f"{query['redirect_uri']}?{back}")
            call.end_headers()
        elif address.path == "/userinfo" and call.headers["Authorization"] == "Bearer an-access-token":
            answer(call, self.userinfo)
        else:
            answer(call, {"error": "not_found"}, 404)

    def post(self, call: BaseHTTPRequestHandler) -> None:
        body = call.rfile.read(int(call.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        secret = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        asked = self.codes.pop(form.get("code", ""), None)
        if call.headers["Authorization"] != f"Basic {secret}" or asked is None:
            return answer(call, {"error": "invalid_client"}, 401)
        proof = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(proof).rstrip(b"=").decode() != asked["code_challenge"]:
            return answer(call, {"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": CLIENT_ID, "sub": "person-1", "iat": now, "exp": now + 300,
            "nonce": asked["nonce"], "preferred_username": "ana", **self.claims,
        }  # fmt: skip
        key = self.other_key if self.broken == "signature" else self.key
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims, key)
        if self.broken == "shared":
            # Key confusion: the public key, known to all, as if it were a shared secret.
            shared = OctKey.import_key(base64.b64encode(self.key.as_pem(private=False)).decode())
            token = jwt.encode({"alg": "HS256", "kid": "one"}, claims, shared)
        if self.broken == "none":
            parts = ({"alg": "none"}, claims)
            token = ".".join(
                base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
            ) + "."  # fmt: skip
        answer(call, {"access_token": "an-access-token", "token_type": "Bearer", "id_token": token})
        return None


def answer(call: BaseHTTPRequestHandler, body: object, status: int = 200) -> None:
    """One JSON answer."""
    text = json.dumps(body).encode()
    call.send_response(status)
    call.send_header("Content-Type", "application/json")
    call.send_header("Content-Length", str(len(text)))
    call.end_headers()
    call.wfile.write(text)


@contextmanager
def providing() -> Iterator[OidcProvider]:
    """A running provider."""
    provider = OidcProvider()
    try:
        yield provider
    finally:
        provider.stop()
