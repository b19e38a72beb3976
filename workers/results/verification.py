"""Looking at what was built: download the RPMs of a succeeded chroot, read them, judge them."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from service.builds.follow_ups import FollowUpWork
from service.domain.states import Soundness
from service.domain.verification import (
    RpmFinding,
    compare_files,
    judge_binary,
    judge_header,
    unreadable,
    verdict,
)
from service.results.checks import CheckedRpm, CheckWork, check_work, record_check
from workers.binaries import BinaryUnreadable, read_binary
from workers.buildsystems import BuildSystemError, BuildSystemUnavailable, NeedsPerson
from workers.context import Context
from workers.outcomes import Done, NotYet
from workers.results.diagnosis import remark_on_success
from workers.results.rpm_contents import RpmBroken, programs, read_header
from workers.sources.downloads import DownloadRefused, DownloadTrouble, Limits, NotThere, download

RPM_LIMIT = 512 * 1024 * 1024
RPMS_LIMIT = 50
LOOKS = 3
SIMULATED = "the sandbox simulated this build or replayed its log, so there is no RPM"


def verify(ctx: Context, work: FollowUpWork) -> Done:
    """Judge the RPMs of one succeeded chroot and record its soundness. Raises NotYet.

    What cannot be looked at leaves the soundness unknown, with the reason; what is not an RPM is degraded.
    """
    wanted = check_work(ctx.db, work)
    if wanted is None:
        return Done("not verified: the build's release number or chroot is not known")
    try:
        addresses = ctx.system(wanted.place.ref.system).rpm_addresses(wanted.place)
    except BuildSystemUnavailable as error:
        raise NotYet(str(error), retry_after=error.retry_after, spend_try=False) from None
    except NeedsPerson as error:
        return _unknown(ctx, work, wanted, f"not verified: {error}")
    except BuildSystemError as error:
        raise NotYet(str(error)) from None
    if not addresses:
        text = (
            f"not verified: {wanted.place.ref.system} names no RPM of {work.subject} that could be looked at"
        )
        return _unknown(ctx, work, wanted, text)
    spool = ctx.settings.state_dir / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=spool, prefix="rpm-"))
    try:
        return _judge(ctx, work, wanted, addresses, folder)
    except NotThere as error:
        if work.tries < LOOKS:
            raise NotYet(f"an RPM that is not there yet: {error}") from None
        why = f"{error}; {SIMULATED}" if ctx.settings.sandbox else str(error)
        return _unknown(ctx, work, wanted, f"not verified: {why}")
    except DownloadRefused as error:
        return _unknown(ctx, work, wanted, f"not verified: {error}")
    except DownloadTrouble as error:
        raise NotYet(str(error), retry_after=error.retry_after, spend_try=False) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _judge(
    ctx: Context, work: FollowUpWork, wanted: CheckWork, addresses: Sequence[str], folder: Path
) -> Done:
    rpms: list[CheckedRpm] = []
    found: list[RpmFinding] = []
    if len(addresses) > RPMS_LIMIT:
        raise DownloadRefused(f"the chroot has {len(addresses)} RPMs, and {RPMS_LIMIT} are looked at")
    for number, url in enumerate(addresses):
        path = folder / f"{number}.rpm"
        name = url.rpartition("/")[2]
        digest = hashlib.sha256()
        with path.open("wb") as file:

            def keep(piece: bytes, file=file, digest=digest) -> None:  # type: ignore[no-untyped-def]
                file.write(piece)
                digest.update(piece)

            size = download(url, keep, Limits(size=RPM_LIMIT, total=ctx.settings.log_fetch_seconds)).size
        try:
            rpm, judged = _look(path, folder, wanted, size, digest.hexdigest())
        except RpmBroken as error:
            found.append(RpmFinding(name, "", "broken-rpm", "unsound", str(error).replace(path.name, name)))
            continue
        rpms.append(rpm)
        found += judged
        path.unlink()
    main = [rpm for rpm in rpms if rpm.header.name == wanted.expected.name]
    if not main:
        text = f"the build has no RPM called {wanted.expected.name}"
        found.append(RpmFinding(wanted.expected.name, "", "no-package", "unsound", text))
    binaries = sum(rpm.binaries for rpm in rpms)
    soundness = verdict(found, binaries=binaries)
    text = {
        Soundness.SOUND: f"sound: {len(rpms)} RPMs with {binaries} programs, nothing found",
        Soundness.DEGRADED: "degraded: " + "; ".join(
            dict.fromkeys(f"{one.file or one.rpm}: {one.text}" for one in found if one.grade != "note")
        ),
        Soundness.UNKNOWN: f"{len(rpms)} RPMs are as planned; no program is in them to be judged",
    }[soundness]  # fmt: skip
    return _done(ctx, work, wanted, soundness, text[:1500], rpms, found)


def _look(
    path: Path, folder: Path, wanted: CheckWork, size: int, sha256: str
) -> tuple[CheckedRpm, list[RpmFinding]]:
    header = read_header(path, folder)
    judged = judge_header(header, wanted.expected)
    judged += compare_files(header, wanted.before.get(header.name, ()), wanted.version_before)
    inside = folder / "programs"
    inside.mkdir(exist_ok=True)
    count, go = 0, ""
    for program in programs(path, inside):
        count += 1
        try:
            facts = read_binary(program.path)
        except BinaryUnreadable as error:
            judged.append(unreadable(header, program.name, str(error).replace(program.path.name, "it", 1)))
            continue
        go = facts.go.version if facts.go else go
        judged += judge_binary(header, program.name, facts, wanted.go_line)
    return CheckedRpm(header, size, sha256, count, go), judged


def _unknown(ctx: Context, work: FollowUpWork, wanted: CheckWork, text: str) -> Done:
    """No RPM could be looked at. What the log gives away is told, and proves nothing."""
    remark = remark_on_success(ctx, work)
    told = f"{text}. Its log says: {remark}" if remark else text
    return _done(ctx, work, wanted, Soundness.UNKNOWN, told, [], [])


def _done(
    ctx: Context,
    work: FollowUpWork,
    wanted: CheckWork,
    soundness: Soundness,
    text: str,
    rpms: Sequence[CheckedRpm],
    found: Sequence[RpmFinding],
) -> Done:
    target = ctx.catalog.target(wanted.target)
    demanded = target is not None and target.require_sound
    return Done(
        text,
        lambda session, build, now: record_check(
            session, build, now, chroot=work.subject, soundness=soundness, text=text, rpms=rpms, found=found,
            demanded=demanded,
        ),
    )  # fmt: skip
