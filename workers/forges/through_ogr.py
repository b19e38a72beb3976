"""Pagure and Forgejo through the library ogr, whose traps are met here.

Left to itself ogr repeats requests that were not answered well, also those that create something, and waits for
answers without an end. Here each request is sent once, within a time, and is never redirected.
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
from workers.buildsystems.bounded_http import Watch, WatchedAdapter
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
"""Answers that say nothing for good. 409 is Forgejo's for a pull request that is there already."""

LARGEST = 32 * 1024 * 1024
"""Bytes of one answer, unpacked. A list of pull requests has a few MB at most."""

LONGEST = 10
"""One answer may take this many silences: who drips byte by byte is never silent."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)

STATES = {
    PRStatus.open: PullState.OPEN,
    PRStatus.merged: PullState.MERGED,
    PRStatus.closed: PullState.CLOSED,
}


class NoAnswer(httpx.HTTPError):
    """A status after which the client would send the request again."""


class TooMuch(ValueError):
    """An answer that is too large, or does not come to its end."""


def bounded(chunks: Iterable[bytes], seconds: float) -> bytes:
    """A whole answer from its pieces. Raises TooMuch."""
    body, end = bytearray(), time.monotonic() + LONGEST * seconds
    for chunk in chunks:
        body += chunk
        if len(body) > LARGEST:
            raise TooMuch(f"an answer of more than {LARGEST} bytes")
        if time.monotonic() > end:
            raise TooMuch(f"an answer that took longer than {LONGEST * seconds:g} s")
    return bytes(body)


class OneRequest(requests.Session):
    """A session that neither repeats nor follows a redirection, and takes a bounded answer in a bounded time."""

    def __init__(self, seconds: float, *, trust_env: bool) -> None:
        super().__init__()
        self._seconds = seconds
        self.trust_env = trust_env
        for scheme in ("http://", "https://"):
            self.mount(scheme, WatchedAdapter())

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:
        """As in the base class."""
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
    """Nothing is sent yet."""
    policy = config.policy
    # A proxy of the environment has no way to this machine's own servers.
    trust_env = urlsplit(policy.url).hostname not in ("127.0.0.1", "::1", "localhost")
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
    # The client would read it whole, whatever comes; it does not where there is a content already.
    response._content = bounded(response.iter_bytes(), seconds)


class ThroughOgr:
    """One forge of either kind."""

    def __init__(self, config: ForgeConfig, service: Any) -> None:
        self._config = config
        self._service = service
        self._user = ""

    @property
    def _pagure(self) -> bool:
        return self._config.policy.kind is ForgeKind.PAGURE

    def user(self) -> str:
        """See the port."""
        if not self._user:
            with self._talking("who we are"):
                self._user = str(self._service.user.get_username())
        return self._user

    def fork(self, package: str) -> None:
        """See the port."""
        with self._talking(f"the fork of {package}"):
            self._project(package).get_fork(create=True)

    def find(self, package: str, branch: str) -> tuple[PullRequest, ...]:
        """See the port. Pagure lists by author; Forgejo cannot."""
        user = self.user()
        with self._talking(f"the pull requests of {package}"):
            by = {"author": user} if self._pagure else {}
            listed: Iterable[Any] = self._project(package).get_pr_list(status=PRStatus.all, **by)
            ours = [self._frozen(one) for one in listed if self._is_from(one, branch) and one.author == user]
        return tuple(sorted(ours, key=lambda one: one.number))

    def open(self, package: str, proposal: Proposal) -> PullRequest:
        """See the port."""
        user = self.user()
        with self._talking(f"opening a pull request for {package}"):
            return self._frozen(
                self._project(package).create_pr(
                    title=proposal.title,
                    body=proposal.text,
                    target_branch=proposal.target,
                    source_branch=proposal.branch,
                    fork_username=user,
                )
            )

    def get(self, package: str, number: int) -> PullRequest:
        """See the port."""
        found: PullRequest = self._with(package, number, self._frozen)
        return found

    def comment(self, package: str, number: int, text: str) -> None:
        """See the port."""
        user = self.user()

        def say(pull: Any) -> None:
            if not any(one.author == user and one.body == text for one in pull.get_comments()):
                pull.comment(text)

        self._with(package, number, say)

    def close(self, package: str, number: int) -> None:
        """See the port."""
        self._with(package, number, lambda pull: pull.close() if pull.status is PRStatus.open else None)

    def _is_from(self, pull: Any, branch: str) -> bool:
        # Forgejo, and ogr with it, has another name for a branch that was deleted, as many do after a merge; the
        # label keeps the name that it had.
        return bool(pull.source_branch == branch or (not self._pagure and pull._raw_pr.head.label == branch))

    def _with(self, package: str, number: int, act: Callable[[Any], Any]) -> Any:
        with self._talking(f"pull request #{number} of {package}"):
            return act(self._project(package).get_pr(number))

    def _project(self, package: str) -> Any:
        # ogr asks Pagure who we are for every project that comes without a user.
        mine = {"username": self.user()} if self._pagure else {}
        return self._service.get_project(repo=package, namespace=self._config.namespace, **mine)

    def _frozen(self, pull: Any) -> PullRequest:
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
    def _talking(self, about: str) -> Iterator[None]:
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
    """What the forge said, without the address and the headers that the libraries put beside it."""
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
