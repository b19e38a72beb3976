"""Keeps upstream's releases: loads the history file, and lets control commands add, move or withdraw releases."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandbox.store import Row, Store

HISTORY = Path(__file__).parents[1] / "data" / "cri-o-releases.json"
OWNER, REPO = "cri-o", "cri-o"
TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)([-.].+)?", re.ASCII)
PUBLISH = ("latest", "all", "none")
OLDEST_SHOWN = (1, 31)
# The NRI that each stream vendors; a stream that is not listed has the newest one.
NRI_VERSIONS = {
    "1.28": "v0.3.1", "1.29": "v0.6.0", "1.30": "v0.6.0", "1.31": "v0.6.1", "1.32": "v0.9.0",
    "1.33": "v0.9.0", "1.34": "v0.10.0", "1.35": "v0.11.0", "1.36": "v0.11.0", "1.37": "v0.12.0",
}  # fmt: skip
NEWEST_NRI = "v0.12.0"


class UnknownTag(LookupError):
    """No such tag in the mirror."""


def _key(tag: str) -> tuple[int, ...]:
    match = TAG.fullmatch(tag)
    if not match:
        raise UnknownTag(f"'{tag}' is not a tag of the form v1.32.1")
    return tuple(int(number) for number in match.groups()[:3])


def stream_of(tag: str) -> str:
    """Return the stream of a tag: ``"1.32"`` for ``"v1.32.1"``. Raises UnknownTag."""
    return ".".join(map(str, _key(tag)[:2]))


class Releases:
    """The mirror's tags. A tag may exist without being a published release."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def load(self, publish: str, hold_back: tuple[str, ...] = ()) -> None:
        """Read the history at the first start, and publish ``latest``, ``all`` or ``none`` of it.

        ``latest`` is the newest patch of each stream from 1.31 on. Tags in ``hold_back`` count as not
        released yet, so that a demonstration can release them. The caller owns the transaction.
        """
        if self.store.one("SELECT 1 FROM release"):
            return
        history = json.loads(HISTORY.read_text())
        released = [entry for entry in history if entry["tag"] not in hold_back]
        newest = {
            entry["stream"]: entry["tag"] for entry in sorted(released, key=lambda entry: _key(entry["tag"]))
        }
        shown = {entry["tag"] for entry in released} if publish == "all" else set()
        if publish == "latest":
            shown = {tag for tag in newest.values() if _key(tag)[:2] >= OLDEST_SHOWN}
        for entry in history:
            self.put(
                entry["tag"],
                published=entry["tag"] in shown,
                published_at=entry["tagged_at"],
                commit=entry["commit"],
                facts={"go": entry["go_mod_go"], "wazero": entry["wazero"], "commands": entry["commands"]},
            )

    def put(
        self,
        tag: str,
        *,
        published: bool = True,
        published_at: str | None = None,
        commit: str | None = None,
        facts: dict[str, Any] | None = None,
        draft: bool = False,
        prerelease: bool = False,
    ) -> None:
        """Add or replace a release; what is not given is taken from the stream's newest known tag.

        Raises UnknownTag for a tag of another form.
        """
        stream = stream_of(tag)
        siblings = self.store.all("SELECT * FROM release WHERE stream = ?", stream)
        models = siblings or self.store.all("SELECT * FROM release")
        if facts is None:
            model = max(models, key=lambda row: _key(row["tag"]), default=None)
            facts = (
                json.loads(model["facts"])
                if model
                else {"go": "1.25.0", "wazero": None, "commands": ["crio"]}
            )
        when = datetime.fromisoformat(published_at) if published_at else datetime.now(UTC)
        self.store.execute(
            "INSERT INTO release (tag, stream, published_at, commit_sha, facts, published, draft, prerelease)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tag) DO UPDATE SET"
            " published_at = excluded.published_at, commit_sha = excluded.commit_sha, facts = excluded.facts,"
            " published = excluded.published, draft = excluded.draft, prerelease = excluded.prerelease",
            tag,
            stream,
            when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            commit or hashlib.sha1(f"stand-in {tag}".encode()).hexdigest(),
            json.dumps(facts),
            published,
            draft,
            prerelease,
        )

    def get(self, tag: str) -> Row:
        """Return the tag's row. Raises UnknownTag."""
        row = self.store.one("SELECT * FROM release WHERE tag = ?", tag)
        if row is None:
            raise UnknownTag(f"no tag {tag}")
        return row

    def publish(self, tag: str, **changes: Any) -> Row:
        """Show a known tag as a release, or add an unknown one; return its row. ``changes`` as in ``put``."""
        row = self.store.one("SELECT * FROM release WHERE tag = ?", tag)
        if row is not None:
            known = {
                "published_at": row["published_at"],
                "commit": row["commit_sha"],
                "facts": json.loads(row["facts"]),
            }
            changes = {**known, **changes}
        self.put(tag, **changes)
        return self.get(tag)

    def unpublish(self, tag: str) -> None:
        """Hide the release and keep the tag. Raises UnknownTag."""
        self.get(tag)
        self.store.execute("UPDATE release SET published = 0 WHERE tag = ?", tag)

    def delete(self, tag: str) -> None:
        """Remove release and tag. Raises UnknownTag."""
        self.get(tag)
        self.store.execute("DELETE FROM release WHERE tag = ?", tag)

    def move(self, tag: str, commit: str | None = None) -> Row:
        """Let the tag point to another commit, whose archive has other content; return its row. Raises UnknownTag."""
        row = self.get(tag)
        moved = row["moved"] + 1
        new = commit or hashlib.sha1(f"{row['commit_sha']} moved".encode()).hexdigest()
        self.store.execute("UPDATE release SET commit_sha = ?, moved = ? WHERE tag = ?", new, moved, tag)
        return self.get(tag)

    def listed(self) -> list[Row]:
        """Return published releases, newest first; drafts are not among them, as for an anonymous reader."""
        rows = self.store.all("SELECT * FROM release WHERE published AND NOT draft")
        return sorted(rows, key=lambda row: (row["published_at"], _key(row["tag"])), reverse=True)

    def tags(self) -> list[Row]:
        """Return the tags that a reader can see: those with a release, published or not, newest version first.

        Tags of the history that were never published stay hidden: upstream has not made them yet.
        """
        rows = self.store.all("SELECT * FROM release WHERE published")
        return sorted(rows, key=lambda row: _key(row["tag"]), reverse=True)
