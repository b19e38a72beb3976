"""What an ended Koji task left behind: the addresses of its logs and of its RPMs."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.domain.reports import ResultPlace
from workers.buildsystems import BuildSystemUnavailable, BuildVanished, NeedsPerson
from workers.buildsystems.koji.client import KojiClient, Profile
from workers.buildsystems.koji.polls import is_number
from workers.buildsystems.koji.reports import Links, arch_task, is_scratch
from workers.buildsystems.koji.settings import KojiSettings
from workers.buildsystems.koji.states import BUILD_STATES, Build
from workers.buildsystems.koji.trouble import Kind, KojiTrouble

Row = Mapping[str, Any]

# A file's name becomes a part of an address: nothing in it may lead elsewhere. The last word is the arch.
_RPM = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.+~^-]{0,200})-[\w.+~^]{1,100}-[\w.+~^]{1,100}\.(?P<arch>\w{1,20})\.rpm"
)
# The page that a hub has for each task; its number is all that its API needs.
_TASK_PAGE = re.compile(r"/taskinfo\?taskID=(\d{1,18})$", re.ASCII)
OUTPUT = "koji-task:"
PIECE = 1024 * 1024
_WORD = re.compile(r"[\w.+~^-]{1,150}")
_FOR_DEBUGGERS = ("-debuginfo", "-debugsource")


class KojiResults:
    """The part of the adapter that names addresses."""

    _settings: KojiSettings

    def log_addresses(self, place: ResultPlace) -> Mapping[str, Sequence[str]]:
        """The build log, mock's root log, and for a backend's what mock itself said, or when it did what.

        Where the profile says nowhere to find the hub's files, the hub itself is asked for them. Raises NeedsPerson.
        """
        folder, _, name = place.log_url.rpartition("/")
        if not name.endswith(".log"):
            page = _TASK_PAGE.search(place.result_url or place.log_url)
            if page is None or Profile.read(self._settings).topurl:
                return {}
            folder = f"{OUTPUT}{page[1]}"
        if place.chroot == "source":
            return {
                "source": (
                    place.log_url if name.endswith(".log") else f"{folder}/build.log",
                    f"{folder}/root.log",
                )
            }
        return {
            "builder": (f"{folder}/build.log",),
            "root": (f"{folder}/root.log",),
            "backend": (f"{folder}/mock_output.log", f"{folder}/state.log"),
        }

    def rpm_addresses(self, place: ResultPlace) -> Sequence[str]:
        """A task tells its RPMs in its result. Two requests, without a log-in.

        Raises BuildVanished for a task that the hub does not know, BuildSystemUnavailable for no usable answer,
        NeedsPerson where nobody has told where the hub keeps its files.
        """
        if not is_number(place.ref.external_id):
            return ()
        profile = Profile.read(self._settings)
        if not profile.topurl:
            raise NeedsPerson(
                f"the Koji profile '{profile.name}' has no 'topurl', the address of the hub's files: set it "
                "(CRYOPACK_KOJI_CONFIG), and RPMs can be looked at"
            )
        links = Links(profile.weburl, profile.topurl)
        try:
            with KojiClient(profile, self._settings, self._settings.poll_timeout) as client:
                return _read_rpms(client, links, int(place.ref.external_id), place.chroot)
        except KojiTrouble as error:
            raise BuildSystemUnavailable(str(error)) from None

    def read_output(self, address: str, sink: Callable[[bytes], None], *, seconds: float) -> None:
        """A log of a task by the hub's own API, in pieces of ``PIECE`` bytes. Needs no log-in.

        Raises BuildVanished, BuildSystemUnavailable, NeedsPerson.
        """
        number, _, name = address.removeprefix(OUTPUT).partition("/")
        profile = Profile.read(self._settings)
        if not address.startswith(OUTPUT) or not is_number(number):
            raise BuildVanished(f"'{address[:60]}' is no output of a Koji task")
        offset = 0
        with KojiClient(profile, self._settings, seconds) as client:
            while piece := _piece(client, int(number), name, offset):
                sink(piece)
                offset += len(piece)


def _piece(client: KojiClient, task: int, name: str, offset: int) -> bytes:
    """The next bytes of a task's output, none at its end."""
    try:
        told = client.call("downloadTaskOutput", task, name, offset=offset, size=PIECE)
        return base64.b64decode(told, validate=True)
    except KojiTrouble as error:
        kind = BuildVanished if error.kind is Kind.REFUSED else BuildSystemUnavailable
        raise kind(str(error)) from None
    except (TypeError, ValueError):
        raise BuildSystemUnavailable(f"the hub's answer about {name} of task {task} is no file") from None


def _read_rpms(client: KojiClient, links: Links, number: int, chroot: str) -> tuple[str, ...]:
    task, children, builds = client.many(
        [
            ("getTaskInfo", (number,), {"request": True}),
            ("getTaskChildren", (number,), {}),
            ("listBuilds", (), {"taskID": number}),
        ]
    )
    for answer in (task, children, builds):
        if isinstance(answer, KojiTrouble):
            raise answer
    if not isinstance(task, dict):
        raise BuildVanished(f"Koji does not know task {number} any more")
    child = arch_task([row for row in children if isinstance(row, dict)], chroot.rpartition("-")[2])
    if child is None:
        return ()
    (result,) = client.many([("getTaskResult", (child,), {"raise_fault": False})])
    if isinstance(result, KojiTrouble):
        if result.kind is Kind.REFUSED:
            return ()
        raise result
    kept = None if is_scratch(task) else next((row for row in builds if _is_complete(row, number)), None)
    return rpm_addresses(links, child, result, kept)


def _is_complete(row: object, task: int) -> bool:
    return (
        isinstance(row, dict)
        and row.get("task_id") == task
        and BUILD_STATES.get(row.get("state", -1)) is Build.COMPLETE
    )


def rpm_addresses(links: Links, child: int, result: object, build: Row | None) -> tuple[str, ...]:
    """The binary RPMs of one ``buildArch`` task by its result, without those that are for debuggers.

    ``build`` is the complete build that the hub keeps them in (shape as ``getBuild``); None where they are still in the
    task's own folder, as after a scratch build.
    """
    told = result.get("rpms") if isinstance(result, dict) else None
    folder = _folder(links, build) if build is not None else ""
    found = []
    for path in told if isinstance(told, list) else []:
        file = str(path).rpartition("/")[2]
        rpm = _RPM.fullmatch(file)
        if rpm is None or rpm["arch"] == "src" or rpm["name"].endswith(_FOR_DEBUGGERS):
            continue
        found.append(f"{folder}/{rpm['arch']}/{file}" if folder else links.log(child, file))
    return tuple(sorted(address for address in found if address))


def _folder(links: Links, build: Row) -> str:
    """Where the hub keeps a build that stays: below its volume, by name, version and release."""
    words = [str(build.get(key) or "") for key in ("name", "version", "release")]
    volume = str(build.get("volume_name") or "DEFAULT")
    if not links.topurl or not all(_WORD.fullmatch(word) for word in (*words, volume)):
        return ""
    top = links.topurl if volume == "DEFAULT" else f"{links.topurl}/vol/{volume}"
    return "/".join((top, "packages", *words))
