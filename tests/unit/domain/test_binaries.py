"""Binaries are judged by their facts: relocations, hardening, Go's build settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.domain.binaries import FINDINGS, BinaryFacts, GoBuild, Grade, judge, weaker_settings

MODULE_MODE = GoBuild("go1.26.6", main_module="github.com/cri-o/cri-o", modules=208)
SOUND = BinaryFacts(
    machine="x86_64",
    executable=True,
    dynamic=True,
    pie=True,
    relro=True,
    bind_now=True,
    nx=True,
    textrel=False,
    writable_code=False,
    go=MODULE_MODE,
)
ENTRY = "github.com/tetratelabs/wazero/internal/engine/wazevo/backend/isa/amd64.entrypoint"


def ids(facts: BinaryFacts, go_line: str = "1.26.3") -> list[str]:
    return [finding.id for finding in judge(facts, go_line)]


def test_a_sound_binary_has_no_finding() -> None:
    assert judge(SOUND, "1.26.3") == ()
    assert judge(replace(SOUND, go=None), "1.26.3") == ()


@pytest.mark.parametrize(
    ("change", "finding", "grade"),
    [
        ({"textrel": True}, "textrel", Grade.UNSOUND),
        ({"undefined_go": (ENTRY,)}, "undefined-go", Grade.UNSOUND),
        ({"writable_code": True}, "writable-code", Grade.UNSOUND),
        ({"pie": False}, "not-pie", Grade.WEAK),
        ({"relro": False}, "no-relro", Grade.WEAK),
        ({"bind_now": False}, "no-bind-now", Grade.WEAK),
        ({"nx": False}, "executable-stack", Grade.WEAK),
        ({"go": replace(MODULE_MODE, godebug={"tls10server": "1"})}, "weak-godebug", Grade.WEAK),
        ({"go": replace(MODULE_MODE, main_module="", modules=0)}, "no-modules", Grade.WEAK),
    ],
)
def test_each_fault_is_found_alone(change: dict[str, object], finding: str, grade: Grade) -> None:
    assert finding in FINDINGS
    (found,) = judge(replace(SOUND, **change), "1.26.3")  # type: ignore[arg-type]
    assert (found.id, found.grade) == (finding, grade)


def test_a_program_without_dependencies_is_no_gopath_build() -> None:
    assert ids(replace(SOUND, go=replace(MODULE_MODE, modules=0))) == []


def test_a_static_program_needs_no_relro_and_a_library_is_no_program() -> None:
    static = replace(SOUND, dynamic=False, pie=False, relro=False, bind_now=False, go=None)
    assert ids(static) == ["not-pie"]
    assert ids(replace(SOUND, executable=False, pie=False, go=None)) == []


@pytest.mark.parametrize(
    ("go_line", "weaker"),
    [
        # What Go 1.26 bakes in for a go line of 1.22 and of 1.24, as observed: their own, and no more.
        ("1.22", ("panicnil=1", "tls10server=1")),
        ("1.24.6", ("panicnil=1", "rsa1024min=0", "tls10server=1", "tls3des=1")),
        ("1.26.3", ("panicnil=1", "rsa1024min=0", "tls10server=1", "tls3des=1", "tlssha1=1")),
        ("", ()),
        ("devel", ()),
    ],
)
def test_settings_count_against_the_go_line(go_line: str, weaker: tuple[str, ...]) -> None:
    baked = {"panicnil": "1", "rsa1024min": "0", "tls10server": "1", "tls3des": "1", "tlssha1": "1"}
    assert weaker_settings({**baked, "tlsmlkem": "1", "asynctimerchan": "1"}, go_line) == weaker


def test_the_worst_comes_first_and_long_lists_are_cut() -> None:
    names = tuple(f"example.com/jit.f{n}" for n in range(9))
    found = judge(replace(SOUND, pie=False, undefined_go=names, textrel=True), "1.26")
    assert [finding.grade for finding in found] == [Grade.UNSOUND, Grade.UNSOUND, Grade.WEAK]
    assert "and 5 more" in found[1].text
    assert all("\n" not in finding.text for finding in found)
