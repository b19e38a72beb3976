"""rpmlint over a spec, where it is installed; where it is not, that is said and nothing is passed in silence."""

from __future__ import annotations

import importlib.resources
import re
import shutil
import tempfile
from pathlib import Path

from service.domain.fedora import Branch
from service.domain.specs import SpecFile
from workers.packaging.rpm_commands import run
from workers.packaging.spec_check import SpecRefused

SECONDS = 60.0
NOT_INSTALLED = "rpmlint is not installed here: the spec was checked without it"

# cri-o1.36.spec:12: E: hardcoded-library-path in ...   (the line's number is left out where there is none)
_ERROR = re.compile(r"^(\S+?\.spec)(?::(\d+))?: E: (.+)$", re.MULTILINE)
_DONE = re.compile(r"specfiles checked; \d+ errors")


def lint_spec(spec: SpecFile, *, branch: Branch, seconds: float = SECONDS) -> str:
    """Run rpmlint with our filters (``workers/macros/rpmlint.toml``); what is to be said besides, or empty text.

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
    error = _ERROR.search(done.output)
    if error:
        line = f":{error[2]}" if error[2] else ""
        raise SpecRefused(f"{spec.name}{line}: rpmlint: {error[3].strip()[:300]}")
    if not _DONE.search(done.output):
        said = (done.complaints or done.output).strip().splitlines()
        return f"rpmlint gave no result ({said[-1][:200] if said else f'status {done.status}'})"
    return ""
