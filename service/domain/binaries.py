"""Judges ELF binaries by facts about them: text relocations, hardening, Go's build settings.

Pure: workers/binaries reads the facts out of files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Grade(StrEnum):
    """The weight of a finding: ``unsound`` can crash or be refused when loaded, ``weak`` is less protected."""

    UNSOUND = "unsound"
    WEAK = "weak"


@dataclass(frozen=True)
class GoBuild:
    """The build information of a Go binary, as ``go version -m`` prints it.

    ``version`` is as Go says it (``go1.26.6``). ``modules`` counts the ``dep`` lines, 0 in GOPATH mode.
    ``main_module`` is the path of its ``mod`` line, empty in GOPATH mode. ``godebug`` are the settings that
    are baked in (``DefaultGODEBUG``), name to value. ``settings`` are all ``build`` lines, name to value.
    """

    version: str
    main_module: str = ""
    modules: int = 0
    godebug: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BinaryFacts:
    """The facts about one ELF executable or shared object by which it is judged.

    ``machine`` is ELF's name in lower case (``x86_64``, ``aarch64``). ``executable`` has an entry to run;
    ``dynamic`` is loaded with a dynamic section. ``undefined_go`` are the names in ``.dynsym`` that are
    undefined and hold a ``/``, which only a Go symbol does, in the file's order. ``writable_code`` is a
    segment that can be both written and executed. ``go`` is None where nothing of Go is in the file.
    """

    machine: str
    executable: bool
    dynamic: bool
    pie: bool
    relro: bool
    bind_now: bool
    nx: bool
    textrel: bool
    writable_code: bool
    undefined_go: tuple[str, ...] = ()
    go: GoBuild | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a binary: an id (one of FINDINGS), its weight, and a sentence for people."""

    id: str
    grade: Grade
    text: str


FINDINGS = frozenset(
    {
        *("textrel", "undefined-go", "writable-code"),
        *("not-pie", "no-relro", "no-bind-now", "executable-stack"),
        *("weak-godebug", "no-modules"),
    }
)
"""The id of every finding that ``judge`` can make."""

# Name to (minor of Go 1 from which the default is the safe one, value that restores what was before), of the
# settings that bear on safety. Source: Go's own table, internal/godebugs/table.go of Go 1.26.
_SAFER_SINCE: Mapping[str, tuple[int, str]] = {
    "panicnil": (21, "1"),
    "httplaxcontentlength": (22, "1"),
    "tls10server": (22, "1"),
    "tlsrsakex": (22, "1"),
    "tlsunsafeekm": (22, "1"),
    "tls3des": (23, "1"),
    "x509negativeserial": (23, "1"),
    "rsa1024min": (24, "0"),
    "tlsmlkem": (24, "0"),
    "x509usepolicies": (24, "0"),
    "tlssha1": (25, "1"),
    "cryptocustomrand": (26, "1"),
    "tlssecpmlkem": (26, "0"),
}

_GO_MINOR = re.compile(r"(?:go)?1\.(\d{1,3})(?:\D.*)?", re.ASCII)
_MENTIONED = 4


def go_minor(text: str) -> int | None:
    """Return the minor of ``go1.26.6``, ``1.26.3`` or ``1.26`` (26); None for anything else (a development version)."""
    match = _GO_MINOR.fullmatch(text)
    return int(match[1]) if match else None


def weaker_settings(godebug: Mapping[str, str], go_line: str) -> tuple[str, ...]:
    """Return the GODEBUG settings (``name=value``) that are less safe than go.mod's ``go_line`` implies, by name.

    Go derives its defaults from go.mod's go line, which GOPATH mode does not read. A go line that is no
    version gives an empty tuple: what it implies is not known.
    """
    minor = go_minor(go_line)
    if minor is None:
        return ()
    return tuple(
        f"{name}={value}"
        for name, value in sorted(godebug.items())
        if name in _SAFER_SINCE and _SAFER_SINCE[name][0] <= minor and _SAFER_SINCE[name][1] == value
    )


def judge(facts: BinaryFacts, go_line: str) -> tuple[Finding, ...]:
    """Return what is wrong with a binary, worst first; empty for a sound one.

    ``go_line`` is the go line of the go.mod that it was built from (``1.26.3``); an empty text leaves the
    comparison with it out. Sources of the rules: cri-o/cri-o#8860, coreos/fedora-coreos-tracker#2148.
    """
    return (*_loading(facts), *_hardening(facts), *_go(facts.go, go_line))


def _loading(facts: BinaryFacts) -> list[Finding]:
    found = []
    if facts.textrel:
        found.append(
            Finding("textrel", Grade.UNSOUND, "it has text relocations: SELinux can refuse to load it")
        )
    if facts.undefined_go:
        found.append(
            Finding(
                "undefined-go",
                Grade.UNSOUND,
                f"Go symbols are undefined, and a call of one is a crash: {_some(facts.undefined_go)}",
            )
        )
    if facts.writable_code:
        found.append(Finding("writable-code", Grade.UNSOUND, "a segment can be both written and executed"))
    return found


def _hardening(facts: BinaryFacts) -> list[Finding]:
    checks = [
        ("not-pie", facts.pie or not facts.executable, "it is not position-independent (PIE)"),
        ("no-relro", facts.relro or not facts.dynamic, "relocations stay writable (no RELRO)"),
        ("no-bind-now", facts.bind_now or not facts.dynamic, "symbols are bound late (no BIND_NOW)"),
        ("executable-stack", facts.nx, "its stack is executable (no NX)"),
    ]
    return [Finding(name, Grade.WEAK, text) for name, holds, text in checks if not holds]


def _go(go: GoBuild | None, go_line: str) -> list[Finding]:
    if go is None:
        return []
    found = []
    weaker = weaker_settings(go.godebug, go_line)
    if weaker:
        found.append(
            Finding(
                "weak-godebug",
                Grade.WEAK,
                f"older and less safe defaults of Go are baked in than go.mod's go {go_line} implies: "
                f"{_some(weaker)}",
            )
        )
    if not go.main_module and not go.modules:
        found.append(
            Finding(
                "no-modules",
                Grade.WEAK,
                "no module is recorded (built in GOPATH mode): scanners for vulnerabilities see nothing",
            )
        )
    return found


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_MENTIONED])
    return shown if len(names) <= _MENTIONED else f"{shown} and {len(names) - _MENTIONED} more"
