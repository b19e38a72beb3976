"""Real upstream archives through inspection, spec, check and SRPM; only where somebody has some at hand.

CRYOPACK_REAL_SOURCES names a folder of ``cri-o-1.31.13.tar.gz`` and the like. Archives are never committed.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from service.catalog import load
from service.domain.versions import Version
from workers.packaging.offline import check, render, srpm

FOLDER = os.environ.get("CRYOPACK_REAL_SOURCES", "")
ARCHIVES = sorted(Path(FOLDER).glob("cri-o-*.tar.gz")) if FOLDER else []
CATALOG = load(None, copr_owner="x")

pytestmark = pytest.mark.skipif(not FOLDER, reason="CRYOPACK_REAL_SOURCES names no folder of real archives")


@pytest.mark.slow
@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda archive: archive.name)
def test_real_archive(archive: Path, tmp_path: Path) -> None:
    version = Version.parse(archive.name.removeprefix("cri-o-").removesuffix(".tar.gz"))
    began = time.perf_counter()
    made = render(CATALOG, version.tag, source=archive)
    inspected = time.perf_counter()
    known = CATALOG.families["cri-o"].policy(version.stream)
    assert known is not None
    assert re.fullmatch("[0-9a-f]{40}", made.facts.commit)
    assert bool(made.facts.wazero) == bool(known.facts["wazero"])
    assert bool(made.spec.workarounds) == bool(made.facts.wazero)
    for branch in CATALOG.branches:
        check(CATALOG, made, branch=branch)
    checked = time.perf_counter()
    first = srpm(CATALOG, version.tag, source=archive, directory=tmp_path / "a")
    packed = time.perf_counter()
    second = srpm(CATALOG, version.tag, source=archive, directory=tmp_path / "b")
    assert first.sha256 == second.sha256
    print(
        f"\n{archive.name}: {made.facts}\n  inspect and render {inspected - began:.2f} s, "
        f"{len(CATALOG.branches)} checks {checked - inspected:.3f} s, "
        f"all of the SRPM {packed - checked:.2f} s, {first.size} bytes"
    )
