"""A TLS front for the sandbox's hub that checks the client's certificate, as Apache does before a real hub."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

LOG_IN, LOOKASIDE = "/ssllogin", "/upload.cgi"
Accept = Callable[[str], tuple[str, str] | None]


def make_certificate(folder: Path, name: str, issuer: str = "") -> Path:
    """A key and certificate in one file, signed by ``issuer`` (made before) or by itself."""
    path, key, request = folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}.csr"
    subject = ["-subj", f"/CN={name}", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key)]
    if not issuer:
        run("req", "-x509", "-days", "2", *subject, "-out", str(path))
    else:
        extension = folder / f"{name}.ext"
        extension.write_text("subjectAltName=IP:127.0.0.1\n")
        run("req", *subject, "-out", str(request))
        run("x509", "-req", "-in", str(request), "-CA", str(folder / f"{issuer}.pem"), "-CAkey",
            str(folder / f"{issuer}.key"), "-CAcreateserial", "-days", "2", "-extfile", str(extension),
            "-out", str(path))  # fmt: skip
    path.write_text(path.read_text() + key.read_text())
    return path


def run(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)


class Front:
    """A TLS server on loopback before the sandbox's hub. ``url`` is https.

    With ``accept`` a log-in needs ``Negotiate``: from the client's token it makes the name and the answer's token, or
    None for a token that proves nothing.
    """

    def __init__(self, hub_url: str, server: Path, authority: Path, accept: Accept | None = None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server)
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_OPTIONAL
        behind = urlsplit(hub_url).netloc

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                certificate: Any = self.connection.getpeercert()  # type: ignore[attr-defined]
                if certificate:
                    headers["X-SSL-Client-CN"] = dict(pair[0] for pair in certificate["subject"])[
                        "commonName"
                    ]
                proof = ""
                if accept is not None and self.path.endswith((LOG_IN, LOOKASIDE)):
                    scheme, _, token = self.headers.get("Authorization", "").partition(" ")
                    known = accept(token) if scheme == "Negotiate" else None
                    if known is None:
                        self.send_response(401)
                        self.send_header("WWW-Authenticate", "Negotiate")
                        self.send_header("Content-Length", "0")
                        self.end_headers()
                        return
                    headers["X-Remote-User"], proof = known
                connection = http.client.HTTPConnection(behind, timeout=20)
                connection.request("POST", self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name in ("Koji-Version", "Content-Type", "WWW-Authenticate"):
                    if answer.getheader(name):
                        self.send_header(name, str(answer.getheader(name)))
                if proof:
                    self.send_header("WWW-Authenticate", f"Negotiate {proof}")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                connection.close()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
