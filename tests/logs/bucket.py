"""An S3-compatible bucket in memory for tests, which checks every signature by AWS's specification."""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote

KEY_ID, SECRET, REGION = "test-key", "test-secret-do-not-show", "eu-test-1"
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([\w-]+)/(\d{8}/[\w-]+/s3/aws4_request), SignedHeaders=([\w;-]+), Signature=(\w+)"
)
PAGE = 2


class Bucket:
    """The server. ``down`` is a status to answer to everything; ``requests`` are methods with their targets."""

    def __init__(self, name: str = "logs") -> None:
        self.name = name
        self.kept: dict[str, tuple[bytes, datetime]] = {}
        self.down = 0
        self.requests: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/{name}/below/here"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def age(self, key: str, seconds: float) -> None:
        """Make an object older than it is."""
        content, _ = self.kept[key]
        self.kept[key] = content, datetime.now(UTC) - timedelta(seconds=seconds)

    def listing(self, query: dict[str, list[str]]) -> str:
        prefix, after = query["prefix"][0], query.get("continuation-token", [""])[0]
        keys = [key for key in sorted(self.kept) if key.startswith(prefix) and key > after]
        rows = "".join(f"<Contents><Key>{key}</Key>{self.facts(key)}</Contents>" for key in keys[:PAGE])
        more = f"<NextContinuationToken>{keys[PAGE - 1]}</NextContinuationToken>" if len(keys) > PAGE else ""
        return f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{rows}{more}</ListBucketResult>'

    def facts(self, key: str) -> str:
        content, at = self.kept[key]
        stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return f"<Size>{len(content)}</Size><LastModified>{stamp}</LastModified>"


def _handler(bucket: Bucket) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            if self.refused() or hashlib.sha256(content).hexdigest() != self.headers["x-amz-content-sha256"]:
                return self.answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
            bucket.kept[self.key()] = content, datetime.now(UTC)
            return self.answer(200)

        def do_DELETE(self) -> None:
            if self.refused():
                return self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            bucket.kept.pop(self.key(), None)
            return self.answer(204)

        def do_GET(self) -> None:
            if self.refused():
                return self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            query = self.path.partition("?")[2]
            if query:
                return self.answer(200, bucket.listing(parse_qs(query)).encode())
            if self.key() not in bucket.kept:
                return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            content = bucket.kept[self.key()][0]
            first, last = map(int, self.headers["range"].removeprefix("bytes=").split("-"))
            if first >= len(content):
                return self.answer(416, b"<Error><Code>InvalidRange</Code></Error>")
            return self.answer(206, content[first : last + 1])

        def key(self) -> str:
            return unquote(self.path.partition("?")[0]).removeprefix(f"/{bucket.name}/")

        def refused(self) -> bool:
            bucket.requests.append(f"{self.command} {self.path}")
            found = AUTHORIZATION.fullmatch(self.headers.get("authorization", ""))
            if bucket.down or found is None or found[1] != KEY_ID:
                return True
            scope, names, signature = found[2], found[3].split(";"), found[4]
            if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names) or REGION not in scope:
                return True
            path, _, query = self.path.partition("?")
            lines = [self.command, path, "&".join(sorted(query.split("&")))]
            lines += [f"{name}:{self.headers[name]}" for name in names]
            lines += ["", ";".join(names), self.headers["x-amz-content-sha256"]]
            digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
            to_sign = f"AWS4-HMAC-SHA256\n{self.headers['x-amz-date']}\n{scope}\n{digest}"
            key = b"AWS4" + SECRET.encode()
            for word in [*scope.split("/"), to_sign]:
                key = hmac.new(key, word.encode(), hashlib.sha256).digest()
            return key.hex() != signature

        def answer(self, status: int, content: bytes = b"") -> None:
            if bucket.down:
                status, content = bucket.down, b"<Error><Code>SlowDown</Code></Error>"
            self.send_response(status)
            self.send_header("Content-Length", str(0 if status == 204 else len(content)))
            self.end_headers()
            if status != 204:
                self.wfile.write(content)

    return Handler
