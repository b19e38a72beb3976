"""The COPR adapter: submits SRPMs to COPR, finds uploads again, and polls and cancels builds.

COPR has no idempotency key, so the submission key is a part of the uploaded file's name, by which an upload is found.
Options of the adapter and of its targets: ``settings``. The shape of a fence::

    {"newest_id": 86, "opened_at": "2026-11-24T12:00:00+00:00", "chroots": ["fedora-43-x86_64"],
     "dropped": {"fedora-43-s390x": "why"}}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
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
from workers.buildsystems import (
    AdapterConfig,
    BuildSystemError,
    BuildSystemUnavailable,
    BuildVanished,
    Health,
    NeedsPerson,
    SubmissionRefused,
    SubmissionUnknown,
)
from workers.buildsystems.copr.client import BAD_TOKEN, Account, CoprClient, CoprTrouble, Exchange, Kind
from workers.buildsystems.copr.projects import prepare_project
from workers.buildsystems.copr.reports import (
    log_addresses,
    needs_chroots,
    needs_source_step,
    report,
    rpm_addresses,
)
from workers.buildsystems.copr.settings import CoprSettings, TargetSettings, split_project

LONGEST_STEM = 160
SOURCE_NAMES = (".src.rpm", ".nosrc.rpm")

POLL_PAGE = 100
POLL_PAGES = 5
# So many answers in a row that are no answers mean that COPR is in trouble, not the builds.
PATIENCE = 3

SEARCH_PAGE = 50
# Pages share rows, so that a build deleted between two reads cannot hide another one.
SEARCH_OVERLAP = 5
SEARCH_PAGES = 40
# How far COPR's clock may be behind ours where only the time can tell old builds.
CLOCK_MARGIN = 3600.0

Row = Mapping[str, Any]


def name_ending(key: SubmissionKey) -> str:
    """Return the end of every file name under this key, by which an upload is recognised."""
    return f".job-{key}.src.rpm"


def upload_name(srpm_name: str, key: SubmissionKey) -> str:
    """Return the file name under which an SRPM is uploaded, such as ``cri-o1.32-1.32.1-0.1.job-b7xab12.src.rpm``.

    COPR drops ``~ ^ = +`` from names and dots at their edges, so they are dropped before it can.
    """
    stem = srpm_name.rpartition("/")[2].removesuffix(".rpm").removesuffix(".src").removesuffix(".nosrc")
    stem = re.sub(r"[^A-Za-z0-9._-]", "", stem)[:LONGEST_STEM].strip("._-")
    return f"{stem or 'package'}{name_ending(key)}"


def connect(config: AdapterConfig) -> Copr:
    """Return the adapter; COPR is not asked yet. Raises BuildSystemError for an option that it does not know."""
    return Copr(config)


class Copr:
    """The adapter for one COPR server and account. Holds settings only, so forks and renewed tokens are harmless."""

    name = "copr"

    def __init__(self, config: AdapterConfig) -> None:
        self._settings = CoprSettings.read(config.options)
        self._locks = config.state_dir / "locks"

    def open(self, target: BuildTarget) -> Fence:
        """Make the project ready and return the fence: the newest build id, the time, the chroots to build in."""
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
            raise _port_error(error) from None
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
        """Return the old fence: only the file's name ties an upload to us, so the older build id is the safer one."""
        return fence

    def submit(
        self, work: Srpm | ScmCommit, target: BuildTarget, key: SubmissionKey, fence: Fence
    ) -> BuildRef:
        """Upload the SRPM once. Raises SubmissionRefused only where COPR surely refused it.

        Every odd answer is SubmissionUnknown. Raises BuildSystemUnavailable where surely nothing was sent,
        BuildSystemError where the SRPM cannot be read.
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
            raise _port_error_after_upload(error) from None
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
        """Search for uploads under the key, newest first, back to the newest build before the submission.

        Every error, even a refusal, is BuildSystemUnavailable: it does not prove that there is no upload.
        """
        try:
            owner, project = split_project(target.project)
            client, web = self._client_and_web(self._settings.setup_timeout)
            numbers, complete = _search_uploads(client, owner, project, name_ending(key), fence)
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
        """Read one list of builds a project, then the chroots of the builds whose state says that they have news.

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
                answers.update(_read_builds(client, owner, name, members))
            except CoprTrouble as error:
                raise BuildSystemUnavailable(str(error), error.retry_after) from None
        return answers

    def log_addresses(self, place: ResultPlace) -> Mapping[str, Sequence[str]]:
        """Return the addresses of the logs among a chroot's results, or of the source step's log."""
        return log_addresses(place)

    def rpm_addresses(self, place: ResultPlace) -> Sequence[str]:
        """Ask COPR for the packages of a chroot and return their addresses; the files lie among its results."""
        if not place.result_url or not place.ref.external_id.isdecimal():
            return ()
        client = self._client(self._settings.poll_timeout)
        try:
            packages = client.built_packages(int(place.ref.external_id), place.chroot)
        except CoprTrouble as error:
            if error.kind is Kind.MISSING:
                raise BuildVanished(f"COPR does not know the packages any more: {error}") from None
            raise _port_error(error) from None
        return rpm_addresses(place, packages)

    def cancel(self, ref: BuildRef) -> None:
        """Cancel a build; COPR answers 409 for one that has ended, which is no error. Raises BuildVanished."""
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
            raise _port_error(error) from None

    def tags(self, refs: Sequence[BuildRef]) -> Mapping[BuildRef, TagReport | PollProblem]:
        """Return that there are no tags, without asking: what has succeeded is in the project's repository."""
        return {
            ref: TagReport(ref, over="COPR has no tags; it publishes what succeeds at once") for ref in refs
        }

    def health(self) -> Health:
        """Ask COPR who we are. Never raises where COPR or the log-in is in trouble; the answer is not kept."""
        try:
            name = self._client(self._settings.poll_timeout).account().get("name")
        except (CoprTrouble, NeedsPerson) as error:
            told = BAD_TOKEN if isinstance(error, CoprTrouble) and error.kind is Kind.LOGIN else str(error)
            return Health(False, datetime.now(UTC), told)
        return Health(True, datetime.now(UTC), str(name))

    def _client(self, seconds: float) -> CoprClient:
        return self._client_and_web(seconds)[0]

    def _client_and_web(self, seconds: float) -> tuple[CoprClient, Callable[[object], str]]:
        """Return a client for one port call of at most ``seconds``, and a function from a build's id to its page."""
        settings = self._settings
        account = Account.read(settings.config_file)
        exchange = Exchange(settings.connect_timeout, settings.read_timeout, seconds, account.hidden())
        return CoprClient(account, exchange), lambda number: f"{account.copr_url}/coprs/build/{number}"


def _read_builds(
    client: CoprClient, owner: str, project: str, refs: Sequence[BuildRef]
) -> dict[BuildRef, BuildReport | PollProblem]:
    """Read builds of one project and return the report of each. Raises CoprTrouble where the list cannot be read."""
    answers: dict[BuildRef, BuildReport | PollProblem] = {}
    numbers: dict[BuildRef, int] = {}
    for ref in refs:
        if ref.external_id.isascii() and ref.external_id.isdigit():
            numbers[ref] = int(ref.external_id)
        else:
            answers[ref] = PollProblem(f"'{ref.external_id[:40]}' is not the id of a COPR build")
    listed = _listed(client, owner, project, set(numbers.values())) if numbers else {}
    silent = 0
    for ref, number in numbers.items():
        if silent >= PATIENCE or client.seconds_left <= 0:
            why = f"build {number} was not read in this round: COPR hardly answers"
            answers[ref] = PollProblem(why, unread=True)
            continue
        try:
            answers[ref] = _read_build(client, ref, number, listed.get(number))
            silent = 0
        except CoprTrouble as error:
            silent += 1
            answers[ref] = PollProblem(f"build {number} could not be read: {error}")
    return answers


def _listed(client: CoprClient, owner: str, project: str, wanted: set[int]) -> dict[int, Row]:
    """Return the wanted builds that are on the newest pages; odd rows are left for a look at the build itself."""
    found: dict[int, Row] = {}
    for page in range(POLL_PAGES):
        missing = wanted - found.keys()
        # A page costs about as much as a few single reads, so pages must stay fewer than those.
        if not missing or (page and page >= len(missing)):
            break
        try:
            rows = client.builds(owner, project, limit=POLL_PAGE, offset=page * POLL_PAGE)
        except CoprTrouble as error:
            if error.kind is Kind.MISSING or page:
                break
            raise
        numbers = {row["id"]: row for row in rows if isinstance(row.get("id"), int)}
        found |= {number: numbers[number] for number in missing & numbers.keys()}
        if len(rows) < POLL_PAGE or (numbers and min(numbers) <= min(missing)):
            break
    return found


def _read_build(
    client: CoprClient, ref: BuildRef, number: int, build: Row | None
) -> BuildReport | PollProblem:
    if build is None or not isinstance(build.get("state"), str):
        try:
            build = client.build(number)
        except CoprTrouble as error:
            if error.kind is Kind.MISSING:
                return PollProblem(str(error), vanished=True)
            raise
    if build.get("id") != number:
        return PollProblem(f"COPR's answer about build {number} is about something else")
    chroots = client.build_chroots(number) if needs_chroots(build) else None
    source = None
    if chroots is not None and needs_source_step(build, chroots):
        source = _source_step(client, number)
    return report(ref, build, chroots, source)


def _source_step(client: CoprClient, number: int) -> Row | None:
    try:
        return client.source_chroot(number)
    except CoprTrouble:
        # COPR answers 500 until the source step has run; the chroots alone must do then.
        return None


def _search_uploads(
    client: CoprClient, owner: str, project: str, ending: str, fence: Fence
) -> tuple[list[int], bool]:
    """Return the ids, lowest first, of builds from a file with this name ending, and whether all candidates were seen.

    Raises CoprTrouble where not even the first page can be read.
    """
    candidates, complete = _newer_builds(client, owner, project, fence)
    found: list[int] = []
    for number, row in candidates.items():
        name = _file_name(row)
        if name.endswith(ending):
            found.append(number)
        elif not name.endswith(SOURCE_NAMES):
            # No address yet, or one that names no upload: what the build was made from tells it for ever.
            try:
                complete = _configured_name(client, number, found, ending) and complete
            except CoprTrouble as error:
                # A build that is deleted meanwhile is none that could be adopted.
                complete = complete and error.kind is Kind.MISSING
    return sorted(found), complete


def _newer_builds(client: CoprClient, owner: str, project: str, fence: Fence) -> tuple[dict[int, Row], bool]:
    candidates: dict[int, Row] = {}
    seen: set[int] = set()
    sound = True
    for page in range(SEARCH_PAGES):
        try:
            rows = client.builds(
                owner, project, limit=SEARCH_PAGE, offset=page * (SEARCH_PAGE - SEARCH_OVERLAP)
            )
        except CoprTrouble as error:
            if error.kind is Kind.MISSING:
                # Builds go with their project.
                return {}, True
            if page == 0:
                raise
            return candidates, False
        numbers = [row.get("id") for row in rows]
        known = {number for number in numbers if isinstance(number, int)}
        # A row without an id may be ours, and a page without a known row may have skipped some.
        sound = sound and len(known) == len(rows) and (page == 0 or not rows or bool(known & seen))
        seen |= known
        old = {row["id"] for row in rows if row.get("id") in known and _is_older(row, fence)}
        candidates |= {row["id"]: row for row in rows if row.get("id") in known - old}
        if old or len(rows) < SEARCH_PAGE:
            return candidates, sound
    return candidates, False


def _is_older(row: Row, fence: Fence) -> bool:
    """Return whether a build was there before the fence. Ids only ever rise; times are for a fence without one."""
    newest = fence.get("newest_id")
    if isinstance(newest, int):
        return int(row["id"]) <= newest
    opened, submitted = fence.get("opened_at"), row.get("submitted_on")
    if not isinstance(opened, str) or not isinstance(submitted, (int, float)):
        return False
    return submitted < datetime.fromisoformat(opened).timestamp() - CLOCK_MARGIN


def _file_name(row: Row) -> str:
    source = row.get("source_package")
    url = source.get("url") if isinstance(source, Mapping) else None
    # Not parsed: a malformed address is one of the things that a foreign build may carry.
    return re.split(r"[?#]", url, maxsplit=1)[0].rpartition("/")[2] if isinstance(url, str) else ""


def _configured_name(client: CoprClient, number: int, found: list[int], ending: str) -> bool:
    """Add the build to ``found`` if it was made from such a file; return whether the answer could be understood."""
    config = client.source_config(number)
    source = config.get("source_dict")
    if not isinstance(source, Mapping):
        return False
    if str(source.get("pkg") or "").endswith(ending):
        found.append(number)
    return True


def _is_id(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number > 0


def _needs_person(error: CoprTrouble) -> NeedsPerson | None:
    if error.kind is Kind.LOGIN:
        return NeedsPerson(BAD_TOKEN)
    if error.kind is Kind.FORBIDDEN:
        return NeedsPerson(f"COPR denies it: {error}")
    return None


def _port_error(error: CoprTrouble) -> BuildSystemError:
    """Return the port's error for the failure of a request that can be repeated without harm."""
    if error.kind in {Kind.NOT_SENT, Kind.UNCLEAR}:
        return BuildSystemUnavailable(str(error), error.retry_after)
    return _needs_person(error) or SubmissionRefused(str(error))


def _port_error_after_upload(error: CoprTrouble) -> BuildSystemError:
    """Return the port's error for an upload that did not succeed. COPR itself answers no upload with a conflict."""
    if error.kind is Kind.NOT_SENT:
        return BuildSystemUnavailable(str(error), error.retry_after)
    if error.kind in {Kind.UNCLEAR, Kind.CONFLICT}:
        return SubmissionUnknown(str(error))
    return _needs_person(error) or SubmissionRefused(str(error))
