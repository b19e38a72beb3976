"""Whom to trust on the other side of TLS: this machine's certificates, read once."""

from __future__ import annotations

import functools
import ssl
from pathlib import Path

import httpx2


@functools.cache
def trusted(*, by_environment: bool) -> ssl.SSLContext:
    """The certificates for a client: reading them takes 40 ms, which is more than most answers take.

    ``by_environment``: whether SSL_CERT_FILE and SSL_CERT_DIR count. A change of them is seen by the next process.
    """
    return httpx2.create_ssl_context(trust_env=by_environment)


def with_certificate(file: Path, *, by_environment: bool) -> ssl.SSLContext:
    """The same for a client that shows a certificate of its own, whose key is in the file, too. Raises OSError."""
    context: ssl.SSLContext = httpx2.create_ssl_context(trust_env=by_environment)
    context.load_cert_chain(file)
    return context
