"""Making a COPR project ready, safe to repeat and to do from several workers at once."""

from __future__ import annotations

import fcntl
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workers.buildsystems import BuildSystemUnavailable, SubmissionRefused, SubmissionUnknown
from workers.buildsystems.copr_client import NotFound, Refused, checked, read, translated

ROUNDS = 5
DESCRIPTION = (
    "Versioned CRI-O packages. Each release is built by cryopack as soon as upstream publishes it; "
    "one stream at a time can be installed."
)


def prepare_project(
    client: Any, owner: str, name: str, chroots: Sequence[str], options: Mapping[str, object], state_dir: Path
) -> None:
    """Create the project if it is missing, and add the chroots that it lacks; nothing is ever taken away.

    COPR answers parallel edits with "last one wins" and now and then a bare 500, so the result is read back until
    it holds our chroots. Raises SubmissionRefused, NeedsPerson, BuildSystemUnavailable.
    """
    with _alone(state_dir, owner, name):
        for attempt in range(ROUNDS):
            have = _chroots_of(client, owner, name)
            if have is not None and set(chroots) <= have:
                return
            try:
                if have is None:
                    _add(client, owner, name, chroots, options)
                else:
                    _edit(client, owner, name, sorted(have | set(chroots)))
            except SubmissionUnknown:
                pass
            except Refused as error:
                again = error.status == 409 or "race condition" in str(error)
                if not again and "already have a project" not in str(error):
                    raise SubmissionRefused(f"COPR project {owner}/{name}: {error}") from None
            time.sleep(random.uniform(0, 0.2 * attempt))
    raise BuildSystemUnavailable(f"COPR project {owner}/{name} could not be made ready in {ROUNDS} rounds")


def _chroots_of(client: Any, owner: str, name: str) -> set[str] | None:
    try:
        project = read(lambda: client.project_proxy.get(owner, name))
    except NotFound:
        return None
    chroots = project.get("chroot_repos")
    if not isinstance(chroots, Mapping):
        raise BuildSystemUnavailable("COPR's answer about the project has an unknown form")
    return set(chroots)


def _add(client: Any, owner: str, name: str, chroots: Sequence[str], options: Mapping[str, object]) -> None:
    with translated():
        checked(
            client.project_proxy.add(
                owner,
                name,
                list(chroots),
                description=str(options.get("description", DESCRIPTION)),
                instructions=str(options["instructions"]) if "instructions" in options else None,
                # The list of chroots is ours: COPR must not add branches by itself.
                follow_fedora_branching=False,
                exist_ok=True,
            )
        )


def _edit(client: Any, owner: str, name: str, chroots: Sequence[str]) -> None:
    active = set(read(client.mock_chroot_proxy.get_list))
    # One deactivated chroot in the list would refuse the whole request.
    keep = [chroot for chroot in chroots if chroot in active]
    with translated():
        checked(client.project_proxy.edit(owner, name, chroots=keep, follow_fedora_branching=False))


@contextmanager
def _alone(state_dir: Path, owner: str, name: str) -> Iterator[None]:
    locks = state_dir / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    safe = re.sub(r"[^A-Za-z0-9.-]", "_", f"copr-{owner}-{name}")
    with (locks / safe).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
