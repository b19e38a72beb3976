"""Koji behind the port. The submission key travels as user metadata of the task and as the folder of the upload.

What makes a search certain at once is the fence: each submission has a log-in session of its own, whose number is
written down before the build is asked for. Whoever is in doubt closes that session first; from then on no call of
it runs any more, so a task that is not there now will never be there. The shape of a fence::

    {"session_id": 67, "user_id": 2, "newest_task": 139, "opened_at": "2026-11-24T12:00:00+00:00", "hub": "1.35.3",
     "chroots": ["fedora-43-x86_64"], "dropped": {"fedora-43-s390x": "why"}}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
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
    BuildVanished,
    ForeignBuild,
    NeedsPerson,
    SubmissionRefused,
    SubmissionUnknown,
)
from workers.buildsystems.koji.answers import (
    Health,
    after_build,
    before_build,
    for_good,
    look_at_target,
    number_in,
    other_account,
    user_id_of,
)
from workers.buildsystems.koji.client import KojiClient, Profile
from workers.buildsystems.koji.polls import is_number, read_tasks
from workers.buildsystems.koji.reports import CHROOTS, TOKEN, Links
from workers.buildsystems.koji.results import KojiResults
from workers.buildsystems.koji.scm import check_nvr
from workers.buildsystems.koji.searches import newest_task, search_tasks
from workers.buildsystems.koji.settings import KojiSettings, TargetSettings
from workers.buildsystems.koji.side_tags import KojiSideTags
from workers.buildsystems.koji.tags import KojiTags
from workers.buildsystems.koji.trouble import Kind, KojiTrouble

UPLOADS = "cli-build"
NO_SESSION = "the session that was opened for this submission is closed, so nothing was submitted"


def connect(config: AdapterConfig) -> Koji:
    """The adapter, without any contact yet. Raises BuildSystemError for an option that it does not know."""
    return Koji(config)


class Koji(KojiSideTags, KojiResults, KojiTags):
    """One hub and account. Between ``open`` and ``submit`` it keeps the key of a session, in this process only."""

    name = "koji"

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config.state_dir / "koji")
        self._settings = KojiSettings.read(config.options)

    def open(self, target: BuildTarget) -> Fence:
        """Log in for one submission and look at the target; nothing is changed at the hub."""
        return self._open(target, None)

    def reopen(self, target: BuildTarget, fence: Fence) -> Fence:
        """A new session; the watermark of the search stays where the first submission had set it."""
        return self._open(target, fence)

    def _open(self, target: BuildTarget, earlier: Fence | None) -> Fence:
        chosen = TargetSettings.read(target)
        try:
            with self._client(self._settings.setup_timeout) as client:
                sinfo = client.log_in(self._ccache())
                seen = look_at_target(client, target, chosen)
                watermark = newest_task(client, seen.user_id)
        except KojiTrouble as error:
            raise for_good(error) from None
        if earlier is not None:
            if earlier.get("user_id") != seen.user_id:
                raise NeedsPerson(other_account(seen.user_id, earlier))
            kept = earlier.get("newest_task")
            watermark = min(watermark, kept) if isinstance(kept, int) else 0
        return {
            "session_id": self._hold(sinfo),
            "user_id": seen.user_id,
            "newest_task": watermark,
            "opened_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "hub": seen.version,
            "chroots": list(seen.chroots),
            "dropped": dict(seen.dropped),
        }

    def submit(
        self, work: Srpm | ScmCommit, target: BuildTarget, key: SubmissionKey, fence: Fence
    ) -> BuildRef:
        """Ask for the build once, in the fence's own session. Every odd answer is SubmissionUnknown.

        Raises BuildSystemUnavailable where surely nothing was submitted, BuildSystemError without an SRPM on disk.
        """
        chosen = TargetSettings.read(target)
        if isinstance(work, ScmCommit) and chosen.scratch:
            raise SubmissionRefused(
                f"target {target.id} makes scratch builds of source RPMs, not builds of commits"
            )
        if isinstance(work, Srpm) and not chosen.scratch:
            raise SubmissionRefused(
                f"target {target.id} builds commits of dist-git; Koji takes SRPMs for scratch only"
            )
        chroots = fence.get("chroots")
        names = [str(chroot) for chroot in chroots] if isinstance(chroots, (list, tuple)) else []
        sinfo = self._take(number_in(fence, "session_id"))
        if sinfo is None:
            raise BuildSystemUnavailable(
                "the session of this submission was opened by another worker; nothing was sent"
            )
        profile = Profile.read(self._settings)
        with KojiClient(profile, self._settings, self._settings.upload_timeout) as client:
            client.adopt(sinfo)
            options: dict[str, Any] = {"custom_user_metadata": {TOKEN: str(key), CHROOTS: names}}
            try:
                if isinstance(work, Srpm):
                    source = self._upload(client, work, key)
                    arches = " ".join(name.rpartition("-")[2] for name in names)
                    options |= {"scratch": True, "arch_override": arches}
                else:
                    source = f"git+{work.url}#{work.commit}"
                    taken = check_nvr(client, work.nvr, source)
                    if taken is not None:
                        self._end_session(client)
                        return self._ref(profile, target, taken)
            except KojiTrouble as error:
                raise self._told(error, before_build) from None
            try:
                number = client.call_once("build", source, chosen.koji_target, options, chosen.priority)
            except KojiTrouble as error:
                raise self._told(error, after_build) from None
            if isinstance(number, bool) or not isinstance(number, int) or number <= 0:
                raise SubmissionUnknown("the hub's answer to the submission is no task's id")
            self._end_session(client)
        return self._ref(profile, target, number)

    @staticmethod
    def _upload(client: KojiClient, work: Srpm, key: SubmissionKey) -> str:
        folder, name = f"{UPLOADS}/{key}", work.name.rpartition("/")[2]
        try:
            client.upload(work.path, folder, name)
        except OSError as error:
            raise BuildSystemError(
                f"the source RPM {work.name} cannot be read: {error.strerror or type(error).__name__}"
            ) from None
        return f"{folder}/{name}"

    def _told(self, error: KojiTrouble, word: Callable[[KojiTrouble], BuildSystemError]) -> BuildSystemError:
        # Another worker fenced us, or the hub did; either way the call has not run.
        return self._why_closed() if error.kind is Kind.CLOSED else word(error)

    def _why_closed(self) -> BuildSystemError:
        """A closed session may be a fence, or a log-in that is worth nothing any more: only a new one tells."""
        try:
            with self._client(self._settings.setup_timeout) as client:
                client.log_in(self._ccache())
                self._end_session(client)
        except NeedsPerson as error:
            return error
        except KojiTrouble as error:
            return BuildSystemUnavailable(f"{NO_SESSION}; {error}")
        return BuildSystemUnavailable(NO_SESSION)

    def find(self, target: BuildTarget, key: SubmissionKey, fence: Fence) -> Found:
        """Close the submission's session, then search our tasks: what is found or not found then is certain.

        Whatever stands in the way, even a refusal, is BuildSystemUnavailable: it proves no absence. Raises
        NeedsPerson for another account than the submission's, whose tasks would not be found.
        """
        try:
            profile = Profile.read(self._settings)
            with KojiClient(profile, self._settings, self._settings.setup_timeout) as client:
                client.log_in(self._ccache())
                user_id = user_id_of(client.call("getLoggedInUser"))
                if fence.get("user_id") != user_id:
                    raise _OtherAccount(other_account(user_id, fence))
                self._close(client, number_in(fence, "session_id"))
                numbers = search_tasks(client, user_id, str(key), number_in(fence, "newest_task"))
                self._end_session(client)
        except _OtherAccount as error:
            raise NeedsPerson(str(error)) from None
        except (KojiTrouble, NeedsPerson) as error:
            raise BuildSystemUnavailable(str(error)) from None
        return Found(tuple(self._ref(profile, target, number) for number in numbers), certain=True)

    def poll(self, refs: Sequence[BuildRef]) -> Mapping[BuildRef, BuildReport | PollProblem]:
        """One request for all tasks, and a few more for those that have ended or have a build. Needs no log-in.

        Raises BuildSystemUnavailable where the hub gives no answer at all.
        """
        if not refs:
            return {}
        profile = Profile.read(self._settings)
        try:
            with KojiClient(profile, self._settings, self._settings.poll_timeout) as client:
                return read_tasks(client, Links(profile.weburl, profile.topurl), refs)
        except KojiTrouble as error:
            raise BuildSystemUnavailable(str(error)) from None

    def cancel(self, ref: BuildRef) -> None:
        """Cancel a task with its children and its build; one that has ended stays as it is. Raises BuildVanished."""
        if not is_number(ref.external_id):
            raise BuildVanished(f"'{ref.external_id[:40]}' is not the id of a Koji task")
        try:
            with self._client(self._settings.setup_timeout) as client:
                client.log_in(self._ccache())
                try:
                    client.call("cancelTask", int(ref.external_id))
                finally:
                    self._end_session(client)
        except KojiTrouble as error:
            if "No such task" in str(error):
                raise BuildVanished(f"Koji does not know task {ref.external_id}") from None
            if "not owner" in str(error):
                raise ForeignBuild(f"task {ref.external_id} is another account's at Koji") from None
            raise for_good(error) from None

    def health(self) -> Health:
        """Log in and ask the hub who we are. Never raises for trouble of the other side; the answer is not kept."""
        try:
            with self._client(self._settings.poll_timeout) as client:
                client.log_in(self._ccache())
                name, version = client.call("getLoggedInUser")["name"], client.hub_version()
                self._end_session(client)
        except (KojiTrouble, NeedsPerson) as error:
            return Health(False, datetime.now(UTC), str(error))
        return Health(True, datetime.now(UTC), f"{name} at Koji {'.'.join(map(str, version))}")

    def _ref(self, profile: Profile, target: BuildTarget, number: int) -> BuildRef:
        page = Links(profile.weburl, profile.topurl).task(number)
        return BuildRef(self.name, target.project, str(number), page)


class _OtherAccount(Exception):
    pass
