"""The table of workarounds: what a row must have, how rows meet, and that each complaint names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.catalog import load
from service.domain.errors import BadCatalog
from service.domain.patterns import first_match
from service.domain.proofs import Reach, Scenario

RULES = "workarounds.toml"
UNDEFS = 'linker_flags = ["-Wl,-z,undefs"]'
NOTEXT = 'linker_flags = ["-Wl,-z,notext"]'
R2 = 'symptoms = ["read-only segment has dynamic relocations"]'
CALLS = 'proof = { scenario = "linkname", reach = "call" }'


def refusal(own: Path, old: str, new: str) -> str:
    path = own / RULES
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BadCatalog) as caught:
        load(own, copr_owner="x")
    return str(caught.value)


def line_of(own: Path, text: str) -> int:
    return next(n for n, line in enumerate((own / RULES).read_text().splitlines(), 1) if line == text)


def test_every_built_in_row_can_be_proved() -> None:
    catalog = load(None, copr_owner="x")
    assert [row.id for row in catalog.workarounds] == [
        "go-module-mode",
        "ld-undefs",
        "ld-notext",
        "nri-no-wasm",
    ]
    for row in catalog.workarounds:
        assert row.symptoms and row.why and row.reference.startswith("https://")
        assert row.proof.scenario in Scenario
    cure = catalog.workarounds[0]
    assert cure.proof.reach is Reach.CALL
    assert cure.free_of == {"textrel", "undefined-go", "weak-godebug", "no-modules"}


def test_a_row_follows_the_linker_and_not_the_branch_names() -> None:
    catalog = load(None, copr_owner="x")
    notext = catalog.workarounds[2]
    assert (notext.first_branch, notext.last_branch) == (None, None)
    assert [fact.id for fact in notext.toolchain] == ["textrel-error"]
    assert [notext.holds_on(number) for number in (43, 44, 46)] == [False, True, True]


@pytest.mark.parametrize(
    ("old", "new", "line", "complaint"),
    [
        (UNDEFS, 'linker_flags = ["%(id)"]', None, "workaround ld-undefs.linker_flags: '%(id)' does not"),
        (NOTEXT, 'linker_flags = ["-Wl,-z,defs"]', None, "-Wl,-z,defs contradicts -Wl,-z,undefs, which ld-undefs"),
        (NOTEXT, UNDEFS, None, "ld-undefs adds -Wl,-z,undefs too"),
        (NOTEXT, 'linker_flags = ["-Wl,-z,text", "-Wl,-z,notext"]', None, "contradict each other"),
        (NOTEXT, NOTEXT.replace("]", ', "-Wl,-z,notext"]'), None, "names something twice"),
        (NOTEXT, "", "[[workaround]]", "workaround ld-notext.macros: the row adds nothing"),
        (
            UNDEFS,
            f'{UNDEFS}\nmacros = {{ gomodulesmode = "GO111MODULE=off" }}',
            'macros = { gomodulesmode = "GO111MODULE=off" }',
            "ld-undefs.macros: go-module-mode sets the macro gomodulesmode to another value",
        ),
        (
            'macros = { gomodulesmode = "GO111MODULE=on" }',
            'macros = { __golang_extldflags = "-Wl,-z,undefs" }',
            None,
            "made from all rows' linker_flags",
        ),
        (
            'macros = { gomodulesmode = "GO111MODULE=on" }',
            'macros = { gomodulesmode = "%(id)" }',
            None,
            "gomodulesmode must be a plain text",
        ),
        ('build_tags = ["nri_no_wasm"]', 'build_tags = ["a b"]', None, "nri-no-wasm.build_tags: 'a b'"),
        ('id = "ld-undefs"', 'id = "go-module-mode"', None, "'go-module-mode' is there twice"),
        ('requires = ["wazero"]', 'requires = ["zlib"]', None, "go-module-mode.requires: unknown: 'zlib'"),
        ('strategies = ["compat"]', 'strategies = ["compass"]', None, "ld-notext.strategies: unknown: 'compass'"),
        ('toolchain = ["textrel-error"]', 'toolchain = ["mold"]', None, "unknown: 'mold'; there are textrel-error"),
        ('first_branch = "f44"', 'first_branch = "f40"', None, "unknown branch 'f40'"),
        (
            'toolchain = ["textrel-error"]',
            'toolchain = ["textrel-error"]\nlast_branch = "f43"',
            'toolchain = ["textrel-error"]',
            "holds on no branch",
        ),
        (R2, "", "[[workaround]]", "ld-notext.symptoms: is missing"),
        (R2, "symptoms = []", None, "must name at least one pattern"),
        (R2, 'symptoms = ["(a+)+b"]', None, "repeats a group"),
        (R2, 'symptoms = ["read-only ["]', None, "is not a regular expression"),
        (
            'free_of = ["textrel", "undefined-go"]\n',
            'free_of = ["textrell"]\n',
            'free_of = ["textrell"]',
            "unknown: 'textrell'; there are executable-stack",
        ),
        (CALLS, CALLS.replace("linkname", "mold"), None, "unknown scenario 'mold'; there are linkname"),
        (CALLS, CALLS.replace("call", "far"), None, "reach must be start or call"),
        (CALLS, CALLS.replace("linkname", "optional-linkname"), None, "is for rows with build_tags"),
        (CALLS, CALLS.replace(" }", ', beside = ["ld-undefs"] }'), None, "'ld-undefs' is no row above"),
        (CALLS, CALLS.replace("reach", "raech"), None, "reach: is missing"),
        (
            'reference = "https://github.com/containerd/nri"\nsymptoms',
            "symptoms",
            "[[workaround]]",
            "reference: is missing",
        ),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_with_file_and_line(
    own: Path, old: str, new: str, line: str | None, complaint: str
) -> None:
    said = refusal(own, old, new)
    assert complaint in said
    assert "\n" not in said
    file, number = said.split(":")[:2]
    assert file == RULES
    assert (line or new) in (own / RULES).read_text().splitlines()[int(number) - 1]


def test_a_broken_file_is_refused_at_the_parsers_line(own: Path) -> None:
    said = refusal(own, "guards = true", "guards = maybe")
    number = line_of(own, "guards = maybe")
    assert said.startswith(f"{RULES}:{number}: column ")


def test_symptoms_fit_what_the_linkers_really_write() -> None:
    rows = {row.id: row for row in load(None, copr_owner="x").workarounds}
    real = (
        "/usr/bin/ld: /tmp/go-link-1/go.o: in function `go:main.inittasks':\n"
        "  go.go:(.text+0x8f15c): undefined reference to `github.com/tetratelabs/wazero/internal/engine/wazevo"
        "/backend/isa/amd64.entrypoint'\n"
    )
    assert first_match(rows["go-module-mode"].symptoms, real).startswith("go.go:(.text+0x8f15c)")
    internal = (
        "github.com/x: relocation target github.com/tetratelabs/wazero/isa/amd64.entrypoint not defined"
    )
    assert first_match(rows["go-module-mode"].symptoms, internal) == internal
    assert first_match(
        rows["ld-notext"].symptoms, "/usr/bin/ld.bfd: error: read-only segment has dynamic relocations"
    )
    assert not first_match(rows["ld-notext"].symptoms, "collect2: error: ld returned 1 exit status")
