"""The page of rules and its API: each row with what its proofs found, and which may be retired."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.catalog import Catalog
from service.domain.binaries import Finding, Grade
from service.domain.proofs import Proved, Toolchain, Trial, Verdict
from service.proofs import record_proofs
from service.store.session import Database
from tests.web.live import serving
from tests.web.pages.test_pages import text_of

CHAIN = Toolchain("go1.26.6", "GNU ld 2.40", "gcc 12.2.0", "x86_64")
FAILS = Trial("go build", linked=False, symptom="undefined reference to `<b>entry</b>'\x00", log="\x00 ends")
WORKS = Trial("go build", linked=True, started=True, called=True)
UNSOUND = replace(WORKS, called=False, findings=(Finding("textrel", Grade.UNSOUND, "text relocations"),))


def record(url: str, catalog: Catalog) -> None:
    rows = {row.id: row for row in catalog.workarounds}
    simulated = replace(CHAIN, simulates="textrel-error")
    db = Database(url)
    record_proofs(
        db,
        [
            Proved("go-module-mode", rows["go-module-mode"].sha256, CHAIN, Verdict.CURES, FAILS, WORKS),
            Proved("ld-undefs", rows["ld-undefs"].sha256, simulated, Verdict.NEEDED, FAILS, UNSOUND),
            Proved("ld-notext", rows["ld-notext"].sha256, simulated, Verdict.NO_LONGER_NEEDED, WORKS, WORKS),
            Proved("nri-no-wasm", "0" * 64, CHAIN, Verdict.NO_LONGER_NEEDED, WORKS, WORKS),
        ],
        by="alice",
    )
    db.dispose()


@pytest.mark.parametrize("proved", [False, True])
def test_the_page_tells_what_proofs_found(sqlite_url: str, catalog: Catalog, proved: bool) -> None:
    if proved:
        record(sqlite_url, catalog)
    with serving(sqlite_url) as live:
        answer = live.get("/rules")
        assert answer.status_code == 200
        page = text_of(answer.text)
        assert page.count("Not proved yet") == (0 if proved else 4)
        if proved:
            assert "links, starts, crashes when called (textrel)" in page
            assert "simulated textrel-error by -Wl,-z,text" in page
            assert "<b>entry" not in answer.text
            assert page.count("may be retired") == 1
            assert "the row has changed since; it was: no longer needed" in page


def test_the_api_carries_the_latest_proofs(sqlite_url: str, catalog: Catalog) -> None:
    record(sqlite_url, catalog)
    with serving(sqlite_url) as live:
        items = {item["id"]: item for item in live.get("/api/v1/workarounds").json()["items"]}
    (proof,) = items["go-module-mode"]["proofs"]
    assert (proof["verdict"], proof["without_row"]) == ("cures", "does not link")
    assert proof["with_row"] == "links, starts and calls"
    assert [items[name]["may_be_retired"] for name in ("go-module-mode", "ld-undefs", "ld-notext")] == [
        False,
        False,
        True,
    ]
    # The row was changed after it was proved, so the proof does not retire it.
    assert items["nri-no-wasm"]["proofs"][0]["stale"] and not items["nri-no-wasm"]["may_be_retired"]
    assert items["ld-notext"]["first_branch"] == 44
    assert items["ld-notext"]["toolchain"] == ["textrel-error"]
