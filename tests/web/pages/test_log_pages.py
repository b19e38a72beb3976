"""A hostile log on the page, in a real browser, with and without a script; and the bounds of its addresses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from service.logs.blocks import LogWriter
from service.logs.store import FileStore, log_key
from service.store.schema import BuildLog
from service.store.session import Database
from tests.web.live import LiveApp, serving
from tests.web.pages.accessibility import COLOURS, violations

BUILD, CHROOT = 1, "fedora-43-x86_64"
ADDRESS = f"/builds/{BUILD}/logs/{CHROOT}"
HOSTILE = [
    b"<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">",
    b"</pre></main><h1>owned</h1>",
    b"\x1b[2J\x1b[31mred\x1b[0m \x1b]0;owned\x07 \x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\",
    "evil \u202egnp.exe\u202c and \u2066isolated".encode(),
    b"bad \xff\xfe\xc0\x80 utf-8, nul \x00\x00, bell \x07",
    b"{{ 7 * 7 }} {% raw %} ${7*7} &lt;b&gt;",
    b"w" * 3_000_000,
    b"\r\n".join([b"10%\r20%\r100%"] * 3),
]


@pytest.fixture(scope="module")
def app(scene_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApp]:
    """The scene with one hostile log of 40,000 lines."""
    folder = tmp_path_factory.mktemp("logs")
    url = f"sqlite:///{folder}/copy.sqlite"
    shutil.copyfile(scene_url.removeprefix("sqlite:///"), folder / "copy.sqlite")
    store_log(Database(url), folder, b"\n".join([*HOSTILE, *(b"line %d" % n for n in range(40_000))]))
    with serving(url, state_dir=folder) as live:
        yield live


def store_log(db: Database, folder: Path, text: bytes) -> None:
    spool = folder / "spool"
    with spool.open("wb") as file:
        writer = LogWriter(file, 256 * 1024 * 1024)
        writer.write(text)
        written = writer.finish()
    FileStore(folder / "logs").put(log_key(BUILD, written.sha256), spool)
    with db.transaction() as session:
        session.add(
            BuildLog(
                build_id=BUILD, chroot=CHROOT, kind="builder", url="https://example.org/builder-live.log.gz",
                sha256=written.sha256, plain_size=written.plain_size, stored_size=written.stored_size,
                lines=written.lines, blocks=[[b.stored, b.plain, b.line] for b in written.blocks],
                stored_at=datetime.now(UTC),
            )
        )  # fmt: skip
    db.dispose()


@pytest.mark.parametrize("script", [True, False])
def test_a_hostile_log_is_harmless_in_a_browser(chromium: Browser, app: LiveApp, script: bool) -> None:
    context = chromium.new_context(java_script_enabled=script, viewport={"width": 360, "height": 740})
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{app.url}{ADDRESS}?line=1#L4")
    rows = page.locator("pre.log .row")
    expect(rows).to_have_count(1000)
    expect(page.locator("h1")).to_have_count(1)
    assert "owned" not in page.title()
    assert "<script>document.title" in rows.nth(0).inner_text()
    assert "red" in rows.nth(2).inner_text() and "click" in rows.nth(2).inner_text()
    assert "⟨U+202E⟩gnp.exe" in rows.nth(3).inner_text() and "\u202e" not in page.content()
    assert "nul ␀␀, bell ␇" in rows.nth(4).inner_text()
    assert "{{ 7 * 7 }}" in rows.nth(5).inner_text() and "&lt;b&gt;" in rows.nth(5).inner_text()
    assert "2998000 more bytes" in rows.nth(6).inner_text() and len(page.content()) < 500_000
    assert rows.nth(7).inner_text().strip().endswith("100%")
    assert all(url.startswith(app.url) for url in asked)
    assert page.locator("#L4").evaluate("e => getComputedStyle(e).backgroundColor") != "rgba(0, 0, 0, 0)"
    if script:
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360
        assert violations(page) == []
        page.emulate_media(color_scheme="dark")
        assert violations(page, *COLOURS) == []
    page.fill("input[name=q]", "LINE 39999")
    page.click("text=Show")
    expect(page.locator("#hits")).to_contain_text("1 line holds")
    page.click("ol.hits a")
    expect(page.locator("pre.log .row:target")).to_contain_text("line 39999")
    context.close()


def test_pages_of_a_log_lead_through_all_of_it(app: LiveApp) -> None:
    end = app.get(ADDRESS).text
    assert "line 39999" in end and ">Before</a>" in end and ">After</a>" not in end
    begin = app.get(f"{ADDRESS}?line=1").text
    assert 'id="L1"' in begin and 'id="L1001"' not in begin and ">After</a>" in begin
    assert app.get(f"{ADDRESS}?line=99999999999").status_code == 200
    assert app.get(f"{ADDRESS}?q=%3Cscript%3E&line=").status_code == 200
    assert app.get(f"{ADDRESS}?q={'%ff' * 50}").status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{ADDRESS}?line=x", 404), (f"{ADDRESS}?line=-1", 404), (f"{ADDRESS}?kind=nonsense", 200),
        (f"/builds/0/logs/{CHROOT}", 404), (f"/builds/99999/logs/{CHROOT}", 404), ("/builds/1/logs/none", 404),
        (f"/api/v1{ADDRESS}?kind=nonsense", 422), (f"/api/v1{ADDRESS}?first_line=0", 422),
        (f"/api/v1{ADDRESS}?first_line=1&lines=10001", 422), (f"/api/v1{ADDRESS}/search?q=", 422),
        (f"/api/v1{ADDRESS}?kind=root", 404), (f"/api/v1{ADDRESS}/search?q=x&kind=root", 404),
        ("/api/v1/builds/1/logs/none/search?q=x", 404), (f"/api/v1{ADDRESS}?first_line=2147483648", 200),
    ],
)  # fmt: skip
def test_odd_addresses_are_refused_in_one_line(app: LiveApp, path: str, status: int) -> None:
    assert app.get(path).status_code == status


@pytest.mark.parametrize(
    ("asked", "status", "length"),
    [("bytes=0-9", 206, 10), ("bytes=-7", 206, 7), ("bytes=5-", 206, None), ("bytes=99999999999-", 416, None),
     ("bytes=9-3", 416, None), ("lines=1-2", 200, None), ("bytes=-", 200, None),
     # More than one part may be answered with the whole: RFC 9110, 14.2.
     ("bytes=0-1,4-5", 200, None), ("bytes=0-0, -1", 200, None), ("bytes=" + "0-0," * 2000 + "1-1", 200, None)],
)  # fmt: skip
def test_ranges_of_bytes(app: LiveApp, asked: str, status: int, length: int | None) -> None:
    whole = app.get(f"/api/v1{ADDRESS}").content
    answer = app.get(f"/api/v1{ADDRESS}", range=asked)
    assert answer.status_code == status
    if length is not None:
        assert len(answer.content) == length
    if status == 200:
        assert answer.content == whole and "content-range" not in answer.headers
    if status == 206:
        part, _, size = answer.headers["content-range"].removeprefix("bytes ").partition("/")
        first, last = (int(number) for number in part.split("-"))
        assert answer.content == whole[first : last + 1] and int(size) == len(whole)


def test_a_missing_file_is_told_and_nothing_breaks(app: LiveApp) -> None:
    folder = app.context.settings.state_dir / "logs"
    folder.rename(folder.with_name("away"))
    try:
        page = app.get(ADDRESS)
        assert page.status_code == 200 and "is gone" in page.text
        assert app.get(f"/api/v1{ADDRESS}").status_code == 404
        assert app.get(f"/api/v1{ADDRESS}/search?q=line").status_code == 404
    finally:
        folder.with_name("away").rename(folder)
