"""A real server on a loopback port, and requests as GitHub sends them."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import uvicorn

from service.settings import Settings, load_settings
from service.web.app import create_app
from service.web.base.context import WebContext
from tests.servers import NO_TLS, free_port

SECRET = "a-secret-of-the-tests"
NO_BROKER = "redis://127.0.0.1:1/0"


class LiveApp:
    """Uvicorn in a thread. ``context`` is the application's own, to look into or to break."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            self.app,
            port=self.port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=5,
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def start(self) -> None:
        """Serve; returns when the port answers."""
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the application did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Shut down as SIGTERM would."""
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server did not stop"

    @property
    def context(self) -> WebContext:
        context: WebContext = self.app.state.context
        return context

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """GET without following redirects."""
        return httpx2.get(self.url + path, headers=headers, timeout=20, verify=NO_TLS)

    def request(self, method: str, path: str) -> httpx2.Response:
        """Send a request without a body."""
        return httpx2.request(method, self.url + path, timeout=20, verify=NO_TLS)

    def deliver(self, body: bytes, **changes: str | None) -> httpx2.Response:
        """POST a delivery as GitHub does; ``changes`` replace headers (None leaves one out)."""
        return httpx2.post(
            f"{self.url}/webhooks/github",
            content=body,
            headers=github_headers(body, **changes),
            timeout=30,
            verify=NO_TLS,
        )

    def raw(self, request: bytes, *, pause: float = 0.0) -> bytes:
        """Send bytes as they are, and read until the server closes or says nothing for two seconds."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            time.sleep(pause)
            connection.settimeout(2)
            answer = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                while chunk := connection.recv(65536):
                    answer += chunk
            return answer


def sign(body: bytes, secret: str = SECRET) -> str:
    """Return GitHub's X-Hub-Signature-256 of a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def github_headers(body: bytes, **changes: str | None) -> dict[str, str]:
    """Return the headers of a delivery. Names are written with underscores: ``x_github_event="ping"``."""
    headers: dict[str, str | None] = {
        "content-type": "application/json",
        "x-github-delivery": str(uuid.uuid4()),
        "x-github-event": "release",
        "x-hub-signature-256": sign(body),
        "user-agent": "GitHub-Hookshot/1234567",
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in headers.items() if value is not None}


@contextlib.contextmanager
def serving(database_url: str, **overrides: Any) -> Iterator[LiveApp]:
    """Run an application on that database, with a secret and without a broker unless told otherwise."""
    values: dict[str, Any] = {
        "database_url": database_url,
        "broker_url": NO_BROKER,
        "github_webhook_secrets": SECRET,
        "copr_owner": "packbot",
    }
    live = LiveApp(load_settings(**values | overrides))
    live.start()
    try:
        yield live
    finally:
        live.stop()
