"""Source archives are inspected for their facts, and unsafe or foreign ones are refused."""

from __future__ import annotations

import gzip
import os
import re
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.versions import Version
from tests.workers.sources.archives import COMMIT, LAYOUT, ROOT, VERSION, Made, spoil, tree
from workers.sources.archives import ArchiveLimits, SourceRefused, inspect_archive


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cri-o-1.32.1.tar.gz"


def refused(path: Path, content: bytes, **limits: int) -> str:
    path.write_bytes(content)
    with pytest.raises(SourceRefused) as caught:
        inspect_archive(path, VERSION, LAYOUT, limits=ArchiveLimits(**limits))
    text = str(caught.value)
    assert text.isprintable()
    assert sorted(path.parent.iterdir()) == [path], "an inspection must write nothing"
    return text


def test_facts(file: Path) -> None:
    file.write_bytes(Made().packed())
    facts = inspect_archive(file, VERSION, LAYOUT)
    assert (facts.origin, facts.go, facts.wazero, facts.nri) == ("archive", "1.23", "v1.8.2", "v0.9.0")
    assert facts.modules["github.com/tetratelabs/wazero"] == "v1.8.2" and len(facts.modules) == 2
    assert facts.commit == COMMIT
    assert facts.size == file.stat().st_size
    assert re.fullmatch("[0-9a-f]{64}", facts.sha256)


def test_a_partial_archive_says_what_it_lacks(file: Path) -> None:
    files = tree()
    file.write_bytes(Made(files=files).packed())
    lacking = "1 of 1 vendored packages have no file in it, such as github.com/tetratelabs/wazero"
    assert inspect_archive(file, VERSION, LAYOUT).partial == lacking
    # A file further down is another package's.
    deeper = files | {"vendor/github.com/tetratelabs/wazero/api/wasm.go": b"package api\n"}
    file.write_bytes(Made(files=deeper).packed())
    assert inspect_archive(file, VERSION, LAYOUT).partial == lacking
    whole = files | {"vendor/github.com/tetratelabs/wazero/runtime.go": b"package wazero\n"}
    file.write_bytes(Made(files=whole).packed())
    assert inspect_archive(file, VERSION, LAYOUT).partial == ""


def test_a_module_s_former_name_is_known(file: Path) -> None:
    former = replace(LAYOUT, module="example.org/new", former_modules=("github.com/cri-o/cri-o",))
    file.write_bytes(Made().packed())
    assert inspect_archive(file, VERSION, former).go == "1.23"
    with pytest.raises(SourceRefused, match=r"not that of example\.org/new"):
        inspect_archive(file, VERSION, replace(former, former_modules=()))


@pytest.mark.parametrize(
    ("modules", "wazero", "nri"),
    [
        (b"# github.com/containerd/nri v0.6.1\n", "", "v0.6.1"),
        (b"", "", ""),
        (b"# github.com/wazero/wazero v1.12.0\n", "v1.12.0", ""),
        (b"# github.com/tetratelabs/wazero v1.8.2 => github.com/x/wazero v1.8.3\n", "v1.8.3", ""),
        (b"# github.com/tetratelabs/wazero v1.8.2 => ../wazero\n", "v1.8.2", ""),
        (b"# github.com/x/y v1.0.0\n# github.com/tetratelabs/wazero => github.com/x/wazero v1.8.3\n", "", ""),
        (
            b"# github.com/containerd/nri v0.9.1-0.20250219030224-e597e7849f24\n",
            "",
            "v0.9.1-0.20250219030224-e597e7849f24",
        ),
    ],
)
def test_vendored_modules(file: Path, modules: bytes, wazero: str, nri: str) -> None:
    file.write_bytes(Made(files={**tree(), "vendor/modules.txt": modules}).packed())
    facts = inspect_archive(file, VERSION, LAYOUT)
    assert (facts.wazero, facts.nri) == (wazero, nri)
    assert {wazero or nri} - {""} <= set(facts.modules.values())


@pytest.mark.parametrize("commit", ["", "not a commit", "ABCDEF" * 7])
def test_no_commit_is_no_fault(file: Path, commit: str) -> None:
    file.write_bytes(Made(commit=commit).packed())
    assert inspect_archive(file, VERSION, LAYOUT).commit == ""


@pytest.mark.parametrize("version", ["1.33.0-rc.1", "1.100.0"])
def test_odd_versions(tmp_path: Path, version: str) -> None:
    parsed = Version.parse(version)
    file = tmp_path / LAYOUT.source_name(parsed)
    file.write_bytes(Made(files=tree(version), root=f"cri-o-{version}").packed())
    assert inspect_archive(file, parsed, LAYOUT).go == "1.23"


def test_links_inside_are_fine(file: Path) -> None:
    made = Made()
    made.add(f"{ROOT}/docs", kind=tarfile.DIRTYPE)
    made.add(f"{ROOT}/docs/readme", kind=tarfile.SYMTYPE, link="../README.md")
    made.add(f"{ROOT}/docs/self", kind=tarfile.SYMTYPE, link=".")
    made.add(f"{ROOT}/docs/hard", kind=tarfile.LNKTYPE, link=f"{ROOT}/README.md")
    file.write_bytes(made.packed())
    assert inspect_archive(file, VERSION, LAYOUT).go == "1.23"


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        f"{ROOT}/../../etc/passwd",
        f"{ROOT}/a/../b",
        "../x",
        f"{ROOT}//x",
        f"{ROOT}/a\nb",
        f"{ROOT}/a\x1b[2J",
        f"{ROOT}/a\\b",
    ],
)
def test_unsafe_paths(file: Path, name: str) -> None:
    assert "path that is not safe" in refused(file, Made().add(name).packed())


@pytest.mark.parametrize("name", ["cri-o-1.32.2/x", "x", f"./{ROOT}/x", f"{ROOT}x/y"])
def test_more_than_the_root_folder(file: Path, name: str) -> None:
    assert f"beside its root folder {ROOT}/" in refused(file, Made().add(name).packed())


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "../../etc/passwd"),
        (tarfile.SYMTYPE, "../.."),
        (tarfile.SYMTYPE, "docs/../.."),
        (tarfile.SYMTYPE, "a\nb"),
        (tarfile.SYMTYPE, ""),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, f"{ROOT}/../x"),
        (tarfile.LNKTYPE, "README.md"),
    ],
)
def test_links_that_lead_out(file: Path, kind: bytes, target: str) -> None:
    made = Made().add(f"{ROOT}/link", kind=kind, link=target)
    if not target:
        file.write_bytes(made.packed())
        assert inspect_archive(file, VERSION, LAYOUT).go == "1.23"
        return
    assert "link that leads out" in refused(file, made.packed())


def test_a_file_behind_a_link(file: Path) -> None:
    made = Made().add(f"{ROOT}/up", kind=tarfile.SYMTYPE, link=".").add(f"{ROOT}/up/x")
    assert "behind a link" in refused(file, made.packed())


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices(file: Path, kind: bytes) -> None:
    assert "neither file, folder nor link" in refused(file, Made().add(f"{ROOT}/dev", kind=kind).packed())


def test_a_name_twice(file: Path) -> None:
    """The second one would win when it is unpacked, and the first one would have been read."""
    made = Made().add(f"{ROOT}/go.mod", content=b"module evil\n\ngo 1.0\n")
    assert "twice" in refused(file, made.packed())


def test_the_root_as_a_file(file: Path) -> None:
    assert "is not a folder" in refused(file, Made().add(ROOT).packed())


@pytest.mark.parametrize("missing", ["go.mod", "vendor/modules.txt", "internal/version/version.go"])
def test_missing_file(file: Path, missing: str) -> None:
    files = tree()
    del files[missing]
    assert refused(file, Made(files=files).packed()) == f"the archive has no {missing}"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (
            "internal/version/version.go",
            b'const Version = "1.32.2"\n',
            "archive of v1.32.1 holds version 1.32.2",
        ),
        ("internal/version/version.go", b"package version\n", "does not tell its version"),
        ("internal/version/version.go", b'// const Version = "1.32.1"\n', "does not tell its version"),
        ("internal/version/version.go", b"\xff\xfe", "is not UTF-8 text"),
        ("go.mod", b"module github.com/evil/cri-o\n\ngo 1.23\n", "not that of github.com/cri-o/cri-o"),
        ("go.mod", b"module github.com/cri-o/cri-o\n", "no go line"),
        ("go.mod", b"module github.com/cri-o/cri-o\ngo 1.23%(id)\n", "no go line"),
        ("vendor/modules.txt", b"# github.com/tetratelabs/wazero vv\xc3\xa4\n", "names no version"),
        ("go.mod", b"x" * (1024 * 1024 + 1), "no small file"),
    ],
)
def test_wrong_contents(file: Path, name: str, content: bytes, complaint: str) -> None:
    # Without the ratio, the repeated letter would be refused for being packed too tight.
    assert complaint in refused(file, Made(files={**tree(), name: content}).packed(), ratio=10**6)


@pytest.mark.parametrize("name", ["go.mod", "vendor/modules.txt"])
def test_a_wanted_file_as_a_link(file: Path, name: str) -> None:
    files = tree()
    del files[name]
    up = "../" * name.count("/")
    made = Made(files=files).add(f"{ROOT}/{name}", kind=tarfile.SYMTYPE, link=f"{up}README.md")
    assert "no small file" in refused(file, made.packed())


def test_too_many_members(file: Path) -> None:
    made = Made()
    for number in range(50):
        made.add(f"{ROOT}/x{number}")
    assert "more than 20 members" in refused(file, made.packed(), members=20)


def test_too_large_a_file(file: Path) -> None:
    made = Made().add(f"{ROOT}/big", content=os.urandom(3 << 20))
    assert "of more than 2 MiB" in refused(file, made.packed(), file=2 << 20)


def test_too_much_in_all(file: Path) -> None:
    made = Made().add(f"{ROOT}/a", content=os.urandom(2 << 20)).add(f"{ROOT}/b", content=os.urandom(2 << 20))
    assert "unpacks to more than 3 MiB" in refused(file, made.packed(), total=3 << 20)


def test_a_bomb_is_given_up_early_and_in_little_memory(file: Path) -> None:
    """100 MiB of zeros are 0.1 MiB packed: only a fraction of them may ever be unpacked, and none kept."""
    with gzip.GzipFile(file, "wb", mtime=0) as packed:
        packed.write(Made().tar()[:-10240])
        info = tarfile.TarInfo(f"{ROOT}/zeros")
        info.size = 100 << 20
        packed.write(info.tobuf())
        zeros = bytes(1 << 20)
        for _ in range(100):
            packed.write(zeros)
        packed.write(bytes(10240))
    content = file.read_bytes()
    tracemalloc.start()
    text = refused(file, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than 100 times its size" in text
    assert peak < (8 << 20)


def test_a_header_of_its_own_size(file: Path) -> None:
    """tarfile reads a pax header in one go; one of 64 MiB must not be read at all."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 64 << 20
    tar = Made().tar()[:-10240] + info.tobuf() + b"30 comment=" + os.urandom(4 << 20)
    assert "a header of" in refused(file, gzip.compress(tar))


def test_headers_without_end(file: Path) -> None:
    """Each pax header makes tarfile call itself: a long chain of them must end in a refusal."""
    record = b"12 comment=x\n".ljust(512, b"\0")
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 13
    tar = (info.tobuf() + record) * 3000
    assert "damaged" in refused(file, gzip.compress(tar))


def test_no_archive_at_all(file: Path) -> None:
    assert "damaged" in refused(file, b"<html>rate limit</html>")
    assert "damaged" in refused(file, b"")
    assert "empty" in refused(file, gzip.compress(bytes(10240)))
    assert "damaged" in refused(file, gzip.compress(b"hello"))
    assert "damaged" in refused(file, gzip.compress(b"x" * 10240))


@pytest.mark.parametrize("cut", [1, 8, 9, 100, 400])
def test_cut_off_gzip(file: Path, cut: int) -> None:
    assert "damaged" in refused(file, Made().packed()[:-cut])


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 1.0])
def test_cut_off_tar_in_a_whole_gzip(file: Path, kept: float) -> None:
    """tarfile takes the end of such a file for the end of the archive and says nothing."""
    members = Made().tar().rstrip(b"\0")
    text = refused(file, gzip.compress(members[: int(len(members) * kept) // 512 * 512]))
    assert "damaged" in text


def test_a_broken_header_is_not_the_end(file: Path) -> None:
    made = Made().add(f"{ROOT}/last", content=b"x")
    tar = made.tar()
    start = tar.rindex(f"{ROOT}/last".encode())
    assert "cut off" in refused(file, gzip.compress(spoil(tar, range(start, start + 20))))


def test_something_after_the_end(file: Path) -> None:
    assert "goes on after its end" in refused(file, gzip.compress(Made().tar() + b"more"))


@given(st.lists(st.integers(min_value=0, max_value=9000), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, positions: list[int]
) -> None:
    """No damage ends in anything but facts of the right form or a refusal in one line."""
    file = tmp_path_factory.getbasetemp() / "damaged.tar.gz"
    tar = Made().tar()
    file.write_bytes(gzip.compress(spoil(tar, {p % len(tar) for p in positions}), 1))
    try:
        facts = inspect_archive(file, VERSION, LAYOUT)
    except SourceRefused as error:
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert facts.go
    finally:
        file.unlink()


def test_a_family_without_a_version_file(file: Path) -> None:
    files = tree()
    del files["internal/version/version.go"]
    file.write_bytes(Made(files=files).packed())
    layout = replace(LAYOUT, version_file="", version_pattern="")
    assert inspect_archive(file, VERSION, layout).go == "1.23"
