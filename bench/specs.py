"""Measure spec and SRPM: rendering, the check by the real rpmspec, and rpmbuild beside its plain call."""

from __future__ import annotations

import gzip
import random
import shutil
import subprocess
import tempfile
from datetime import date
from pathlib import Path

from bench.table import Figure, print_figures, spread, timed
from service.catalog import load
from service.domain.fedora import Branch
from service.domain.reports import Srpm
from service.domain.specs import SpecFile
from workers.packaging import offline
from workers.packaging.rpm_commands import build_srpm
from workers.packaging.spec_check import NOT_INSTALLED, check_spec, check_text, lint_spec

TAG = "v1.35.6"
SOURCE_BYTES = 12 * 1024 * 1024
PEER = "packit (specfile): 230 ms for one version change; `packit` itself starts in 1,463 ms (measured elsewhere)"


def _source(folder: Path, name: str) -> Path:
    """Write a stand-in of 12 MB that does not compress any further, as a source archive does not."""
    path = folder / name
    noise = random.Random(1).randbytes(SOURCE_BYTES)
    with gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) as handle:
        handle.write(noise)
    return path


def _plain(folder: Path, spec: SpecFile, source: Path) -> None:
    """Call ``rpmbuild -bs`` without our macros, on a spec that plain rpm can read."""
    simple = folder / "plain.spec"
    simple.write_text(
        f"Name: plain\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\nSource0: {source.name}\n%description\nx\n"
    )
    subprocess.run(
        ["rpmbuild", "-bs", "--define", f"_topdir {folder}/plain", "--define", f"_sourcedir {source.parent}",
         str(simple)], check=True, capture_output=True,
    )  # fmt: skip


def _lint(spec: SpecFile, branch: Branch) -> str:
    if lint_spec(spec, branch=branch) == NOT_INSTALLED:
        return NOT_INSTALLED
    return spread(timed(lambda: lint_spec(spec, branch=branch), rounds=10))


def _bare_lint() -> str:
    """Measure the start of rpmlint's interpreter, which is most of what it costs."""
    if shutil.which("rpmlint") is None:
        return ""
    start = timed(
        lambda: subprocess.run(["rpmlint", "--version"], check=True, capture_output=True), rounds=10
    )
    return f"rpmlint --version: {spread(start)}"


def run() -> None:
    """Measure and print."""
    catalog = load(None, copr_owner="bench")
    made = offline.render(catalog, TAG)
    branch = catalog.branches["f44"].branch
    with tempfile.TemporaryDirectory(prefix="cryopack-bench-") as name:
        folder = Path(name)
        source = _source(folder, made.spec.source_name)
        epoch = int(date(2026, 1, 1).strftime("%s"))

        def pack() -> Srpm:
            return build_srpm(made.spec, [source], directory=folder / "srpms", epoch=epoch)

        plain = timed(lambda: offline.render(catalog, TAG), rounds=200)
        figures = [
            Figure("render one spec", spread(plain), PEER),
            Figure("render it and check its text (all pure checks)",
                   spread(timed(lambda: check_text(offline.render(catalog, TAG).spec), rounds=200)),
                   f"limit: 20 ms; plain rendering: {spread(plain)}"),
            Figure("check it (text, rpmspec, leftovers, names)",
                   spread(timed(lambda: check_spec(made.spec, branch=branch), rounds=50)),
                   "one rpmspec parse: about 12.6 ms (measured elsewhere)"),
            Figure("rpmlint with our filters", _lint(made.spec, branch), _bare_lint()),
            Figure("SRPM, 12 MB source, reproducible", spread(timed(pack, rounds=10)),
                   "plain rpmbuild -bs: " + spread(timed(lambda: _plain(folder, made.spec, source), rounds=10))),
        ]  # fmt: skip
    print_figures("Spec and SRPM", figures)
