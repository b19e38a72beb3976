"""Logs of any shape are packed and read again unchanged, in bounded memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tracemalloc
import unicodedata
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from service.logs import blocks, reader
from service.logs.blocks import LogWriter, Unpacker, Written
from service.logs.reader import LogReader, shown
from service.logs.store import FileStore, LogGone, log_key

LIMIT = 64 * 1024 * 1024
MIB = 1024 * 1024
BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def pack(folder: Path, *pieces: bytes, limit: int = LIMIT) -> tuple[Written, LogReader, FileStore]:
    """Store these pieces as one log and return a reader of it."""
    folder.mkdir(parents=True, exist_ok=True)
    spool = folder / "spool"
    with spool.open("wb") as file:
        writer = LogWriter(file, limit)
        for piece in pieces:
            writer.write(piece)
        written = writer.finish()
    store = FileStore(folder / "logs")
    key = log_key(7, written.sha256)
    store.put(key, spool)
    return written, LogReader(store, key, written.blocks, written.stored_size, written.plain_size), store


def numbered(count: int, width: int = 60) -> bytes:
    return b"".join(b"%08d %s\n" % (number, b"x" * width) for number in range(1, count + 1))


def test_any_window_is_what_was_written(tmp_path: Path) -> None:
    text = numbered(60_000)
    written, log, store = pack(tmp_path, text)
    assert len(written.blocks) > 3 and written.lines == 60_000 and written.plain_size == len(text)
    assert written.sha256 == hashlib.sha256(text).hexdigest()
    for first in (1, 2, 15_000, *(b.line + d for b in written.blocks[1:] for d in (-1, 0, 1)), 59_999):
        lines = log.window(first, 3)
        assert [line.number for line in lines] == [n for n in range(first, first + 3) if n <= 60_000]
        assert all(line.text.startswith(f"{line.number:08d} ") for line in lines)
    assert log.window(60_001, 10) == []
    # Any gzip tool reads the file as one.
    (found,) = store.objects()
    assert gzip.decompress((tmp_path / "logs" / found.key).read_bytes()) == text


@given(st.lists(st.binary(max_size=60), max_size=12), st.integers(1, 30), st.integers(1, 8))
@hypothesis_settings(max_examples=150, deadline=None)
def test_small_blocks_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], first: int, count: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", 16)
        written, log, _ = pack(tmp_path_factory.mktemp("log"), *pieces)
        whole = b"".join(pieces)
        lines = whole.split(b"\n")
        if lines[-1] == b"":
            lines.pop()
        assert written.lines == len(lines)
        assert [line.text for line in log.window(first, count)] == [
            shown(line) for line in lines[first - 1 : first - 1 + count]
        ]
        assert b"".join(log.plain(first, first + count)) == whole[first : first + count]
        word = whole[first : first + 3]
        if b"\n" not in word and word and word.isascii():
            found = [line.number for line in log.search(word.decode()).lines]
            assert found == [n for n, line in enumerate(lines, 1) if word.lower() in line.lower()]


def test_the_middle_of_a_log_that_is_too_long_is_left_out_and_says_so(tmp_path: Path) -> None:
    limit = 12 * MIB
    text = numbered(400_000)
    written, log, _ = pack(tmp_path, text, limit=limit)
    assert written.left_out > 0 and written.plain_size <= limit + 200
    assert log.window(1, 1)[0].text.startswith("00000001")
    assert log.window(written.lines, 1)[0].text.startswith("00400000"), "the end says why a build failed"
    (note,) = log.search("cryopack left out").lines
    assert str(written.left_out) in note.text
    before, after = log.window(note.number - 1, 1)[0], log.window(note.number + 1, 1)[0]
    assert int(before.text[:8]) < int(after.text[:8])


def test_an_endless_line_is_cut_for_the_page_and_counted(tmp_path: Path) -> None:
    written, log, _ = pack(tmp_path, b"first\n", *[b"e" * MIB] * 24, b"\nlast")
    assert written.lines == 3
    first, endless, last = log.window(1, 5)
    assert (first.text, last.text, last.number) == ("first", "last", 3)
    assert len(endless.text) == reader.LINE_SHOWN and endless.more == 24 * MIB - reader.LINE_SHOWN
    assert [line.number for line in log.search("EEE").lines] == [2]


def test_search_stops_at_its_bounds(tmp_path: Path) -> None:
    _, log, _ = pack(tmp_path, b"needle\n" * 100_000)
    found = log.search("Needle", hits=50)
    assert len(found.lines) == 50 and not found.complete
    assert not log.search("absent", seconds=-1).complete
    assert log.search("absent").complete and log.search("").lines == ()


def test_a_damaged_or_missing_file_is_told_as_gone(tmp_path: Path) -> None:
    written, log, store = pack(tmp_path, b"text\n" * 10)
    key = log_key(7, written.sha256)
    path = tmp_path / "logs" / key
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(LogGone, match="damaged"):
        log.window(1, 1)
    store.delete(key)
    store.delete(key)
    with pytest.raises(LogGone, match="gone"):
        log.window(1, 1)
    for odd in ("../../etc/passwd", "/etc/passwd", "000001/x.log.gz", f"000001/../{'0' * 64}.log.gz"):
        with pytest.raises(LogGone):
            store.read(odd, 0, 1)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"\x1b[31;1mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07after", "after"),
        (b"\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b]0;never ended", "0;never ended"),
        (b"\x1bcreset \x1b(Bcharset \x1b", "reset charset "),
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
        (b"bad \xff\xfe utf", "bad \ufffd\ufffd utf"),
        ("exe.\u202egnp\u202c".encode(), "exe.⟨U+202E⟩gnp⟨U+202C⟩"),
        ("a\u200bb\ufeffc\u2066d".encode(), "a⟨U+200B⟩b⟨U+FEFF⟩c⟨U+2066⟩d"),
        (b"nul\x00 bell\x07 tab\t del\x7f", "nul␀ bell␇ tab\t del␡"),
        (b" 10%\r 50%\r100%\r", "100%"),
        (b"dos\r", "dos"),
        ("\x85next \u2028line".encode(), "⟨U+0085⟩next ⟨U+2028⟩line"),
        (b"", ""),
    ],
)
def test_hostile_lines_become_harmless_text(line: bytes, text: str) -> None:
    assert shown(line) == text


@given(st.binary(max_size=300))
def test_no_byte_sequence_leaves_a_control_character(line: bytes) -> None:
    text = shown(line)
    assert not [ch for ch in text if unicodedata.category(ch) in ("Cc", "Cs") and ch != "\t"]
    assert not [ch for ch in text if unicodedata.bidirectional(ch) in BIDI_CONTROLS]
    assert not set(text) & set("\x1b\r\n\x00\x7f\u202e\u2066\u200f")


@pytest.mark.parametrize("members", [1, 3])
def test_gzip_is_seen_by_its_bytes_and_unpacked_in_small_pieces(members: int) -> None:
    rng = random.Random(7)
    parts = [rng.randbytes(50_000) for _ in range(members)]
    packed = b"".join(gzip.compress(part) for part in parts)
    got = io.BytesIO()
    unpacker = Unpacker(got.write)
    for at in range(0, len(packed), 777):
        unpacker.feed(packed[at : at + 777])
    assert unpacker.finish() and got.getvalue() == b"".join(parts)
    cut = Unpacker(io.BytesIO().write)
    cut.feed(packed[:-9])
    assert not cut.finish()
    for plain in (b"", b"x", b"\x1f", b"plain text"):
        got = io.BytesIO()
        unpacker = Unpacker(got.write)
        unpacker.feed(plain)
        assert unpacker.finish() and got.getvalue() == plain


def test_a_gzip_bomb_does_not_fill_memory(tmp_path: Path) -> None:
    # 256 MiB of zeros in 256 KiB: many times what is kept, and what may be held.
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = b"\0" * MIB
    bomb = b"".join(packer.compress(zeros) for _ in range(256)) + packer.flush()
    assert len(bomb) < MIB / 2
    spool = (tmp_path / "spool").open("wb")
    writer = LogWriter(spool, 32 * MIB)
    tracemalloc.start()
    with spool:
        unpacker = Unpacker(writer.write)
        unpacker.feed(bomb)
        written = writer.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written.left_out > 200 * MIB and written.plain_size < 34 * MIB
    assert peak < 40 * MIB
