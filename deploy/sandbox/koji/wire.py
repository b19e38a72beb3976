"""XML-RPC as the hub speaks it: ``nil``, ``i8`` above 31 bits, times as text, keyword arguments as a last struct."""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

HEAD = "<?xml version='1.0'?>\n"
MARK = "__starstar"


class HubFault(Exception):
    """A fault with one of Koji's codes; 1 is whatever the hub did not expect."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


# Koji's own numbers; its client turns them into exception classes.
UNEXPECTED, GENERIC, AUTH, DENIED, BUILD = 1, 1000, 1002, 1004, 1005
EXPIRED, SEQUENCE, RETRY, OFFLINE, PARAMETER = 1007, 1008, 1009, 1014, 1019


class _Marshaller(xmlrpc.client.Marshaller):
    # The standard library refuses what is longer than 31 bits; the hub sends it as i8.
    dispatch: ClassVar[dict[Any, Any]] = dict(xmlrpc.client.Marshaller.dispatch)

    def dump_number(self, value: int, write: Callable[[str], object]) -> None:
        kind = "int" if -(2**31) <= value < 2**31 else "i8"
        write(f"<value><{kind}>{value}</{kind}></value>\n")

    dispatch[int] = dump_number


def _dump(value: Any) -> str:
    return _Marshaller("utf-8", True).dumps(value)


def answer(value: Any) -> bytes:
    """The body of a successful answer."""
    return f"{HEAD}<methodResponse>\n{_dump((value,))}</methodResponse>\n".encode()


def fault(error: HubFault) -> bytes:
    """The body of a fault, which travels with status 200."""
    return fault_text(error.code, error.text).encode()


def fault_text(code: int, text: str) -> str:
    """A fault as the hub also stores it as the result of a failed task."""
    return f"{HEAD}<methodResponse>\n{_dump(xmlrpc.client.Fault(code, text))}</methodResponse>\n"


def call_text(method: str, params: list[Any]) -> str:
    """A call as the hub stores it as the request of a task."""
    return f"{HEAD}<methodCall>\n<methodName>{method}</methodName>\n{_dump(tuple(params))}</methodCall>\n"


def read_call(body: bytes) -> tuple[str, list[Any]]:
    """Method and parameters of a request. Raises ``xml.parsers.expat.ExpatError`` and ``ResponseError``."""
    params, method = xmlrpc.client.loads(body, use_builtin_types=True)
    return method or "", list(params)


def split_arguments(params: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments: the last struct holds the latter only if it carries the mark."""
    if params and isinstance(params[-1], dict) and params[-1].get(MARK):
        *positional, last = params
        return positional, {key: value for key, value in last.items() if key != MARK}
    return params, {}


def time_text(seconds: float | None) -> str | None:
    """Epoch seconds as the hub writes a time."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="microseconds")
