"""Source archives are fetched from an upstream that is slow, gone, moved, hostile, or breaks off."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.workers.sources.archives import LAYOUT, VERSION, Made
from tests.workers.sources.upstream import Answer, Handler, Upstream, broken_off, status, whole
from workers.sources.archives import SourceRefused, inspect_archive
from workers.sources.fetch import FetchedSource, FetchLimits, SourceChanged, SourceUnavailable, fetch

# Random bytes do not pack, so that the archive is large enough to break off in.
CONTENT = Made().add("cri-o-1.32.1/random", content=os.urandom(600_000)).packed()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = FetchLimits(connect=2.0, read=0.5, total=1.0, size=2_000_000)

Serve = Callable[..., Upstream]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda *answers: stack.enter_context(Upstream(list(answers)))


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "sources" / "cri-o-1.32.1.tar.gz"


def left(destination: Path) -> list[str]:
    return sorted(file.name for file in destination.parent.iterdir())


def test_fetch_and_inspect(serve: Serve, destination: Path) -> None:
    upstream = serve(whole(CONTENT))
    fetched = fetch(upstream.url, destination)
    assert fetched == FetchedSource(destination, upstream.url, SHA256, len(CONTENT), 0)
    assert destination.read_bytes() == CONTENT
    assert left(destination) == [destination.name]
    assert inspect_archive(destination, VERSION, LAYOUT).sha256 == SHA256


def test_what_is_there_and_known_is_not_fetched_again(serve: Serve, destination: Path) -> None:
    upstream = serve(whole(CONTENT))
    fetch(upstream.url, destination)
    assert fetch(upstream.url, destination, known_sha256=SHA256).sha256 == SHA256
    assert len(upstream.asked) == 1
    destination.write_bytes(b"spoiled on disk")
    assert fetch(upstream.url, destination, known_sha256=SHA256).sha256 == SHA256
    assert destination.read_bytes() == CONTENT
    assert len(upstream.asked) == 2


def test_without_a_known_sha256_upstream_is_asked(serve: Serve, destination: Path) -> None:
    upstream = serve(whole(b"\x1f\x8b old"), whole(CONTENT))
    fetch(upstream.url, destination)
    assert fetch(upstream.url, destination).sha256 == SHA256


def test_moved_tag(serve: Serve, destination: Path) -> None:
    upstream = serve(whole(CONTENT))
    with pytest.raises(SourceChanged, match=SHA256):
        fetch(upstream.url, destination, known_sha256="0" * 64)
    assert left(destination) == []


def test_resume(serve: Serve, destination: Path) -> None:
    upstream = serve(broken_off(CONTENT, 300_000), whole(CONTENT))
    with pytest.raises(SourceUnavailable):
        fetch(upstream.url, destination)
    assert not destination.exists()
    fetched = fetch(upstream.url, destination, known_sha256=SHA256)
    assert fetched.sha256 == SHA256
    assert 0 < fetched.resumed_at <= 300_000
    asked = upstream.asked[1]
    assert (asked.range, asked.if_range) == (f"bytes={fetched.resumed_at}-", '"one"')
    assert left(destination) == [destination.name]


def test_restart_where_the_file_is_another_one(serve: Serve, destination: Path) -> None:
    other = Made().add("cri-o-1.32.1/other", content=os.urandom(500_000)).packed()
    upstream = serve(broken_off(other, 250_000, etag='"old"'), whole(CONTENT, etag='"new"'))
    with pytest.raises(SourceUnavailable):
        fetch(upstream.url, destination)
    fetched = fetch(upstream.url, destination)
    assert (fetched.sha256, fetched.resumed_at) == (SHA256, 0)
    assert upstream.asked[1].if_range == '"old"'


def test_restart_where_ranges_are_not_served(serve: Serve, destination: Path) -> None:
    upstream = serve(broken_off(CONTENT, 250_000), whole(CONTENT, ranges=False))
    with pytest.raises(SourceUnavailable):
        fetch(upstream.url, destination)
    assert fetch(upstream.url, destination).sha256 == SHA256


def test_a_weak_etag_is_no_ground_for_a_resume(serve: Serve, destination: Path) -> None:
    upstream = serve(broken_off(CONTENT, 250_000, etag='W/"one"'), whole(CONTENT, etag='W/"one"'))
    with pytest.raises(SourceUnavailable):
        fetch(upstream.url, destination)
    assert fetch(upstream.url, destination).sha256 == SHA256
    assert upstream.asked[1].range == ""


def test_a_part_that_is_whole_already(serve: Serve, destination: Path) -> None:
    """Killed between the last byte and the renaming: upstream answers 416, and the file is fetched anew."""
    upstream = serve(broken_off(CONTENT, 250_000), whole(CONTENT))
    with pytest.raises(SourceUnavailable):
        fetch(upstream.url, destination)
    destination.with_name(destination.name + ".part").write_bytes(CONTENT)
    assert fetch(upstream.url, destination).sha256 == SHA256
    assert [asked.range for asked in upstream.asked[1:]] == [f"bytes={len(CONTENT)}-", ""]


@pytest.mark.parametrize("note", ["", "[]", "{", '{"address": "elsewhere", "validator": "x"}'])
def test_a_part_of_unknown_origin_is_not_continued(serve: Serve, destination: Path, note: str) -> None:
    upstream = serve(whole(CONTENT))
    destination.parent.mkdir()
    destination.with_name(destination.name + ".part").write_bytes(b"what is this?")
    destination.with_name(destination.name + ".part.json").write_text(note)
    assert fetch(upstream.url, destination).sha256 == SHA256
    assert upstream.asked[0].range == ""


@pytest.mark.parametrize("span", ["bytes 0-9/10", "bytes 7-9/10", "nonsense", ""])
def test_another_part_than_asked_for(serve: Serve, destination: Path, span: str) -> None:
    def answer(handler: Handler) -> None:
        handler.begin(206, Content_Length="3", Content_Range=span, ETag='"one"')
        handler.wfile.write(b"abc")

    upstream = serve(broken_off(CONTENT, 250_000), answer)
    for _ in range(2):
        with pytest.raises(SourceUnavailable):
            fetch(upstream.url, destination)
    assert not destination.exists()


def test_a_part_although_nothing_was_there(serve: Serve, destination: Path) -> None:
    upstream = serve(status(206, Content_Range="bytes 0-0/1"))
    with pytest.raises(SourceUnavailable, match="another part"):
        fetch(upstream.url, destination)


@pytest.mark.parametrize(
    ("answer", "reason", "after"),
    [
        (status(404), "no such archive yet", 0),
        (status(429, Retry_After="17"), "answers 429", 17),
        (status(403, Retry_After="60"), "answers 403", 60),
        (status(500), "answers 500", 0),
        (status(503, Retry_After="soon"), "answers 503", 0),
        (status(502, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), "answers 502", 0),
    ],
)
def test_not_available_now(
    serve: Serve, destination: Path, answer: Answer, reason: str, after: float
) -> None:
    with pytest.raises(SourceUnavailable, match=reason) as caught:
        fetch(serve(answer).url, destination)
    assert caught.value.retry_after == after


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(403), "answers 403"),
        (status(410), "answers 410"),
        (status(451), "answers 451"),
        (whole(b"<html>Sign in</html>", kind="text/html; charset=utf-8"), "a web page instead"),
        (whole(b"<!DOCTYPE html><html>", kind="application/octet-stream"), "gave a web page"),
        (whole(b"PK\x03\x04"), "no gzip archive"),
        (whole(b""), "no gzip archive"),
    ],
)
def test_will_not_get_better(serve: Serve, destination: Path, answer: Answer, reason: str) -> None:
    with pytest.raises(SourceRefused, match=reason) as caught:
        fetch(serve(answer).url, destination, known_sha256=SHA256)
    assert str(caught.value).isprintable()
    assert left(destination) == []


def test_too_large_by_its_own_word(serve: Serve, destination: Path) -> None:
    with pytest.raises(SourceRefused, match="larger than 0 MiB"):
        fetch(serve(whole(CONTENT)).url, destination, limits=FetchLimits(size=100_000))


def endless(handler: Handler) -> None:
    """A body without a length that never ends."""
    handler.begin(200, Content_Type="application/x-gzip", Connection="close")
    while True:
        handler.wfile.write(b"\x1f\x8b" * 32_768)


def test_too_large_without_a_word(serve: Serve, destination: Path) -> None:
    with pytest.raises(SourceRefused, match="larger than 1 MiB"):
        fetch(serve(endless).url, destination, limits=QUICK)
    assert left(destination) == []


def test_an_answer_that_stops(serve: Serve, destination: Path) -> None:
    def answer(handler: Handler) -> None:
        handler.begin(200, Content_Type="application/x-gzip", Content_Length=str(len(CONTENT)))
        handler.wfile.write(CONTENT[:1000])
        handler.wfile.flush()
        time.sleep(3)

    with pytest.raises(SourceUnavailable, match="too slow"):
        fetch(serve(answer).url, destination, limits=QUICK)


def test_an_answer_that_drips(serve: Serve, destination: Path) -> None:
    """Each byte comes within the read timeout; only the limit for all of it ends this."""

    def answer(handler: Handler) -> None:
        handler.begin(200, Content_Type="application/x-gzip", Content_Length=str(len(CONTENT)))
        for position in range(200):
            handler.wfile.write(CONTENT[position : position + 1])
            handler.wfile.flush()
            time.sleep(0.1)

    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="longer than 1 s"):
        fetch(serve(answer).url, destination, limits=QUICK)
    assert time.monotonic() - began < 15


def test_cut_off_without_a_word(serve: Serve, destination: Path) -> None:
    """A body that ends with its connection looks complete to HTTP; the gzip stream knows better."""

    def answer(handler: Handler) -> None:
        handler.begin(200, Content_Type="application/x-gzip", Connection="close")
        handler.wfile.write(CONTENT[:200_000])
        handler.close_connection = True

    with pytest.raises(SourceUnavailable, match="cut off"):
        fetch(serve(answer).url, destination, known_sha256=SHA256)
    with pytest.raises(SourceUnavailable, match="cut off"):
        fetch(serve(answer).url, destination)


def test_content_encoding_is_left_alone(serve: Serve, destination: Path) -> None:
    """Some servers call a .tar.gz encoded; unpacking it on the way would change its sha256."""

    def answer(handler: Handler) -> None:
        handler.begin(200, Content_Encoding="gzip", Content_Length=str(len(CONTENT)))
        handler.wfile.write(CONTENT)

    assert fetch(serve(answer).url, destination).sha256 == SHA256


def test_nobody_listens(destination: Path) -> None:
    with Upstream([status(200)]) as upstream:
        url = upstream.url
    with pytest.raises(SourceUnavailable, match="connection failed"):
        fetch(url, destination)


def test_redirect_on_loopback(serve: Serve, destination: Path) -> None:
    target = serve(whole(CONTENT))
    upstream = serve(status(302, Location=f"{target.origin}/codeload"))
    assert fetch(upstream.url, destination).sha256 == SHA256
    assert target.asked[0].path == "/codeload"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://codeload.github.com/x", "not an https address"),
        ("https://evil.example/x", "not an allowed host"),
        ("https://github.com.evil.example/x", "not an allowed host"),
        ("https://user:secret@codeload.github.com/x", "a user name"),
        ("ftp://codeload.github.com/x", "not an https address"),
        ("file:///etc/passwd", "not an https address"),
        ("https://[::1", "no address|is none|redirects"),
    ],
)
def test_redirects_that_are_refused(serve: Serve, destination: Path, location: str, reason: str) -> None:
    with pytest.raises(SourceRefused, match=reason):
        fetch(serve(status(302, Location=location)).url, destination)


def test_redirects_in_a_circle(serve: Serve, destination: Path) -> None:
    upstream = serve(status(301, Location="/again"))
    with pytest.raises(SourceRefused, match="more than 5 redirects"):
        fetch(upstream.url, destination)
    assert len(upstream.asked) == 6


@pytest.mark.parametrize("url", ["http://github.com/x", "ftp://github.com/x", "https://u:p@github.com/x"])
def test_addresses_that_are_never_asked(destination: Path, url: str) -> None:
    with pytest.raises(SourceRefused):
        fetch(url, destination)
    assert left(destination) == []
