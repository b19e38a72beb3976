"""Whom to trust on the other side of TLS: this machine's certificates, read once."""

from __future__ import annotations

import functools
import ssl

import httpx2


@functools.cache
def trusted(*, by_environment: bool) -> ssl.SSLContext:
    """The certificates for a client: reading them takes 40 ms, which is more than most answers take.

    ``by_environment``: whether SSL_CERT_FILE and SSL_CERT_DIR count. A change of them is seen by the next process.
    """
    return httpx2.create_ssl_context(trust_env=by_environment)
