"""COPR behind the port. The name of the uploaded file carries the submission key: nothing else finds it.

Options of the adapter and of its targets: ``copr_settings``. The shape of a fence::

    {"newest_id": 86, "opened_at": "2026-11-24T12:00:00+00:00", "chroots": ["fedora-43-x86_64"],
     "dropped": {"fedora-43-s390x": "why"}}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

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
from workers.buildsystems import (
    AdapterConfig,
    BuildSystemError,
    BuildSystemUnavailable,
    BuildVanished,
    NeedsPerson,
    SubmissionRefused,
    SubmissionUnknown,
)
from workers.buildsystems.copr.client import Account, CoprClient
from workers.buildsystems.copr.exchange import CoprTrouble, Exchange, Kind
from workers.buildsystems.copr.polls import read_builds
from workers.buildsystems.copr.projects import prepare_project
from workers.buildsystems.copr.reports import log_addresses, rpm_addresses
from workers.buildsystems.copr.searches import search_uploads
from workers.buildsystems.copr.settings import CoprSettings, TargetSettings, split_project

LONGEST_STEM = 160
BAD_TOKEN = "COPR's token is wrong, expired or was renewed elsewhere; get a new one from its API page"


@dataclass(frozen=True)
class Health:
    """Whether COPR answers and knows us, at one moment; ``text`` is the account's name or the trouble."""

    ok: bool
    at: datetime
    text: str


def name_ending(key: SubmissionKey) -> str:
    """The end of every file name under this key, by which an upload is recognised."""
    return f".job-{key}.src.rpm"


def upload_name(srpm_name: str, key: SubmissionKey) -> str:
    """The file name under which an SRPM is handed over, such as ``cri-o1.32-1.32.1-0.1.job-b7xab12.src.rpm``.

    COPR drops ``~ ^ = +`` from names and dots at their edges, so they are dropped before it can.
    """
    stem = srpm_name.rpartition("/")[2].removesuffix(".rpm").removesuffix(".src").removesuffix(".nosrc")
    stem = re.sub(r"[^A-Za-z0-9._-]", "", stem)[:LONGEST_STEM].strip("._-")
    return f"{stem or 'package'}{name_ending(key)}"


def connect(config: AdapterConfig) -> Copr:
    """The adapter, without any contact yet. Raises BuildSystemError for an option that it does not know."""
    return Copr(config)


class Copr:
    """One COPR server and account. Holds settings only, so that forks and renewed tokens are harmless."""

    name = "copr"

    def __init__(self, config: AdapterConfig) -> None:
        self._settings = CoprSettings.read(config.options)
        self._locks = config.state_dir / "locks"

    def open(self, target: BuildTarget) -> Fence:
        """Make the project ready. The fence: the newest build id, the time, the chroots to build in."""
        chosen = TargetSettings.read(target)
        client = self._client(self._settings.setup_timeout)
        try:
            client.account()
            active = client.active_chroots()
            chroots = [chroot for chroot in dict.fromkeys(target.chroots) if chroot in active]
            if not chroots:
                wanted = ", ".join(target.chroots) or "it names none"
                raise SubmissionRefused(f"COPR has none of the target's chroots active now: {wanted}")
            prepare_project(client, chosen, chroots, self._locks)
            newest = client.builds(chosen.owner, chosen.project, limit=1)
        except CoprTrouble as error:
            raise _for_good(error) from None
        number = newest[0].get("id") if newest else 0
        if not _is_id(number) and newest:
            raise BuildSystemUnavailable("COPR's newest build has no id")
        return {
            "newest_id": number,
            "opened_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "chroots": chroots,
            "dropped": {
                chroot: "COPR has no such active chroot now"
                for chroot in target.chroots
                if chroot not in active
            },
        }

    def reopen(self, target: BuildTarget, fence: Fence) -> Fence:
        """The old fence: with COPR nothing but the file's name ties an upload to us, so the older mark is the safer."""
        return fence

    def submit(
        self, work: Srpm | ScmCommit, target: BuildTarget, key: SubmissionKey, fence: Fence
    ) -> BuildRef:
        """Upload once. Refused only where COPR surely said no; every odd answer is SubmissionUnknown.

        Raises BuildSystemUnavailable where surely nothing was sent, BuildSystemError without an SRPM on disk.
        """
        if not isinstance(work, Srpm):
            raise SubmissionRefused("COPR targets build from source RPMs, not from dist-git commits")
        chosen = TargetSettings.read(target)
        chroots = fence.get("chroots")
        if not isinstance(chroots, (list, tuple)) or not chroots:
            # COPR takes an empty list for all chroots of the project.
            raise SubmissionRefused("the fence names no chroots to build in")
        names = [str(chroot) for chroot in chroots]
        client, web = self._client_and_web(self._settings.upload_timeout)
        try:
            build = self._upload(client, work, chosen, key, names)
        except OSError as error:
            raise BuildSystemError(
                f"the source RPM {work.name} cannot be read: {error.strerror or type(error).__name__}"
            ) from None
        except CoprTrouble as error:
            raise _after_upload(error) from None
        number = build.get("id")
        if not _is_id(number):
            raise SubmissionUnknown("COPR's answer to the upload holds no build id")
        return BuildRef(self.name, target.project, str(number), web(number))

    def _upload(
        self, client: CoprClient, work: Srpm, chosen: TargetSettings, key: SubmissionKey, chroots: list[str]
    ) -> Mapping[str, object]:
        options = {"chroots": chroots, **chosen.build}
        file_name = upload_name(work.name, key)
        upload = partial(
            client.upload, chosen.owner, chosen.project, work.path, file_name, options, chosen.dirname
        )
        try:
            return upload()
        except CoprTrouble as error:
            if error.kind is not Kind.REFUSED or "'chroots'" not in str(error):
                raise
        # A worker elsewhere replaced the project's list between our look and the upload: with COPR the last edit
        # wins. A refusal made no build, so this repeat is safe.
        prepare_project(client, chosen, chroots, self._locks)
        return upload()

    def find(self, target: BuildTarget, key: SubmissionKey, fence: Fence) -> Found:
        """Search newest first for uploads under the key, back to the newest build before the submission.

        Whatever stands in the way, even a refusal, is BuildSystemUnavailable: it proves no absence.
        """
        try:
            owner, project = split_project(target.project)
            client, web = self._client_and_web(self._settings.setup_timeout)
            numbers, complete = search_uploads(client, owner, project, name_ending(key), fence)
        except CoprTrouble as error:
            raise BuildSystemUnavailable(str(error), error.retry_after) from None
        except NeedsPerson as error:
            raise BuildSystemUnavailable(str(error)) from None
        refs = tuple(BuildRef(self.name, target.project, str(number), web(number)) for number in numbers)
        return Found(refs, certain=complete and (bool(refs) or self._too_late_to_land(fence)))

    def _too_late_to_land(self, fence: Fence) -> bool:
        doubt = fence.get("doubt_seconds", 0.0)
        return isinstance(doubt, (int, float)) and doubt >= self._settings.request_timeout

    def poll(self, refs: Sequence[BuildRef]) -> Mapping[BuildRef, BuildReport | PollProblem]:
        """One list per project, then the chroots of those builds whose state says that there is news.

        Raises BuildSystemUnavailable where not even the list can be read.
        """
        client = self._client(self._settings.poll_timeout)
        by_project: dict[str, list[BuildRef]] = {}
        for ref in refs:
            by_project.setdefault(ref.project, []).append(ref)
        answers: dict[BuildRef, BuildReport | PollProblem] = {}
        for project, members in by_project.items():
            owner, name = split_project(project)
            try:
                answers.update(read_builds(client, owner, name, members))
            except CoprTrouble as error:
                raise BuildSystemUnavailable(str(error), error.retry_after) from None
        return answers

    def log_addresses(self, place: ResultPlace) -> Mapping[str, Sequence[str]]:
        """The logs among a chroot's results, or the source step's."""
        return log_addresses(place)

    def rpm_addresses(self, place: ResultPlace) -> Sequence[str]:
        """COPR names the packages of a chroot; their files lie among its results."""
        if not place.result_url or not place.ref.external_id.isdecimal():
            return ()
        client = self._client(self._settings.poll_timeout)
        try:
            packages = client.built_packages(int(place.ref.external_id), place.chroot)
        except CoprTrouble as error:
            if error.kind is Kind.MISSING:
                raise BuildVanished(f"COPR does not know the packages any more: {error}") from None
            raise _for_good(error) from None
        return rpm_addresses(place, packages)

    def cancel(self, ref: BuildRef) -> None:
        """Ask COPR to cancel; a build that has ended answers 409, which is as good. Raises BuildVanished."""
        if not (ref.external_id.isascii() and ref.external_id.isdigit()):
            raise BuildVanished(f"'{ref.external_id[:40]}' is not the id of a COPR build")
        client = self._client(self._settings.poll_timeout)
        try:
            client.cancel(int(ref.external_id))
        except CoprTrouble as error:
            if error.kind is Kind.CONFLICT:
                return
            if error.kind is Kind.MISSING:
                raise BuildVanished(f"COPR does not know build {ref.external_id}: {error}") from None
            raise _for_good(error) from None

    def tags(self, refs: Sequence[BuildRef]) -> Mapping[BuildRef, TagReport | PollProblem]:
        """COPR knows no tags, and nobody has to be asked: what has succeeded is in the project's repository."""
        return {
            ref: TagReport(ref, over="COPR has no tags; it publishes what succeeds at once") for ref in refs
        }

    def health(self) -> Health:
        """Ask COPR who we are. Never raises for trouble of the other side; the answer is not kept."""
        try:
            name = self._client(self._settings.poll_timeout).account().get("name")
        except (CoprTrouble, NeedsPerson) as error:
            told = BAD_TOKEN if isinstance(error, CoprTrouble) and error.kind is Kind.LOGIN else str(error)
            return Health(False, datetime.now(UTC), told)
        return Health(True, datetime.now(UTC), str(name))

    def _client(self, seconds: float) -> CoprClient:
        return self._client_and_web(seconds)[0]

    def _client_and_web(self, seconds: float) -> tuple[CoprClient, Callable[[object], str]]:
        """A client for one port call of at most ``seconds``, and what makes a build's page from its id."""
        settings = self._settings
        account = Account.read(settings.config_file)
        exchange = Exchange(settings.connect_timeout, settings.read_timeout, seconds, account.hidden())
        return CoprClient(account, exchange), lambda number: f"{account.copr_url}/coprs/build/{number}"


def _is_id(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number > 0


def _needs_person(error: CoprTrouble) -> NeedsPerson | None:
    if error.kind is Kind.LOGIN:
        return NeedsPerson(BAD_TOKEN)
    if error.kind is Kind.FORBIDDEN:
        return NeedsPerson(f"COPR denies it: {error}")
    return None


def _for_good(error: CoprTrouble) -> BuildSystemError:
    """The port's word for trouble of a request that can be repeated without harm."""
    if error.kind in {Kind.NOT_SENT, Kind.UNCLEAR}:
        return BuildSystemUnavailable(str(error), error.retry_after)
    return _needs_person(error) or SubmissionRefused(str(error))


def _after_upload(error: CoprTrouble) -> BuildSystemError:
    """The port's word for an upload without a success. COPR itself answers no upload with a conflict."""
    if error.kind is Kind.NOT_SENT:
        return BuildSystemUnavailable(str(error), error.retry_after)
    if error.kind in {Kind.UNCLEAR, Kind.CONFLICT}:
        return SubmissionUnknown(str(error))
    return _needs_person(error) or SubmissionRefused(str(error))
