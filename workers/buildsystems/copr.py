"""COPR behind the port. The upload's file name carries the submission key: the only way to find a build again."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.domain.planning import BuildTarget
from service.domain.reports import (
    BuildRef,
    BuildReport,
    Fence,
    Found,
    PollProblem,
    ScmCommit,
    Srpm,
    SubmissionKey,
)
from workers.buildsystems import (
    AdapterConfig,
    BuildSystemError,
    BuildSystemUnavailable,
    NeedsPerson,
    SubmissionRefused,
    SubmissionUnknown,
)
from workers.buildsystems.copr_client import (
    NotFound,
    Refused,
    checked,
    hardened_client,
    read,
    translated,
)
from workers.buildsystems.copr_projects import prepare_project
from workers.buildsystems.copr_reports import needs_chroots, report

PAGE = 50
POLL_PAGE = 100
MAX_PAGES = 40
BUILD_OPTIONS = {"timeout": int, "enable_net": bool, "bootstrap": str, "isolation": str, "background": bool}
OTHER_OPTIONS = frozenset({"description", "instructions"})


def upload_name(srpm_name: str, key: SubmissionKey) -> str:
    """The file name under which an SRPM is handed over, such as ``cri-o1.32-1.32.1-0.1.job-b7xab12.src.rpm``.

    COPR drops ``~ ^ = +`` from names, so they are dropped before it can.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]", "", srpm_name.removesuffix(".src.rpm"))
    return f"{stem}.job-{key}.src.rpm"


def connect(config: AdapterConfig) -> Copr:
    """The adapter. Options: ``config_file``, ``connect_timeout``, ``read_timeout``, ``request_timeout`` (seconds)."""
    return Copr(config)


class Copr:
    """One COPR server and account. Holds no connection, so that a fork is harmless."""

    name = "copr"

    def __init__(self, config: AdapterConfig) -> None:
        options = config.options
        self._state_dir = config.state_dir
        self._config_file = Path(str(options.get("config_file", "~/.config/copr"))).expanduser()
        self._connect = float(str(options.get("connect_timeout", 10.0)))
        self._read = float(str(options.get("read_timeout", 60.0)))
        # After this time nothing that we sent can still be committed, so a complete list is a certain answer.
        self._certain_after = float(str(options.get("request_timeout", self._connect + self._read)))
        self._made: tuple[int, float, Any] | None = None

    def open(self, target: BuildTarget) -> Fence:
        """Make the project ready; the fence holds the newest build id, the time, and the chroots to build in."""
        owner, project = _split(target.project)
        _build_options(target)
        client = self._client()
        read(client.base_proxy.auth_check)
        active = set(read(client.mock_chroot_proxy.get_list)) - {"__response__", "__proxy__"}
        chroots = [chroot for chroot in target.chroots if chroot in active]
        dropped = {c: "COPR has no such active chroot now" for c in target.chroots if c not in active}
        if not chroots:
            wanted = ", ".join(target.chroots)
            raise SubmissionRefused(f"COPR has none of the target's chroots active now: {wanted}")
        prepare_project(client, owner, project, chroots, target.options, self._state_dir)
        newest = self._list(client, owner, project, limit=1, offset=0)
        return {
            "newest_id": newest[0]["id"] if newest else 0,
            "opened_at": datetime.now(UTC).isoformat(),
            "chroots": chroots,
            "dropped": dropped,
        }

    def submit(
        self, work: Srpm | ScmCommit, target: BuildTarget, key: SubmissionKey, fence: Fence
    ) -> BuildRef:
        """Upload once. Refused only where COPR surely said no; every odd answer is SubmissionUnknown."""
        if not isinstance(work, Srpm):
            raise SubmissionRefused("COPR targets build from SRPMs, not from dist-git commits")
        owner, project = _split(target.project)
        # A fresh dict each time: the client deletes keys from its caller's.
        options: dict[str, Any] = {**_build_options(target), "chroots": list(_chroots(fence, target))}
        client = self._client()
        uploads = self._state_dir / "uploads"
        uploads.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=uploads))
        try:
            # The client sends the base name of the path that it is given.
            link = folder / upload_name(work.name, key)
            link.symlink_to(work.path.resolve())
            return self._upload(client, owner, project, link, options, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _upload(
        self, client: Any, owner: str, project: str, link: Path, options: dict[str, Any], target: BuildTarget
    ) -> BuildRef:
        try:
            with translated():
                build = checked(
                    client.build_proxy.create_from_file(owner, project, str(link), buildopts=options)
                )
        except NotFound as error:
            raise SubmissionRefused(str(error)) from None
        except Refused as error:
            if error.status == 409 or "race condition" in str(error):
                raise SubmissionUnknown(str(error)) from None
            raise
        number = build.get("id")
        if not isinstance(number, int):
            raise SubmissionUnknown("COPR's answer to the upload holds no build id")
        return self._ref(target.project, number)

    def find(self, target: BuildTarget, key: SubmissionKey, fence: Fence) -> Found:
        """Search newest first for uploads that carry the key, back to the newest build before the submission."""
        owner, project = _split(target.project)
        client = self._client()
        floor = int(str(fence.get("newest_id", 0)))
        marker = f".job-{key}.src.rpm"
        found: dict[int, BuildRef] = {}
        seen: set[int] = set()
        complete = False
        for page in range(MAX_PAGES):
            try:
                # A shifted page repeats builds and never hides one, because new ones come first.
                builds = self._list(client, owner, project, limit=PAGE, offset=page * PAGE)
            except NotFound:
                builds = []
            fresh = [build for build in builds if build["id"] not in seen and build["id"] > floor]
            seen.update(build["id"] for build in builds)
            for build in fresh:
                if self._carries(client, build, marker):
                    found[build["id"]] = self._ref(target.project, build["id"])
            if len(builds) < PAGE or any(build["id"] <= floor for build in builds):
                complete = True
                break
        doubt = float(str(fence.get("doubt_seconds", 0.0)))
        refs = tuple(found[number] for number in sorted(found))
        return Found(refs, certain=bool(refs) or (complete and doubt >= self._certain_after))

    def _carries(self, client: Any, build: Mapping[str, Any], marker: str) -> bool:
        url = str((build.get("source_package") or {}).get("url") or "")
        if url:
            return url.endswith(marker)
        # Without an address the source step's own configuration still names the uploaded file.
        try:
            source = read(lambda: client.build_proxy.get_source_build_config(build["id"]))
        except (NotFound, Refused):
            return False
        package = str((source.get("source_dict") or {}).get("pkg") or "")
        return package.endswith(marker)

    def poll(self, refs: Sequence[BuildRef]) -> Mapping[BuildRef, BuildReport | PollProblem]:
        """One list per project, then the chroots of those builds whose state says that there is news."""
        answers: dict[BuildRef, BuildReport | PollProblem] = {}
        by_project: dict[str, list[BuildRef]] = {}
        for ref in refs:
            by_project.setdefault(ref.project, []).append(ref)
        client = self._client()
        for project, members in by_project.items():
            listed = self._listed(client, project, {int(ref.external_id) for ref in members})
            for ref in members:
                answers[ref] = self._one(client, ref, listed.get(int(ref.external_id)))
        return answers

    def _listed(self, client: Any, project: str, wanted: set[int]) -> dict[int, Mapping[str, Any]]:
        owner, name = _split(project)
        found: dict[int, Mapping[str, Any]] = {}
        for page in range(3):
            try:
                builds = self._list(client, owner, name, limit=POLL_PAGE, offset=page * POLL_PAGE)
            except NotFound:
                break
            found.update({build["id"]: build for build in builds if build["id"] in wanted})
            if len(builds) < POLL_PAGE or wanted <= found.keys() or builds[-1]["id"] < min(wanted):
                break
        return found

    def _one(self, client: Any, ref: BuildRef, build: Mapping[str, Any] | None) -> BuildReport | PollProblem:
        number = int(ref.external_id)
        try:
            if build is None:
                build = read(lambda: client.build_proxy.get(number))
            chroots: Sequence[Mapping[str, Any]] | None = None
            source = ""
            if needs_chroots(build):
                chroots = read(lambda: client.build_chroot_proxy.get_list(number))
                if build.get("state") == "failed" and not any(row.get("result_url") for row in chroots):
                    source = self._source_state(client, number)
            return report(ref, build, chroots, source)
        except NotFound as error:
            return PollProblem(str(error), vanished=True)
        except BuildSystemError as error:
            return PollProblem(f"COPR build {number} could not be read: {error}")
        except (KeyError, TypeError, ValueError, AttributeError):
            return PollProblem(f"COPR's answer about build {number} has an unknown form")

    @staticmethod
    def _source_state(client: Any, number: int) -> str:
        try:
            return str(read(lambda: client.build_proxy.get_source_chroot(number)).get("state") or "")
        except BuildSystemError:
            # It answers 500 until the source step runs.
            return ""

    def cancel(self, ref: BuildRef) -> None:
        """Ask COPR to cancel; a build that has ended answers 409, which is as good."""
        client = self._client()
        try:
            with translated():
                checked(client.build_proxy.cancel(int(ref.external_id)))
        except Refused as error:
            if error.status != 409:
                raise
        except SubmissionUnknown as error:
            raise BuildSystemUnavailable(str(error)) from None

    def _list(
        self, client: Any, owner: str, project: str, *, limit: int, offset: int
    ) -> list[Mapping[str, Any]]:
        pages = {"limit": limit, "offset": offset}
        builds = read(lambda: client.build_proxy.get_list(owner, project, pagination=pages))
        if not isinstance(builds, list) or not all(isinstance(build.get("id"), int) for build in builds):
            raise BuildSystemUnavailable("COPR's list of builds has an unknown form")
        return builds

    def _ref(self, project: str, number: int) -> BuildRef:
        base = str(self._client().config["copr_url"]).rstrip("/")
        return BuildRef(self.name, project, str(number), f"{base}/coprs/build/{number}")

    def _client(self) -> Any:
        # A renewed token arrives as a changed file, and a forked child must not share what its parent made.
        try:
            stamp = self._config_file.stat().st_mtime
        except OSError:
            stamp = 0.0
        if self._made is None or self._made[:2] != (os.getpid(), stamp):
            client = hardened_client(
                self._config_file, connect_timeout=self._connect, read_timeout=self._read
            )
            self._made = (os.getpid(), stamp, client)
        return self._made[2]


def _split(project: str) -> tuple[str, str]:
    owner, slash, name = project.partition("/")
    if not slash or not owner or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise NeedsPerson(f"'{project[:80]}' is not a COPR project such as owner/name")
    return owner, name


def _chroots(fence: Fence, target: BuildTarget) -> Sequence[str]:
    chroots = fence.get("chroots")
    return [str(chroot) for chroot in chroots] if isinstance(chroots, (list, tuple)) else target.chroots


def _build_options(target: BuildTarget) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for key, value in target.options.items():
        if key in OTHER_OPTIONS:
            continue
        if key not in BUILD_OPTIONS or not isinstance(value, BUILD_OPTIONS[key]):
            # COPR drops what it does not know in silence, so a misspelt option would never be noticed.
            raise SubmissionRefused(
                f"target {target.id}: '{key}' is not an option of COPR builds, or of a wrong type"
            )
        chosen[key] = value
    return chosen
