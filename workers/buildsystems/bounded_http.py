"""Limits the time of a whole HTTP exchange with ``requests``, however slowly the server answers.

A read time-out alone does not: a server that drips one byte a minute never trips it.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import MaxRetryError, NewConnectionError

# What a proxy calls loopback is its own.
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def took_no_connection(error: Exception) -> bool:
    """Return whether an error of ``requests`` says that no connection was made, so that nothing was sent."""
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


_current = threading.local()


class Watch:
    """Shuts down the sockets of one exchange after ``seconds``, so that every blocked call returns.

    A context manager around the exchange; ``cut`` tells afterwards whether the time was over. The session must have a
    ``WatchedAdapter``.
    """

    def __init__(self, seconds: float) -> None:
        self.cut = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Watch:
        _current.watch = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        _current.watch = None

    def take(self, sock: socket.socket) -> None:
        """Add a socket that is shut down when the time is over."""
        with self._lock:
            self._sockets.append(sock)
            if self.cut:
                _shut(sock)

    def _cut(self) -> None:
        with self._lock:
            self.cut = True
            for sock in self._sockets:
                _shut(sock)


def _shut(sock: socket.socket) -> None:
    # Past the TLS layer, whose state belongs to the blocked thread.
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Watched:
    """Tells the exchange's Watch of the socket once a connection has one."""

    sock: socket.socket | None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        watch = getattr(_current, "watch", None)
        if watch is not None and self.sock is not None:
            watch.take(self.sock)


class _WatchedHTTP(_Watched, HTTPConnection):
    pass


class _WatchedHTTPS(_Watched, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _WatchedHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHTTPS


class WatchedAdapter(HTTPAdapter):
    """The adapter to mount on a session of ``requests``, so that a Watch knows its sockets."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        return manager
