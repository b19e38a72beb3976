"""Logs in a bucket: requests signed as in AWS's examples, reads like those of files, no secret in errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.logs.blocks import LogWriter, Written
from service.logs.reader import LogReader
from service.logs.s3 import EMPTY_BODY_SHA256, Account, ObjectStore, open_store, signed_headers
from service.logs.store import FileStore, LogGone, LogStore, StoreUnavailable, log_key
from tests.logs.bucket import KEY_ID, REGION, SECRET, Bucket

# The examples of AWS's page "Signature calculations for the authorization header", with its public key and secret.
EXAMPLE = Account("us-east-1", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
AT = datetime(2013, 5, 24, tzinfo=UTC)
HOST = {"Host": "examplebucket.s3.amazonaws.com"}
KEYS = [log_key(number, f"{number:064x}") for number in range(1, 6)]


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body", "signature"),
    [
        ("GET", "/test.txt", [], {"Range": "bytes=0-9"}, EMPTY_BODY_SHA256,
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("PUT", "/test$file.text", [],
         {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
         "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        ("GET", "/", [("prefix", "J"), ("max-keys", "2")], {}, EMPTY_BODY_SHA256,
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)  # fmt: skip
def test_the_signatures_are_those_of_the_published_examples(
    method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str], body: str, signature: str
) -> None:
    signed = signed_headers(EXAMPLE, method, path, query, {**HOST, **headers}, body, AT)
    assert signed["authorization"].endswith(f"Signature={signature}")
    assert EXAMPLE.secret not in f"{signed} {EXAMPLE!r}"


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket() as running:
        yield running


@pytest.fixture(params=["files", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> LogStore:
    return open_store(
        tmp_path / "logs", bucket.url if request.param == "bucket" else "", REGION, KEY_ID, SECRET
    )


def put(store: LogStore, key: str, folder: Path, content: bytes) -> None:
    source = folder / "spool"
    source.write_bytes(content)
    store.put(key, source)
    assert not source.exists()


def test_every_store_keeps_reads_lists_and_forgets(store: LogStore, tmp_path: Path) -> None:
    for number, key in enumerate(KEYS):
        put(store, key, tmp_path, b"0123456789" * (number + 1))
    put(store, KEYS[0], tmp_path, b"abcdefghij")
    assert store.read(KEYS[0], 2, 3) == b"cde" and store.read(KEYS[0], 8, 100) == b"ij"
    assert store.read(KEYS[0], 10, 5) == b"" and store.read(KEYS[0], 3, 0) == b""
    found = {one.key: one for one in store.objects()}
    assert {key: one.size for key, one in found.items()} == {key: 10 * (n + 1) for n, key in enumerate(KEYS)}
    assert all(-5 < one.age < 60 for one in found.values())
    for key in (KEYS[0], KEYS[0]):
        store.delete(key)
    with pytest.raises(LogGone):
        store.read(KEYS[0], 0, 1)
    assert {one.key for one in store.objects()} == set(KEYS[1:])
    for wrong in ("../../etc/passwd", "000001/x.log.gz", ""):
        with pytest.raises(LogGone):
            store.read(wrong, 0, 1)


def test_a_log_of_many_blocks_is_read_from_a_bucket_line_by_line(store: LogStore, tmp_path: Path) -> None:
    lines = 120_000
    with (tmp_path / "packed").open("wb") as file:
        writer = LogWriter(file, 64 * 1024 * 1024)
        for number in range(1, lines + 1):
            writer.write(b"line %d of a log that is long enough for several blocks\n" % number)
        written: Written = writer.finish()
    key = log_key(7, written.sha256)
    size = (tmp_path / "packed").stat().st_size
    store.put(key, tmp_path / "packed")
    reader = LogReader(store, key, written.blocks, size, written.plain_size)
    assert len(written.blocks) > 3
    (line,) = reader.window(lines - 1, 1)
    assert (line.number, line.text.split(" of ")[0]) == (lines - 1, f"line {lines - 1}")
    assert [hit.number for hit in reader.search("line 77777 of").lines] == [77777]


def test_a_store_that_is_away_or_refuses_says_so_and_tells_no_secret(bucket: Bucket, tmp_path: Path) -> None:
    store = ObjectStore(bucket.url, Account(REGION, KEY_ID, SECRET))
    put(store, KEYS[0], tmp_path, b"content")
    source = tmp_path / "kept"
    source.write_bytes(b"more")

    def trouble(store: ObjectStore) -> list[str]:
        told = []
        for act in (
            lambda: store.put(KEYS[1], source), lambda: store.read(KEYS[0], 0, 1),
            lambda: store.delete(KEYS[0]), lambda: list(store.objects()),
        ):  # fmt: skip
            with pytest.raises(StoreUnavailable) as caught:
                act()
            told.append(f"{caught.value} {caught.value!r} {store!r}")
        assert source.exists(), "what could not be stored is still there"
        assert not [text for text in told if SECRET in text or "wrong" in text]
        return told

    assert all("403" in text for text in trouble(ObjectStore(bucket.url, Account(REGION, KEY_ID, "wrong"))))
    bucket.down = 503
    assert all("answers 503 (SlowDown)" in text for text in trouble(store))
    bucket.down = 0
    assert store.read(KEYS[0], 0, 7) == b"content"
    nobody = ObjectStore("http://127.0.0.1:9/logs", Account(REGION, KEY_ID, SECRET))
    assert all("does not answer (ConnectionRefusedError)" in text for text in trouble(nobody))


def test_without_an_address_logs_are_files(tmp_path: Path) -> None:
    assert isinstance(open_store(tmp_path, "", "", "", ""), FileStore)
