"""Makes the sandbox's recordings that are missing: ``python -m tests.contract.sandbox.record_builds``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.go_toolchain import CACHE, ROOT

sys.path.insert(0, str(ROOT / "deploy"))

from sandbox.building.real_build import Toolchain, build
from sandbox.building.recorded import BRANCHES, KINDS, WITHOUT_WAZERO, recording
from service.catalog import load
from tests.contract.sandbox.stand_in import stand_in_srpm


def main() -> None:
    tools = Toolchain.find(CACHE)
    if isinstance(tools, str):
        raise SystemExit(f"nothing can be built here without {tools}")
    catalog = load(None, copr_owner="recorded")
    for kind, version in KINDS.items():
        for branch in BRANCHES:
            goal = recording(kind, branch)
            if goal.exists():
                continue
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                bare = kind == WITHOUT_WAZERO
                # NRI can leave wazero out from 0.11 on.
                srpm = stand_in_srpm(
                    folder, catalog, "default" if bare else kind, branch, f"v{version}",
                    None if bare else "v1.8.2", "v0.11.0" if kind == "no-wasm" else "v0.9.0",
                )  # fmt: skip
                built = build(tools, srpm, folder / "root", dist=f".fc{branch[1:]}", started=lambda _: None)
            goal.write_text(built.log.replace(str(srpm.parent), "/builddir/build/SRPMS"))
            print(goal.name, "passed" if built.succeeded else "failed")


if __name__ == "__main__":
    main()
