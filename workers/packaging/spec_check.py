"""Check a rendered spec before anything is made from it: its text, what rpmspec makes of it, and rpmlint."""

from __future__ import annotations

import importlib.resources
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from service.domain.fedora import Branch
from service.domain.specs import SpecFile
from workers.packaging.licenses import BadLicense, check_expression
from workers.packaging.rpm_commands import Finished, definitions, macro_files, run

SECONDS = 30.0

# Of a spec that somebody has edited: more than these are a sign of something else.
MOST_UNKNOWN = 20
_UNKNOWN_MACRO = re.compile(r"Unknown tag: %\{?\??(\w+)")

_ERROR_LINE = re.compile(r"line (\d+): *(.*)")
# Doubled per cent signs are single by now, so date formats (%Y, %dT) must pass: macros have longer names.
_COMMENTED = re.compile(r"%[\w?!*{(\[]+")
_OPERATOR_LAST = re.compile(r"(?:^|[\s(])(?:AND|OR|WITH)\s*\)?$", re.IGNORECASE)
_LEFTOVER = re.compile(r"%(?:[A-Za-z_]\w{2,}|[{(\[])")
# Words with a % that belong to spec files themselves and stay in the parsed text.
_KEPT = frozenset(
    f"%{word}"
    for words in (
        ("package", "description", "prep", "generate_buildrequires", "build", "install", "check", "clean"),
        ("pre", "post", "preun", "postun", "pretrans", "posttrans", "files", "changelog"),
        ("triggerin", "triggerun", "triggerpostun"),
        ("doc", "license", "dir", "config", "ghost", "attr", "defattr", "verify", "exclude", "lang"),
        ("docdir", "readme", "artifact", "missingok"),
    )
    for word in words
)
_TAG = re.compile(r"([A-Za-z]+\d*)[ \t]*:[ \t]*(.*?)[ \t]*")
LINT_SECONDS = 60.0
NOT_INSTALLED = "rpmlint is not installed here: the spec was checked without it"

# cri-o1.36.spec:12: E: hardcoded-library-path in ...   (the line's number is left out where there is none)
_LINT_ERROR = re.compile(r"^(\S+?\.spec)(?::(\d+))?: E: (.+)$", re.MULTILINE)
_LINT_DONE = re.compile(r"specfiles checked; \d+ errors")


class SpecRefused(Exception):
    """A spec does not parse or is not what was planned; ``str(error)`` is one line that begins with spec and line."""


def check_text(spec: SpecFile) -> None:
    """Check a spec's text without running a program.

    Refused are macros in comments, places left unfilled, bad licenses, and a newest changelog entry of another version.

    Well below a millisecond, but for the first look at a license expression. Raises SpecRefused with the line.
    """
    newest = ""
    changelog = False
    for number, line in enumerate(spec.text.splitlines(), start=1):
        place = f"{spec.name}:{number}"
        if line.startswith("#") or line.lstrip().startswith("#"):
            match = _COMMENTED.search(line.replace("%%", ""))
            # RPM expands macros in comments too, and the second line of a longer one is no comment any more.
            if match:
                raise SpecRefused(f"{place}: the comment holds the macro {match[0]}; double its %")
        elif line.startswith("License:"):
            _check_license(place, line.partition(":")[2].strip())
        elif line.startswith("%changelog"):
            changelog = True
        elif changelog and line and not newest:
            newest = line.rpartition(" ")[2]
            # What does not begin with * is refused by rpmspec, and %autochangelog makes its own entries.
            if line.startswith("* ") and newest != f"{spec.version}-{spec.release}":
                raise SpecRefused(
                    f"{place}: the newest changelog entry is of {newest[:60]}, "
                    f"planned was {spec.version}-{spec.release}"
                )
        if "@{" in line:
            raise SpecRefused(f"{place}: a place of the template was left unfilled")


def check_spec(
    spec: SpecFile, *, branch: Branch, archive: str | None = None, seconds: float = SECONDS
) -> Mapping[str, str]:
    """Parse ``spec`` as ``branch`` would see it and compare it with the plan.

    Refused are: what ``check_text`` refuses; what rpmspec refuses or warns about; macros left unexpanded; a
    name, version, release or Source0 other than planned; a small source without a Source line; an ``archive``
    (the name of the file that was downloaded) that Source0 does not name. dist and fedora are the branch's;
    rhel is unset, as everywhere in Fedora. About 10 ms.

    Returns the first value of each preamble tag. Raises SpecRefused, and RpmTrouble where rpmspec is missing
    or too slow.
    """
    check_text(spec)
    if archive is not None and archive != spec.source_name:
        raise SpecRefused(
            f"{spec.name}: Source0 names {spec.source_name}, but {archive[:100]} was downloaded"
        )
    parsed = _parse(spec.name, spec.text, branch, seconds, {})
    if parsed.status != 0 or parsed.complaints.strip():
        raise SpecRefused(_complaint(spec.name, parsed.complaints))
    _refuse_leftovers(spec, parsed.output)
    tags = _preamble(parsed.output)
    _compare(spec, tags, "Name", spec.package)
    _compare(spec, tags, "Version", spec.version)
    _compare(spec, tags, "Release", f"{spec.release}{branch.dist}")
    _compare(spec, tags, "Source0", spec.source_url)
    sources = {value.rpartition("/")[2] for tag, value in tags.items() if tag.startswith("Source")}
    for name in spec.files:
        if name not in sources:
            raise SpecRefused(f"{spec.name}: no Source line names {name}")
    return tags


def check_merged(name: str, text: str, *, package: str, branch: Branch, seconds: float = SECONDS) -> None:
    """Parse a spec that people have edited in dist-git with rpmspec. Raises SpecRefused with the line, and RpmTrouble.

    It may use macros of Fedora for which there is no stand-in here. Those that stand where a tag should are taken to
    be well and to write nothing, so that the rest is parsed; those anywhere else pass through rpmspec by themselves.
    """
    missing: dict[str, str] = {}
    while True:
        parsed = _parse(name, text, branch, seconds, missing)
        if parsed.status == 0:
            break
        told = _complaint(name, parsed.complaints)
        unknown = _UNKNOWN_MACRO.search(told)
        if unknown is None or unknown[1] in missing or len(missing) >= MOST_UNKNOWN:
            raise SpecRefused(told)
        missing[unknown[1]] = ""
    made = _preamble(parsed.output).get("Name", "nothing")
    if made != package:
        raise SpecRefused(f"{name}: Name is {made[:80]}, and the package is {package}")


def _parse(name: str, text: str, branch: Branch, seconds: float, missing: Mapping[str, str]) -> Finished:
    """Run rpmspec on a text; ``missing`` are macros that take the rest of their line and write nothing."""
    with tempfile.TemporaryDirectory(prefix="cryopack-spec-") as folder:
        home = Path(folder)
        file = home / name
        file.write_text(text, encoding="utf-8")
        values = {"dist": branch.dist, "fedora": str(branch.number), "_topdir": str(home / "top")}
        arguments = [
            f"--macros={macro_files()}",
            *definitions({**values, **{f"{macro}()": "" for macro in missing}}),
            "-P",
            str(file),
        ]
        return run("rpmspec", arguments, home=home, seconds=seconds)


def _complaint(name: str, complaints: str) -> str:
    """Return RPM's first complaint with its line number, as one line without our temporary folder's name."""
    lines = [line.strip() for line in complaints.splitlines() if line.strip()]
    first = next(
        (line for line in lines if line.startswith("error:")), lines[0] if lines else "no reason given"
    )
    first = re.sub(r"\S*/cryopack-spec-[^/\s]+/", "", first).removeprefix("error: ")
    match = _ERROR_LINE.fullmatch(first)
    if match:
        return f"{name}:{match[1]}: {match[2]}"
    return f"{name}: {first}"


def _refuse_leftovers(spec: SpecFile, expanded: str) -> None:
    """Refuse macros left unexpanded: rpmspec passes unknown ones in sections through without a warning."""
    for line in expanded.splitlines():
        if line.startswith("%changelog"):
            return
        if line.lstrip().startswith("#"):
            continue
        for match in _LEFTOVER.finditer(line):
            if match[0] not in _KEPT:
                raise SpecRefused(f"{spec.name}:{_line_of(spec, match[0])}: {match[0]} is left unexpanded")


def _line_of(spec: SpecFile, macro: str) -> int:
    """Return the line on which the spec uses the macro; 0 where another macro made it."""
    for number, line in enumerate(spec.text.splitlines(), start=1):
        if macro in line and not line.lstrip().startswith("#"):
            return number
    return 0


def _preamble(expanded: str) -> Mapping[str, str]:
    tags: dict[str, str] = {}
    for line in expanded.splitlines():
        if line.startswith("%description"):
            break
        match = _TAG.fullmatch(line)
        if match:
            tags.setdefault(match[1], match[2])
    return tags


def _check_license(place: str, expression: str) -> None:
    # The library lets an operator pass that nothing follows.
    if _OPERATOR_LAST.search(expression):
        raise SpecRefused(f"{place}: License: nothing follows {expression.split()[-1]}")
    try:
        check_expression(expression)
    except BadLicense as error:
        raise SpecRefused(f"{place}: License: {error}") from error


def _tag_line(spec: SpecFile, tag: str) -> int:
    return next((n for n, text in enumerate(spec.text.splitlines(), 1) if text.startswith(f"{tag}:")), 0)


def _compare(spec: SpecFile, tags: Mapping[str, str], tag: str, planned: str) -> None:
    found = tags.get(tag, "nothing")
    if found != planned:
        raise SpecRefused(f"{spec.name}:{_tag_line(spec, tag)}: {tag} is {found}, planned was {planned}")


def lint_spec(spec: SpecFile, *, branch: Branch, seconds: float = LINT_SECONDS) -> str:
    """Run rpmlint with our filters (``workers/packaging/macros/rpmlint.toml``); return a remark or empty text.

    The remark says that rpmlint is not installed, or that it gave no result: neither passes in silence.

    About half a second, most of it the start of its interpreter. Raises SpecRefused with the first error and
    its line, and RpmTrouble where rpmlint is too slow or ends without a result.
    """
    if shutil.which("rpmlint") is None:
        return NOT_INSTALLED
    macros = importlib.resources.files("workers.packaging").joinpath("macros")
    with tempfile.TemporaryDirectory(prefix="cryopack-lint-") as folder:
        home = Path(folder)
        (home / spec.name).write_text(spec.text, encoding="utf-8")
        # rpmlint reads the spec through RPM's library, which takes more macros from the home only.
        given = f"\n%dist {branch.dist}\n%fedora {branch.number}\n"
        (home / ".rpmmacros").write_text(
            macros.joinpath("fedora.macros").read_text(encoding="utf-8") + given, encoding="utf-8"
        )
        (home / "filters.toml").write_text(
            macros.joinpath("rpmlint.toml").read_text(encoding="utf-8"), encoding="utf-8"
        )
        done = run("rpmlint", ["-c", "filters.toml", spec.name], home=home, seconds=seconds)
    error = _LINT_ERROR.search(done.output)
    if error:
        line = f":{error[2]}" if error[2] else ""
        raise SpecRefused(f"{spec.name}{line}: rpmlint: {error[3].strip()[:300]}")
    if not _LINT_DONE.search(done.output):
        said = (done.complaints or done.output).strip().splitlines()
        return f"rpmlint gave no result ({said[-1][:200] if said else f'status {done.status}'})"
    return ""
