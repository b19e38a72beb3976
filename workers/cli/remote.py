"""The command line's access to a service elsewhere: its API over HTTP, with a token where one is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx2

from service.settings import Settings

TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
PAGE = 200


class RemoteFailed(Exception):
    """The service elsewhere refused, or did not answer; ``str(error)`` is one line that says which and what to do."""


class RemoteService:
    """The methods of LocalService, carried out by the API of ``settings.server``. Raises RemoteFailed."""

    def __init__(self, settings: Settings) -> None:
        token = settings.token.get_secret_value()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._server = settings.server
        self._client = httpx2.Client(
            base_url=f"{settings.server}/api/v1", headers=headers, timeout=TIMEOUT, trust_env=False
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def matrix(self) -> dict[str, Any]:
        """Return the targets, and rows with their cells in the targets' order."""
        return self._ask("GET", "/matrix")

    def builds(self, filters: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
        """Return builds, newest first."""
        return self._list("/builds", filters, limit)

    def build(self, build_id: int) -> dict[str, Any]:
        """Return one build with its chroots and how it was made."""
        return self._ask("GET", f"/builds/{build_id}")

    def events(self, build_id: int) -> list[dict[str, Any]]:
        """Return a build's history, oldest first."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self._ask(
                "GET", f"/builds/{build_id}/events", params=_given({"limit": PAGE, "cursor": cursor})
            )
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found

    def deliveries(self, limit: int) -> list[dict[str, Any]]:
        """Return webhook deliveries, newest first."""
        return self._list("/deliveries", {}, limit)

    def audit(self, filters: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
        """Return who asked for what, newest first."""
        return self._list("/audit", filters, limit)

    def overrides(self) -> list[dict[str, Any]]:
        """Return what differs from the catalogue's files."""
        return list(self._ask("GET", "/overrides")["items"])

    def retry(self, build_id: int, strategy: str | None) -> dict[str, Any]:
        """Start a new attempt at an ended build's cell."""
        return self._ask("POST", f"/builds/{build_id}/retry", json={"strategy": strategy})

    def cancel(self, build_id: int) -> dict[str, Any]:
        """Ask for a build to be cancelled."""
        return self._ask("POST", f"/builds/{build_id}/cancel")

    def resume(self, build_id: int) -> dict[str, Any]:
        """Let a held build go on."""
        return self._ask("POST", f"/builds/{build_id}/resume")

    def resolve(self, build_id: int, how: str) -> dict[str, Any]:
        """Settle a conflict in dist-git."""
        return self._ask("POST", f"/builds/{build_id}/resolve", json={"how": how})

    def give_up(self, build_id: int, why: str) -> dict[str, Any]:
        """End a build whose build system may never answer."""
        return self._ask("POST", f"/builds/{build_id}/give-up", json={"why": why})

    def side_tags(self, filters: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
        """Return side tags, newest first."""
        return self._list("/side-tags", filters, limit)

    def side_tag(self, side_tag_id: int) -> dict[str, Any]:
        """Return one side tag with its history."""
        return self._ask("GET", f"/side-tags/{side_tag_id}")

    def give_up_side_tag(self, side_tag_id: int, why: str) -> dict[str, Any]:
        """Have a side tag removed although its update was not pushed."""
        return self._ask("POST", f"/side-tags/{side_tag_id}/give-up", json={"why": why})

    def go_on_side_tag(self, side_tag_id: int, why: str) -> dict[str, Any]:
        """Let a held side tag go on, or its set without what ended badly."""
        return self._ask("POST", f"/side-tags/{side_tag_id}/go-on", json={"why": why})

    def rebuild(self, wish: Mapping[str, Any], *, dry_run: bool) -> dict[str, Any]:
        """Build many cells again, or say what would be done."""
        body = {**wish, "only": "failed" if wish.get("failed_only") else "all", "dry_run": dry_run}
        body.pop("failed_only", None)
        return self._ask("POST", "/rebuilds", json=body)

    def add_release(self, family: str, tag: str, bugs: Sequence[int] = ()) -> dict[str, Any]:
        """Announce a release by hand, with the bugs that ask for it."""
        return self._ask("POST", "/releases", json={"family": family, "tag": tag, "bugs": list(bugs)})

    def replay(self, guid: str) -> dict[str, Any]:
        """Process a delivery again."""
        return self._ask("POST", f"/deliveries/{quote(guid, safe='')}/replay")

    def change(self, action: str, subject: str, changes: Mapping[str, Any], why: str) -> dict[str, Any]:
        """Change the catalogue: ``action`` is such as target.pause."""
        kind, _, what = action.partition(".")
        folder = {"target": "targets", "stream": "streams", "branch": "branches"}[kind]
        address = f"/{folder}/{quote(subject)}"
        if what == "edit":
            return self._ask("PATCH", address, json={**changes, "why": why})
        return self._ask(
            "POST", f"{address}/{'end-of-life' if what == 'end' else what}", json={**changes, "why": why}
        )

    def drop_override(self, override_id: int, why: str) -> dict[str, Any]:
        """Drop an override, so that the files count again."""
        return self._ask("DELETE", f"/overrides/{override_id}", json={"why": why})

    def create_token(self, name: str, scopes: list[str], expires_in: timedelta | None) -> dict[str, Any]:
        """Make a token; ``text`` is there this once. It lasts whole days."""
        days = max(1, round(expires_in.total_seconds() / 86400)) if expires_in else None
        return self._ask("POST", "/tokens", json={"name": name, "scopes": scopes, "days": days})

    def list_tokens(self) -> list[dict[str, Any]]:
        """Return every token, without its text."""
        return list(self._ask("GET", "/tokens")["items"])

    def revoke_token(self, name: str) -> dict[str, Any]:
        """Revoke a token."""
        return self._ask("POST", f"/tokens/{quote(name, safe='')}/revoke")

    def _list(self, path: str, filters: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
        return list(self._ask("GET", path, params=_given({**filters, "limit": limit}))["items"])

    def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            answer = self._client.request(method, path, **options)
            body = answer.json()
        except httpx2.HTTPError as error:
            raise RemoteFailed(f"{self._server} does not answer ({type(error).__name__})") from None
        except ValueError:
            raise RemoteFailed(
                f"{self._server} does not answer like cryopack (HTTP {answer.status_code})"
            ) from None
        if answer.status_code < 300 and isinstance(body, dict):
            return body
        detail = body.get("detail") if isinstance(body, dict) else None
        hint = " Set CRYOPACK_TOKEN or CRYOPACK_TOKEN_FILE." if answer.status_code == 401 else ""
        raise RemoteFailed(f"{detail or f'HTTP {answer.status_code}'}{hint}")


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
