"""The COPR client made safe: time-outs, no redirects, a checked status, and errors in the port's words.

The only file that imports ``copr``. Each trap that is handled here was measured with client 2.7.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import requests
from copr.v3 import Client, config_from_file
from copr.v3.exceptions import CoprAuthException, CoprException, CoprNoResultException
from copr.v3.proxies import build as build_proxy
from copr.v3.requests import FileRequest, Request

from workers.buildsystems import (
    BuildSystemUnavailable,
    BuildVanished,
    NeedsPerson,
    SubmissionRefused,
    SubmissionUnknown,
)

T = TypeVar("T")

UNSURE = frozenset({408, 429, 500, 502, 503, 504})


class NotFound(BuildVanished):
    """COPR knows no such project, build or chroot."""


class Refused(SubmissionRefused):
    """COPR looked at the request and said no (400, 405, 409, 413, 415)."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def hardened_client(config_file: Path, *, connect_timeout: float, read_timeout: float) -> Client:
    """A client with time-outs that never follows a redirect and never repeats a request.

    Raises NeedsPerson where the configuration file is missing, incomplete or points to plain http.
    """
    if not config_file.is_file():
        raise NeedsPerson(
            f"there is no COPR configuration at {config_file.name}; get one from COPR's API page"
        )
    try:
        config = config_from_file(str(config_file))
    except CoprException as error:
        raise NeedsPerson(
            f"the COPR configuration {config_file.name} is not usable: {one_line(error)}"
        ) from None
    # More attempts would repeat a POST whose answer was lost, and each repeat is another build.
    config["connection_attempts"] = 1
    limits = {"timeout": (connect_timeout, read_timeout), "allow_redirects": False}

    class TimedRequest(Request):  # type: ignore[misc]
        def _request_params(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {**super()._request_params(*args, **kwargs), **limits}

    class TimedFileRequest(FileRequest):  # type: ignore[misc]
        def _request_params(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {**super()._request_params(*args, **kwargs), **limits}

    client = Client(config)
    for proxy in vars(client).values():
        if hasattr(proxy, "request"):
            proxy.request.__class__ = TimedRequest
    # Uploads are sent through a class that the module looks up by this name.
    build_proxy.FileRequest = TimedFileRequest
    return client


def read(call: Callable[[], T]) -> T:
    """Run one reading request. Any doubt about the answer is BuildSystemUnavailable: it can be asked again."""
    try:
        with translated():
            return checked(call())
    except SubmissionUnknown as error:
        raise BuildSystemUnavailable(str(error)) from None


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the client raises into the port's errors; a lost or odd answer is SubmissionUnknown."""
    try:
        yield
    except (CoprAuthException, CoprNoResultException, CoprException) as error:
        raise _told(error) from None
    except requests.exceptions.ConnectTimeout:
        raise BuildSystemUnavailable("COPR did not accept a connection in time") from None
    except requests.exceptions.Timeout:
        raise SubmissionUnknown("COPR did not answer in time") from None
    except requests.exceptions.RequestException as error:
        raise SubmissionUnknown(f"the connection to COPR broke ({type(error).__name__})") from None
    except (TypeError, AttributeError, KeyError, ValueError):
        # The client trips over JSON that is no object, such as a list.
        raise SubmissionUnknown("COPR answered something that is not its API") from None


def checked(result: Any) -> Any:
    """The client's result, if its status really was 200; it also hands out other answers as success.

    Raises SubmissionUnknown: an answer from somewhere between us and COPR says nothing about what COPR did.
    """
    response = getattr(result, "__response__", None)
    status = getattr(response, "status_code", None)
    if status != 200:
        raise SubmissionUnknown(f"an answer with HTTP {status} that is not COPR's API")
    return result


def _told(error: CoprException) -> Exception:
    response = getattr(error.result, "__response__", None)
    status = getattr(response, "status_code", None)
    text = one_line(error)
    if response is None:
        if isinstance(error, CoprAuthException):
            return NeedsPerson(f"no way to log in to COPR: {text}")
        return SubmissionUnknown("COPR could not be reached, or its answer was lost")
    if status == 401:
        return NeedsPerson(
            "COPR's token is wrong, expired or was renewed elsewhere; get a new one from its API page"
        )
    if status == 403:
        return NeedsPerson(f"COPR denies it: {text}")
    if status == 404:
        return NotFound(text)
    if "not in JSON format" in text or status in UNSURE or status is None or status < 400:
        return SubmissionUnknown(f"COPR answered HTTP {status}: {text}")
    return Refused(text, status)


def one_line(error: BaseException) -> str:
    """The first 300 characters of an error's text on one line; COPR's own texts hold no secrets."""
    result = getattr(error, "result", None)
    text = str(getattr(result, "error", "") or error)
    return re.sub(r"\s+", " ", text).strip()[:300]
