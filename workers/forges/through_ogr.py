"""Implements the port to a forge for Pagure and Forgejo with the library ogr, each request sent once and bounded.

Left to itself ogr repeats requests that failed, also those that create something, and waits for answers without an
end. Here each request is sent once, within a time, and is never redirected.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyforgejo
import requests
from ogr.abstract.status import PRStatus
from ogr.exceptions import (
    APIException,
    ForgejoAPIException,
    OgrException,
    OgrNetworkError,
    PagureAPIException,
)
from ogr.services.forgejo.service import ForgejoService
from ogr.services.pagure.service import PagureService
from pyforgejo.core.api_error import ApiError

from service.domain.distgit import ForgeKind, PullRequest, PullState
from workers.buildsystems.bounded_http import LOOPBACK, Watch, WatchedAdapter
from workers.forges import (
    Forge,
    ForgeConfig,
    ForgeError,
    ForgeMissing,
    ForgeRefused,
    ForgeUnavailable,
    Proposal,
)

CHUNK = 64 * 1024
AGAIN = frozenset({408, 409, 425, 429})
"""Statuses after which the same request may succeed later. 409 is Forgejo's for a pull request that exists already."""

LARGEST = 32 * 1024 * 1024
"""Bytes of one answer, unpacked. A list of pull requests has a few MB at most."""

LONGEST = 10
"""One answer may take so many times the seconds of one silence: a server that drips byte by byte is never silent."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)

STATES = {
    PRStatus.open: PullState.OPEN,
    PRStatus.merged: PullState.MERGED,
    PRStatus.closed: PullState.CLOSED,
}


class NoAnswer(httpx.HTTPError):
    """The answer has a status after which the library would send the request again."""


class TooMuch(ValueError):
    """The answer is too large, or does not come to its end in time."""


def bounded(chunks: Iterable[bytes], seconds: float) -> bytes:
    """Join the pieces of an answer, at most ``LARGEST`` bytes within ``LONGEST`` × ``seconds``. Raises TooMuch."""
    body, end = bytearray(), time.monotonic() + LONGEST * seconds
    for chunk in chunks:
        body += chunk
        if len(body) > LARGEST:
            raise TooMuch(f"an answer of more than {LARGEST} bytes")
        if time.monotonic() > end:
            raise TooMuch(f"an answer that took longer than {LONGEST * seconds:g} s")
    return bytes(body)


class OneRequest(requests.Session):
    """A session of ``requests`` that follows no redirection and reads a bounded answer in a bounded time."""

    def __init__(self, seconds: float, *, trust_env: bool) -> None:
        super().__init__()
        self._seconds = seconds
        self.trust_env = trust_env
        for scheme in ("http://", "https://"):
            self.mount(scheme, WatchedAdapter())

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:
        """Send a request as the base class does, within our limits. Raises TooMuch."""
        limits = {"timeout": self._seconds, "allow_redirects": False, "stream": True}
        with Watch(LONGEST * self._seconds) as watch:
            answer = super().request(method, url, *args, **{**options, **limits})
            try:
                answer._content = bounded(answer.iter_content(CHUNK), self._seconds)
            except BaseException:
                answer.close()
                raise
        if watch.cut:
            raise TooMuch(f"an answer that took longer than {LONGEST * self._seconds:g} s")
        return answer


def connect(config: ForgeConfig) -> Forge:
    """Return the forge of a policy's kind, Pagure or Forgejo; nothing is sent yet."""
    policy = config.policy
    # A proxy of the environment has no way to this machine's own servers.
    trust_env = urlsplit(policy.url).hostname not in LOOPBACK
    service: Any
    if policy.kind is ForgeKind.PAGURE:
        service = PagureService(token=config.token, instance_url=policy.url, max_retries=0)
        service.session = OneRequest(config.seconds, trust_env=trust_env)
        return ThroughOgr(config, service)
    service = ForgejoService(instance_url=policy.url, token=config.token)
    client = httpx.Client(
        timeout=config.seconds,
        follow_redirects=False,
        trust_env=trust_env,
        event_hooks={"response": [_stop_repeats, partial(_read_bounded, config.seconds)]},
    )
    service.api = pyforgejo.PyforgejoApi(
        base_url=service.instance_url, api_key=config.token, httpx_client=client
    )
    return ThroughOgr(config, service)


def _stop_repeats(response: httpx.Response) -> None:
    if response.status_code >= 500 or response.status_code in AGAIN:
        raise NoAnswer(f"status {response.status_code}")


def _read_bounded(seconds: float, response: httpx.Response) -> None:
    # The client would read an answer of any size; it does not where there is a content already.
    response._content = bounded(response.iter_bytes(), seconds)


class ThroughOgr:
    """A forge, Pagure or Forgejo, used through ogr."""

    def __init__(self, config: ForgeConfig, service: Any) -> None:
        self._config = config
        self._service = service
        self._user = ""

    @property
    def _pagure(self) -> bool:
        return self._config.policy.kind is ForgeKind.PAGURE

    def user(self) -> str:
        """Return whose token it is; asked once."""
        if not self._user:
            with self._port_errors("who we are"):
                self._user = str(self._service.user.get_username())
        return self._user

    def fork(self, package: str) -> None:
        """Create the user's fork of the package's repository unless it exists."""
        with self._port_errors(f"the fork of {package}"):
            self._project(package).get_fork(create=True)

    def find(self, package: str, branch: str) -> tuple[PullRequest, ...]:
        """Return our pull requests from a branch; Pagure lists by author, of Forgejo all are read and sifted."""
        user = self.user()
        with self._port_errors(f"the pull requests of {package}"):
            by = {"author": user} if self._pagure else {}
            listed: Iterable[Any] = self._project(package).get_pr_list(status=PRStatus.all, **by)
            ours = [self._read(one) for one in listed if self._is_from(one, branch) and one.author == user]
        return tuple(sorted(ours, key=lambda one: one.number))

    def open(self, package: str, proposal: Proposal) -> PullRequest:
        """Open a pull request from our fork."""
        user = self.user()
        with self._port_errors(f"opening a pull request for {package}"):
            return self._read(
                self._project(package).create_pr(
                    title=proposal.title,
                    body=proposal.text,
                    target_branch=proposal.target,
                    source_branch=proposal.branch,
                    fork_username=user,
                )
            )

    def get(self, package: str, number: int) -> PullRequest:
        """Return one pull request."""
        found: PullRequest = self._with(package, number, self._read)
        return found

    def comment(self, package: str, number: int, text: str) -> None:
        """Comment on a pull request, unless we have written exactly that already."""
        user = self.user()

        def say(pull: Any) -> None:
            if not any(one.author == user and one.body == text for one in pull.get_comments()):
                pull.comment(text)

        self._with(package, number, say)

    def close(self, package: str, number: int) -> None:
        """Close a pull request that is open; others stay as they are."""
        self._with(package, number, lambda pull: pull.close() if pull.status is PRStatus.open else None)

    def _is_from(self, pull: Any, branch: str) -> bool:
        # Forgejo, and ogr with it, has another name for a branch that was deleted, as many do after a merge; the
        # label keeps the name that it had.
        return bool(pull.source_branch == branch or (not self._pagure and pull._raw_pr.head.label == branch))

    def _with(self, package: str, number: int, act: Callable[[Any], Any]) -> Any:
        with self._port_errors(f"pull request #{number} of {package}"):
            return act(self._project(package).get_pr(number))

    def _project(self, package: str) -> Any:
        # ogr asks Pagure who we are for every project that comes without a user.
        mine = {"username": self.user()} if self._pagure else {}
        return self._service.get_project(repo=package, namespace=self._config.namespace, **mine)

    def _read(self, pull: Any) -> PullRequest:
        """Return ogr's pull request as ours."""
        state = STATES[pull.status]
        # Forgejo names only who merged, and Pagure names no commit of a merge.
        closed_by = pull.closed_by if state is not PullState.OPEN else ""
        merge = pull.merge_commit_sha if state is PullState.MERGED and not self._pagure else ""
        return PullRequest(
            int(pull.id),
            _line(pull.url),
            state,
            # It goes to git, and into a column that holds a commit.
            merge if isinstance(merge, str) and _COMMIT.fullmatch(merge) else "",
            _line(closed_by)[:100] if closed_by else "",
        )

    @contextmanager
    def _port_errors(self, about: str) -> Iterator[None]:
        """Raise the errors of ogr and its HTTP clients as the port's, with what the request was about."""
        try:
            yield
        except ForgeError:
            raise
        except APIException as error:
            raise self._refused(error.response_code, _said(error), about) from error
        except ApiError as error:
            raise self._refused(error.status_code, _said(error), about) from error
        except (OgrNetworkError, requests.RequestException, httpx.HTTPError) as error:
            cause = error.__cause__ or error
            raise ForgeUnavailable(
                f"{self._config.policy.url} is not to be reached: {_line(cause)}"
            ) from error
        except (OgrException, KeyError, TypeError, ValueError, AttributeError) as error:
            said = f"{type(error).__name__}: {_line(error)}"
            raise ForgeUnavailable(
                f"{self._config.policy.url} answers oddly about {about} ({said})"
            ) from error

    def _refused(self, status: int | None, said: str, about: str) -> ForgeError:
        url = self._config.policy.url
        if status is not None and 300 <= status < 400:
            return ForgeRefused(f"{url} redirects: set forge_url of the target to where the forge really is")
        if status is None or status in AGAIN or not 400 <= status < 500:
            return ForgeUnavailable(f"{url} answers {status or 'oddly'} about {about}: {said}")
        if status == 404:
            return ForgeMissing(f"{url} does not have it: {about}: {said}")
        if status == 401:
            return ForgeRefused(f"{url} does not accept our token for {about}, renew it: {said}")
        return ForgeRefused(f"{url} refuses {about} ({status}): {said}")


def _said(error: Exception) -> str:
    """Return what the forge said, without the address and the headers that the libraries put beside it."""
    if isinstance(error, PagureAPIException):
        return _line(error.pagure_error or error)
    cause = error.__cause__ if isinstance(error, ForgejoAPIException) else error
    if isinstance(cause, ApiError):
        body = cause.body
        message = body.get("message") if isinstance(body, dict) else getattr(body, "message", None)
        return _line(message or body)
    return _line(error)


def _line(said: object) -> str:
    return str(said).strip().split("\n", 1)[0][:300] or type(said).__name__
