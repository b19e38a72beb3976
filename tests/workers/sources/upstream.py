"""A small upstream on loopback: one archive, served whole, in parts, or in the wrong way a test wants."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Asked:
    """One request as the server saw it."""

    path: str
    range: str
    if_range: str


Answer = Callable[["Handler"], None]


@dataclass
class Upstream:
    """``answers`` are used up in order; the last one stays. ``asked`` is every request so far."""

    answers: list[Answer]
    asked: list[Asked] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None

    @property
    def origin(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.origin}/archive/v1.32.1/cri-o-1.32.1.tar.gz"

    def __enter__(self) -> Upstream:
        upstream = self

        class Bound(Handler):
            owner = upstream

        self.server = QuietServer(("127.0.0.1", 0), Bound)
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server is not None
        self.server.shutdown()
        self.server.server_close()


class QuietServer(ThreadingHTTPServer):
    """Says nothing about a client that hangs up: the tests make it do so."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A broken connection is what was asked for."""


class Handler(BaseHTTPRequestHandler):
    """Gives each request to the next answer."""

    owner: Upstream
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = Asked(self.path, self.headers.get("Range", ""), self.headers.get("If-Range", ""))
        self.owner.asked.append(asked)
        answers = self.owner.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        try:
            answer(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """The tests' output is not this server's log."""

    def begin(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


def whole(
    content: bytes, *, etag: str = '"one"', kind: str = "application/x-gzip", ranges: bool = True
) -> Answer:
    """The archive, or the part that was asked for if If-Range still fits."""

    def answer(handler: Handler) -> None:
        wanted, condition = handler.headers.get("Range", ""), handler.headers.get("If-Range", "")
        if ranges and wanted and condition == etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                handler.begin(416, Content_Length="0", Content_Range=f"bytes */{len(content)}")
                return
            rest = content[start:]
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            handler.begin(
                206, Content_Type=kind, Content_Length=str(len(rest)), Content_Range=span, ETag=etag
            )
            handler.wfile.write(rest)
            return
        handler.begin(200, Content_Type=kind, Content_Length=str(len(content)), ETag=etag)
        handler.wfile.write(content)

    return answer


def broken_off(content: bytes, after: int, *, etag: str = '"one"') -> Answer:
    """The whole is announced, and the connection ends after some bytes."""

    def answer(handler: Handler) -> None:
        handler.begin(200, Content_Type="application/x-gzip", Content_Length=str(len(content)), ETag=etag)
        handler.wfile.write(content[:after])
        handler.wfile.flush()
        handler.close_connection = True

    return answer


def status(code: int, **headers: str) -> Answer:
    """An answer without a body."""
    return lambda handler: handler.begin(code, Content_Length="0", **headers)
