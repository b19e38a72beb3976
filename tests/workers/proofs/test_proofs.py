"""Every workaround proved with the real Go, compiler and linker of this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

import service.catalog
from service import board
from service.catalog import Catalog, load
from service.domain.proofs import Proved, Verdict
from service.proofs import record_proofs
from service.store.session import Database
from tests.go_toolchain import CACHE, needs_go
from workers.proofs import NoToolchain, find_go, prove

pytestmark = pytest.mark.xdist_group("go")
BUILT_IN = Path(service.catalog.__file__).parent


@pytest.fixture(scope="module")
def proofs(catalog: Catalog) -> Mapping[tuple[str, str], Proved]:
    """All proofs of the built-in table, by row and simulated fact."""
    return {(p.row, p.toolchain.simulates): p for p in prove(catalog, cache=CACHE)}


@needs_go
def test_every_row_is_proved_with_every_toolchain_that_it_is_for(
    proofs: Mapping[tuple[str, str], Proved],
) -> None:
    assert {key: proof.verdict for key, proof in proofs.items()} == {
        ("go-module-mode", ""): Verdict.CURES,
        ("go-module-mode", "textrel-error"): Verdict.CURES,
        ("ld-undefs", ""): Verdict.CURES,
        # Where text relocations are errors, undefs only changes which error it is: hence ld-notext.
        ("ld-undefs", "textrel-error"): Verdict.NEEDED,
        ("ld-notext", "textrel-error"): Verdict.CURES,
        ("nri-no-wasm", ""): Verdict.CURES,
        ("nri-no-wasm", "textrel-error"): Verdict.CURES,
    }


@needs_go
def test_the_cure_is_sound_and_the_workarounds_are_not(proofs: Mapping[tuple[str, str], Proved]) -> None:
    cure = proofs["go-module-mode", ""]
    assert not cure.without.linked
    assert "undefined reference" in cure.without.symptom
    assert cure.with_row.called is True and cure.with_row.findings == ()
    undefs = proofs["ld-undefs", ""].with_row
    assert undefs.started and undefs.called is False
    assert {"textrel", "no-modules"} <= {finding.id for finding in undefs.findings}
    notext = proofs["ld-notext", "textrel-error"]
    assert "read-only segment has dynamic relocations" in notext.without.symptom
    assert "-Wl,-z,text -Wl,-z,undefs -Wl,-z,notext" in notext.with_row.command
    assert proofs["nri-no-wasm", ""].with_row.called is None


def own_catalogue(tmp_path: Path, old: str, new: str) -> Catalog:
    folder = tmp_path / "own"
    shutil.copytree(BUILT_IN, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    path = folder / "workarounds.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return load(folder, copr_owner="x")


EXTRA = """
[[workaround]]
id = "extra"
families = ["cri-o"]
strategies = ["strict"]
{adds}
why = "Tried by a test."
reference = "https://example.org/"
symptoms = ["undefined reference to"]
proof = {{ scenario = "linkname", reach = "call", beside = ["go-module-mode"] }}

[[workaround]]
id = "nri-no-wasm"
"""


@needs_go
@pytest.mark.parametrize(
    ("adds", "expected"),
    [
        # The trouble is cured by the row beside it already.
        ('linker_flags = ["-Wl,-z,combreloc"]', Verdict.NO_LONGER_NEEDED),
        # The linker of this machine does not know the flag at all.
        ('linker_flags = ["-Wl,--no-such-flag"]', Verdict.WORSE),
    ],
)
def test_rows_that_nobody_needs_are_found_out(tmp_path: Path, adds: str, expected: Verdict) -> None:
    own = own_catalogue(tmp_path, '\n[[workaround]]\nid = "nri-no-wasm"\n', EXTRA.format(adds=adds))
    (plain, simulated) = prove(own, rows=["extra"], cache=CACHE)
    assert (plain.verdict, simulated.verdict) == (expected, expected)


@needs_go
def test_a_failure_that_is_not_the_rows_says_nothing_of_the_row(tmp_path: Path) -> None:
    own = own_catalogue(tmp_path, 'symptoms = ["read-only segment has', 'symptoms = ["another trouble has')
    (proof,) = prove(own, rows=["ld-notext"], cache=CACHE)
    assert proof.verdict is Verdict.UNTRIED
    assert "read-only segment" in proof.without.log


def test_without_go_it_is_skipped_with_a_reason(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoToolchain, match=r"^skipped: no Go toolchain: .*nothing is no program$"):
        prove(catalog, go=tmp_path / "nothing")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NoToolchain, match=r"^skipped: no Go toolchain \(install golang"):
        find_go()


@needs_go
def test_verdicts_are_kept_and_the_newest_counts(
    db: Database, catalog: Catalog, proofs: Mapping[tuple[str, str], Proved]
) -> None:
    assert record_proofs(db, proofs.values(), by="alice") == len(proofs)
    assert record_proofs(db, [proofs["ld-undefs", ""]], by="bob") == 1
    with db.reader() as session:
        found = {row.rule.id: row for row in board.rules(session, catalog)}
    assert list(found) == [row.id for row in catalog.workarounds]
    undefs = found["ld-undefs"]
    assert [(p.toolchain.simulates, p.proved_by) for p in undefs.proofs] == [
        ("", "bob"),
        ("textrel-error", "alice"),
    ]
    assert undefs.proofs[0].with_row["findings"][0]["id"] == "textrel"
    assert not undefs.may_be_retired and not undefs.proofs[0].stale
    json.dumps(dict(undefs.proofs[0].without))
