"""Writes the result files of COPR's builds: logs that say what is real, states, the uploaded source RPM."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

BANNER = "SIMULATED by cryopack's sandbox build farm: nothing was compiled and no package exists.\n"
LIVE_LOG = "builder-live.log"


def _write(path: Path, text: str, banner: str = BANNER) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(banner + text)
    temporary.replace(path)


def _write_gz(path: Path, text: str, banner: str = BANNER) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(gzip.compress((banner + text).encode(), mtime=0))
    temporary.replace(path)


def _stamp() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())


def start_log(folder: Path, title: str, lines: list[str], banner: str = BANNER) -> None:
    """Begin the live log of a step. ``banner`` is its first line and tells what is real about it."""
    _write(folder / LIVE_LOG, f"[{_stamp()}] {title}\n" + "".join(f"{line}\n" for line in lines), banner)


def change_banner(folder: Path, banner: str) -> None:
    """Replace the first line of the live log: what was to be built may have been simulated in the end."""
    path = folder / LIVE_LOG
    if path.exists():
        _write(path, path.read_text().partition("\n")[2], banner)


def append_log(folder: Path, text: str) -> None:
    """Append to the live log; a log that is gone already is left alone."""
    path = folder / LIVE_LOG
    if path.exists():
        with path.open("a") as log:
            log.write(text if text.endswith("\n") else text + "\n")


def finish(folder: Path, state: str, log: str, results: dict[str, Any], banner: str = BANNER) -> None:
    """Write everything but the compressed live log, which follows a moment later as on the real farm."""
    append_log(folder, log)
    good = state == "succeeded"
    _write_gz(folder / "backend.log.gz", f"[{_stamp()}] The build ended in the state {state}.\n")
    _write_gz(folder / "root.log.gz", f"[{_stamp()}] No buildroot was set up.\n")
    _write_gz(folder / "build.log.gz", log if log.endswith("\n") else log + "\n", banner)
    _write_gz(folder / "state.log.gz", f"[{_stamp()}] {state}\n")
    _write(folder / ("success" if good else "fail"), "done\n")
    (folder / "results.json").write_text(json.dumps(results))


def compress(folder: Path) -> None:
    """Turn the live log into ``builder-live.log.gz``; does nothing where there is none."""
    plain = folder / LIVE_LOG
    if not plain.exists():
        return
    _write_gz(plain.with_name(LIVE_LOG + ".gz"), plain.read_text(), banner="")
    plain.unlink()


def keep_source(upload: Path, folder: Path) -> None:
    """Link the upload into the results; repeating it is harmless."""
    folder.mkdir(parents=True, exist_ok=True)
    goal = folder / upload.name
    if not goal.exists():
        os.link(upload, goal)


SOURCE_FAILED = "Copr build error: Build failed\n"


def default_failure(package: str, chroot: str) -> str:
    """Return the end of a log for a scripted failure that brought no text of its own."""
    return (
        f"error: Bad exit status from /var/tmp/rpm-tmp.sandbox (%build)\n"
        f"    Bad exit status from /var/tmp/rpm-tmp.sandbox (%build)\n"
        f"Finish: rpmbuild {package} ({chroot})\nFinish: build phase for {package}\nERROR: Exception\n"
    )


def default_success(package: str, chroot: str) -> str:
    """Return the end of a log for a chroot that succeeded."""
    return (
        f"Finish: rpmbuild {package} ({chroot})\nFinish: build phase for {package}\n"
        f"INFO: Done({package}.src.rpm) Config({chroot}) 0 minutes 0 seconds\nFinish: run\n"
    )
