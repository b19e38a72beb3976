"""The Koji adapter: submits scratch builds of SRPMs and builds of dist-git commits, finds, polls and cancels them.

The submission key is sent as user metadata of the task and as the folder of the upload. What makes a search certain at
once is the fence: each submission has a log-in session of its own, whose number is committed before the build is asked
for. A search closes that session first; from then on no call of it runs any more, so a task that is not there now will
never be there. The shape of a fence::

    {"session_id": 67, "user_id": 2, "newest_task": 139, "opened_at": "2026-11-24T12:00:00+00:00", "hub": "1.35.3",
     "chroots": ["fedora-43-x86_64"], "dropped": {"fedora-43-s390x": "why"}}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.domain.planning import BuildTarget
from service.domain.reports import (
    BuildRef,
    BuildReport,
    Fence,
    Found,
    PollProblem,
    ResultPlace,
    ScmCommit,
    Srpm,
    SubmissionKey,
    TagReport,
)
from service.domain.side_tags import TagSeen
from workers.buildsystems import (
    AdapterConfig,
    BuildSystemError,
    BuildSystemUnavailable,
    BuildVanished,
    ForeignBuild,
    Health,
    NeedsPerson,
    SideTagVanished,
    SubmissionRefused,
    SubmissionUnknown,
)
from workers.buildsystems.koji.client import (
    Hub,
    Kind,
    KojiClient,
    KojiTrouble,
    Profile,
    fence_number,
    other_account,
    port_error,
    port_error_after_build,
    port_error_before_build,
    user_id_of,
)
from workers.buildsystems.koji.nvr import check_nvr
from workers.buildsystems.koji.queries import (
    newest_task,
    read_output,
    read_rpms,
    read_tags,
    read_tasks,
    search_tasks,
)
from workers.buildsystems.koji.reports import CHROOTS, OUTPUT, TOKEN, Links, is_task_id, log_addresses
from workers.buildsystems.koji.settings import KojiSettings, TargetSettings
from workers.buildsystems.koji.side_tags import SideTags

UPLOADS = "cli-build"
NO_SESSION = "the session that was opened for this submission is closed, so nothing was submitted"


def connect(config: AdapterConfig) -> Koji:
    """Return the adapter; the hub is not asked yet. Raises BuildSystemError for an option that it does not know."""
    return Koji(config)


class Koji:
    """The adapter for one hub and account. Between ``open`` and ``submit`` this process keeps a session's key."""

    name = "koji"

    def __init__(self, config: AdapterConfig) -> None:
        self._settings = KojiSettings.read(config.options)
        self._hub = Hub(self._settings, config.state_dir / "koji")
        self._side_tags = SideTags(self._hub)

    def open(self, target: BuildTarget) -> Fence:
        """Log in for one submission and check the target; nothing is changed at the hub."""
        return self._open(target, None)

    def reopen(self, target: BuildTarget, fence: Fence) -> Fence:
        """Log in for a second submission; searches still go back to the first one's newest task."""
        return self._open(target, fence)

    def _open(self, target: BuildTarget, earlier: Fence | None) -> Fence:
        chosen = TargetSettings.read(target)
        try:
            with self._hub.client(self._settings.setup_timeout) as client:
                sinfo = self._hub.log_in(client)
                facts = _check_target(client, target, chosen)
                newest = newest_task(client, facts.user_id)
        except KojiTrouble as error:
            raise port_error(error) from None
        if earlier is not None:
            if earlier.get("user_id") != facts.user_id:
                raise NeedsPerson(other_account(facts.user_id, earlier))
            kept = earlier.get("newest_task")
            newest = min(newest, kept) if isinstance(kept, int) else 0
        return {
            "session_id": self._hub.hold_session(sinfo),
            "user_id": facts.user_id,
            "newest_task": newest,
            "opened_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "hub": facts.version,
            "chroots": list(facts.chroots),
            "dropped": dict(facts.dropped),
        }

    def submit(
        self, work: Srpm | ScmCommit, target: BuildTarget, key: SubmissionKey, fence: Fence
    ) -> BuildRef:
        """Ask for the build once, in the fence's own session. Every odd answer is SubmissionUnknown.

        Raises BuildSystemUnavailable where surely nothing was submitted, BuildSystemError for an unreadable SRPM.
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
        sinfo = self._hub.take_session(fence_number(fence, "session_id"))
        if sinfo is None:
            raise BuildSystemUnavailable(
                "the session of this submission was opened by another worker; nothing was sent"
            )
        with self._hub.client(self._settings.upload_timeout) as client:
            client.use_session(sinfo)
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
                        client.log_out()
                        return self._ref(client.profile, target, taken)
            except KojiTrouble as error:
                raise self._submit_error(error, port_error_before_build) from None
            try:
                number = client.call_once("build", source, chosen.koji_target, options, chosen.priority)
            except KojiTrouble as error:
                raise self._submit_error(error, port_error_after_build) from None
            if isinstance(number, bool) or not isinstance(number, int) or number <= 0:
                raise SubmissionUnknown("the hub's answer to the submission is no task's id")
            client.log_out()
        return self._ref(client.profile, target, number)

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

    def _submit_error(
        self, error: KojiTrouble, port_error_of: Callable[[KojiTrouble], BuildSystemError]
    ) -> BuildSystemError:
        # Another worker closed the session, or the hub did; either way the call has not run.
        return self._closed_session_error() if error.kind is Kind.CLOSED else port_error_of(error)

    def _closed_session_error(self) -> BuildSystemError:
        """Return the error for a closed session: only a new log-in shows whether our account is still accepted."""
        try:
            with self._hub.client(self._settings.setup_timeout) as client:
                self._hub.log_in(client)
                client.log_out()
        except NeedsPerson as error:
            return error
        except KojiTrouble as error:
            return BuildSystemUnavailable(f"{NO_SESSION}; {error}")
        return BuildSystemUnavailable(NO_SESSION)

    def find(self, target: BuildTarget, key: SubmissionKey, fence: Fence) -> Found:
        """Close the submission's session, then search our tasks: what is found or not found then is certain.

        Every error, even a refusal, is BuildSystemUnavailable: it does not prove that there is no task. Raises
        NeedsPerson for another account than the submission's, whose tasks would not be found.
        """
        try:
            with self._hub.client(self._settings.setup_timeout) as client:
                self._hub.log_in(client)
                user_id = user_id_of(client.call("getLoggedInUser"))
                if fence.get("user_id") != user_id:
                    raise _OtherAccount(other_account(user_id, fence))
                self._hub.close_session(client, fence_number(fence, "session_id"))
                numbers = search_tasks(client, user_id, str(key), fence_number(fence, "newest_task"))
                client.log_out()
        except _OtherAccount as error:
            raise NeedsPerson(str(error)) from None
        except (KojiTrouble, NeedsPerson) as error:
            raise BuildSystemUnavailable(str(error)) from None
        return Found(tuple(self._ref(client.profile, target, number) for number in numbers), certain=True)

    def poll(self, refs: Sequence[BuildRef]) -> Mapping[BuildRef, BuildReport | PollProblem]:
        """Read all tasks with one request, and a few more for those that have ended or have a build; needs no log-in.

        Raises BuildSystemUnavailable where the hub gives no answer at all.
        """
        if not refs:
            return {}
        try:
            with self._hub.client(self._settings.poll_timeout) as client:
                return read_tasks(client, _links(client.profile), refs)
        except KojiTrouble as error:
            raise BuildSystemUnavailable(str(error)) from None

    def log_addresses(self, place: ResultPlace) -> Mapping[str, Sequence[str]]:
        """Return the addresses of a chroot's logs, or of the source step's.

        Where the profile does not say where the hub's files are, the hub itself is asked for them (``read_output``).
        Raises NeedsPerson.
        """
        logs = log_addresses(place)
        if logs and not place.log_url.endswith(".log") and Profile.read(self._settings).topurl:
            # The hub's files have addresses, and this task has none: its log does not exist.
            return {}
        return logs

    def rpm_addresses(self, place: ResultPlace) -> Sequence[str]:
        """Return the addresses of a chroot's RPMs by the result of its task. Two requests, without a log-in.

        Raises BuildVanished for a task that the hub does not know, BuildSystemUnavailable for no usable answer,
        NeedsPerson where the profile does not say where the hub keeps its files.
        """
        if not is_task_id(place.ref.external_id):
            return ()
        try:
            with self._hub.client(self._settings.poll_timeout) as client:
                if not client.profile.topurl:
                    raise NeedsPerson(
                        f"the Koji profile '{client.profile.name}' has no 'topurl', the address of the hub's files: "
                        "set it (CRYOPACK_KOJI_CONFIG), and RPMs can be looked at"
                    )
                return read_rpms(client, _links(client.profile), int(place.ref.external_id), place.chroot)
        except KojiTrouble as error:
            raise BuildSystemUnavailable(str(error)) from None

    def read_output(self, address: str, sink: Callable[[bytes], None], *, seconds: float) -> None:
        """Read a log of a task through the hub's own API and pass it to ``sink`` in pieces; needs no log-in.

        Raises BuildVanished, BuildSystemUnavailable, NeedsPerson.
        """
        number, _, name = address.removeprefix(OUTPUT).partition("/")
        with self._hub.client(seconds) as client:
            if not address.startswith(OUTPUT) or not is_task_id(number):
                raise BuildVanished(f"'{address[:60]}' is no output of a Koji task")
            read_output(client, int(number), name, sink)

    def tags(self, refs: Sequence[BuildRef]) -> Mapping[BuildRef, TagReport | PollProblem]:
        """Read the tags of the builds that these tasks made; needs no log-in.

        Raises BuildSystemUnavailable, NeedsPerson.
        """
        if not refs:
            return {}
        try:
            with self._hub.client(self._settings.poll_timeout) as client:
                return read_tags(client, refs)
        except KojiTrouble as error:
            raise BuildSystemUnavailable(str(error)) from None

    def cancel(self, ref: BuildRef) -> None:
        """Cancel a task with its children and its build; one that has ended stays as it is. Raises BuildVanished."""
        if not is_task_id(ref.external_id):
            raise BuildVanished(f"'{ref.external_id[:40]}' is not the id of a Koji task")
        try:
            with self._hub.client(self._settings.setup_timeout) as client:
                self._hub.log_in(client)
                try:
                    client.call("cancelTask", int(ref.external_id))
                finally:
                    client.log_out()
        except KojiTrouble as error:
            if "No such task" in str(error):
                raise BuildVanished(f"Koji does not know task {ref.external_id}") from None
            if "not owner" in str(error):
                raise ForeignBuild(f"task {ref.external_id} is another account's at Koji") from None
            raise port_error(error) from None

    def health(self) -> Health:
        """Log in and ask the hub who we are. Never raises where the hub or the log-in is in trouble."""
        try:
            with self._hub.client(self._settings.poll_timeout) as client:
                self._hub.log_in(client)
                name, version = client.call("getLoggedInUser")["name"], client.hub_version()
                client.log_out()
        except (KojiTrouble, NeedsPerson) as error:
            return Health(False, datetime.now(UTC), str(error))
        return Health(True, datetime.now(UTC), f"{name} at Koji {'.'.join(map(str, version))}")

    def side_tag_base(self, target: BuildTarget) -> str:
        """Return the Koji target whose build tag the side tags of this target stand beside. Raises NeedsPerson."""
        return TargetSettings.read(target).base_target

    def open_side_tag(self, base_target: str) -> Fence:
        """Return the fence of a request for a side tag; see ``SideTags.open``."""
        return self._side_tags.open(base_target)

    def make_side_tag(self, fence: Fence) -> str:
        """Make a side tag and return its name; see ``SideTags.make``."""
        return self._side_tags.make(fence)

    def find_side_tags(self, fence: Fence) -> Sequence[tuple[int, str]]:
        """Return our side tags beside the fence's base; see ``SideTags.find``."""
        return self._side_tags.find(fence)

    def look_at_side_tag(self, name: str, fence: Fence) -> TagSeen:
        """Return what a side tag holds; see ``SideTags.look_at``."""
        return self._side_tags.look_at(name, fence)

    def missing_in_side_tag(self, name: str, refs: Sequence[BuildRef]) -> str:
        """Return what a side tag's repository lacks of these builds; see ``SideTags.missing``."""
        return self._side_tags.missing(name, refs)

    def remove_side_tag(self, name: str, fence: Fence) -> None:
        """Remove a side tag; see ``SideTags.remove``."""
        self._side_tags.remove(name, fence)

    def _ref(self, profile: Profile, target: BuildTarget, number: int) -> BuildRef:
        return BuildRef(self.name, target.project, str(number), _links(profile).task(number))


class _OtherAccount(Exception):
    pass


def _links(profile: Profile) -> Links:
    return Links(profile.weburl, profile.topurl)


@dataclass(frozen=True)
class _TargetFacts:
    """Our id at the hub, its version, and which chroots of a target it builds, or why not."""

    user_id: int
    version: str
    chroots: tuple[str, ...]
    dropped: Mapping[str, str]


def _check_target(client: KojiClient, target: BuildTarget, chosen: TargetSettings) -> _TargetFacts:
    """Check hub, target and architectures. Raises NeedsPerson, SubmissionRefused, KojiTrouble."""
    version = client.fencing_version()
    user, koji_target = _values(
        client.multicall([("getLoggedInUser", (), {}), ("getBuildTarget", (chosen.koji_target,), {})])
    )
    chroots, dropped = _chroots(client, target, chosen, koji_target)
    return _TargetFacts(user_id_of(user), version, tuple(chroots), dropped)


def _chroots(
    client: KojiClient, target: BuildTarget, chosen: TargetSettings, koji_target: Any
) -> tuple[list[str], dict[str, str]]:
    """Return the chroots to build in, and why not the others. Koji itself accepts any target, and fails later."""
    wanted = ", ".join(target.chroots) or "no chroot"
    if not isinstance(koji_target, dict) and chosen.koji_target != chosen.base_target:
        raise SideTagVanished(f"Koji has no side tag {chosen.koji_target} any more")
    if not isinstance(koji_target, dict):
        raise SubmissionRefused(f"Koji has no build target {chosen.koji_target}, so nothing builds {wanted}")
    config, dest = _values(
        client.multicall(
            [
                ("getBuildConfig", (koji_target.get("build_tag"),), {}),
                ("getTag", (koji_target.get("dest_tag"),), {}),
            ]
        )
    )
    if isinstance(dest, dict) and dest.get("locked") and not chosen.scratch:
        raise NeedsPerson(f"Koji's tag {dest.get('name')} is locked; wait until it is open, then resume")
    offered = set(str((config or {}).get("arches") or "").split())
    chroots = [str(chroot) for chroot in chosen.chroots if chroot.arch in offered]
    if not chroots:
        raise SubmissionRefused(
            f"Koji's target {chosen.koji_target} builds for {', '.join(sorted(offered)) or 'nothing'}, not {wanted}"
        )
    why = f"Koji's target {chosen.koji_target} does not build for this architecture now"
    return chroots, {str(chroot): why for chroot in chosen.chroots if chroot.arch not in offered}


def _values(answers: Sequence[Any]) -> Sequence[Any]:
    """Return the answers of several calls of which all are needed. Raises the first one's KojiTrouble."""
    for answer in answers:
        if isinstance(answer, KojiTrouble):
            raise answer
    return answers
