"""Built RPMs are read with limits, and hostile ones do nothing but be refused."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.workers.results.built_rpms import HARD, MAIN, compile_program, make_rpm
from workers.results import verification
from workers.results.verification import RpmBroken, programs, read_header

ELF = b"\x7fELF" + b"\0" * 200


def cpio(*members: tuple[str, int, bytes], end: bool = True) -> bytes:
    """A payload as rpm2cpio gives it: (name, mode, content) each."""
    out = b""
    listed = [*members, *([("TRAILER!!!", 0, b"")] if end else [])]
    for name, mode, content in listed:
        raw = name.encode() + b"\0"
        fields = [1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        out += b"\0" * (-len(out) % 4) + content
        out += b"\0" * (-len(out) % 4)
    return out


@pytest.fixture
def payload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Gives rpm2cpio's place to a program that writes these bytes."""
    tools = tmp_path / "tools"
    tools.mkdir()

    def serve(data: bytes, after: str = "") -> Path:
        (tools / "data").write_bytes(data)
        script = tools / "rpm2cpio"
        script.write_text(f"#!/bin/sh\ncat {tools}/data\n{after}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
        return tmp_path / "x.rpm"

    return serve


def walk(rpm: Path, folder: Path) -> list[tuple[str, bytes]]:
    folder.mkdir(exist_ok=True)
    return [(program.name, program.path.read_bytes()) for program in programs(rpm, folder)]


def test_a_real_rpm(tmp_path: Path) -> None:
    program = compile_program(tmp_path, MAIN, *HARD)
    rpm = make_rpm(
        tmp_path / "rpm", name="crio", version="1.2~rc1", release="0.3.fc44",
        preamble=["Provides: crio = 7-1", "Conflicts: crio", "Requires: conmon >= 2", "Requires: socat"],
        files={"/usr/bin/crio": program, "/etc/crio/crio.conf": b"text", "/usr/bin/odd name": b"\x7fEL"},
    )  # fmt: skip
    header = read_header(rpm, tmp_path)
    assert header.nvra == "crio-1.2~rc1-0.3.fc44.x86_64"
    assert "crio = 7-1" in header.provides and header.conflicts == ("crio",)
    assert {"conmon >= 2", "socat"} <= set(header.requires)
    assert set(header.files) == {"/usr/bin/crio", "/etc/crio/crio.conf", "/usr/bin/odd name"}
    assert walk(rpm, tmp_path / "out") == [("/usr/bin/crio", program)]
    assert list((tmp_path / "out").iterdir()) == [], "nothing is left behind"


def test_names_of_a_payload_are_no_paths_of_ours(tmp_path: Path, payload) -> None:  # type: ignore[no-untyped-def]
    outside = tmp_path / "owned"
    rpm = payload(
        cpio(
            (f"../../../../{outside}", 0o100755, ELF), (str(outside), 0o100755, ELF),
            ("./usr/bin/link", 0o120777, b"/etc/passwd"), ("./dev/null", 0o020666, b""),
            ("./usr/bin/link", 0o120777, ELF), ("./usr/bin/crio", 0o100755, ELF),
        )
    )  # fmt: skip
    names = [name for name, _ in walk(rpm, tmp_path / "out")]
    assert names[-1] == "/usr/bin/crio" and len(names) == 3
    assert not outside.exists() and list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "too early"), (b"070701" + b"Z" * 104, "damaged entry"), (b"garbage" * 100, "no cpio"),
        (b"07070X" + b"0" * 200, "without sizes"), (cpio(("./a", 0o100644, b"x"), end=False), "too early"),
        (cpio(("./a", 0o100644, b"x" * 5000))[:-900], "too early"),
        (b"070701" + b"".join(b"%08X" % f for f in [0] * 11 + [9999, 0]), "a name of 9999 bytes"),
        (cpio(*[(f"./{n}", 0o100755, ELF) for n in range(201)]), "more than 200 programs"),
    ],
)  # fmt: skip
def test_damaged_payloads_are_refused(tmp_path: Path, payload, data: bytes, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RpmBroken, match=said):
        walk(payload(data), tmp_path / "out")


def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path, payload, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(verification, "PAYLOAD_LIMIT", 8 * 1024 * 1024)
    huge = b"070701" + b"".join(
        b"%08X" % field for field in [1, 0o100644, 0, 0, 1, 0, 0xFFFFFFF0, 0, 0, 0, 0, 4, 0]
    )
    with pytest.raises(RpmBroken, match="unpacks to more than 8 MiB"):
        walk(payload(huge + b"./a\0" + b"\0\0", "exec cat /dev/zero"), tmp_path / "out")


def test_a_payload_that_hangs_is_stopped(tmp_path: Path, payload, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(verification, "UNPACK_SECONDS", 0.5)
    with pytest.raises(RpmBroken, match="too early"):
        walk(payload(cpio(("./a", 0o100644, b"x"), end=False), "exec sleep 60"), tmp_path / "out")


def test_what_is_no_rpm_is_said_to_be_none(tmp_path: Path) -> None:
    assert shutil.which("rpm"), "the workers need rpm"
    path = tmp_path / "x.rpm"
    for data in (b"", b"<html>not found</html>", b"\xed\xab\xee\xdb" + b"\0" * 500):
        path.write_bytes(data)
        with pytest.raises(RpmBroken, match=r"rpm cannot read x\.rpm"):
            read_header(path, tmp_path)
    good = make_rpm(
        tmp_path / "rpm", name="a", version="1", release="1", files={"/a": random.Random(7).randbytes(9000)}
    )
    path.write_bytes(good.read_bytes()[:-300])
    assert read_header(path, tmp_path).name == "a"
    with pytest.raises(RpmBroken):
        walk(path, tmp_path / "out")
