"""The families beside CRI-O through the whole pipeline: archive, spec, check, SRPM."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import service.catalog
from service import board
from service.builds.claims import claim_build, end_build
from service.builds.commands import add_release, request_build
from service.domain.errors import CommandRefused
from service.domain.states import BuildState
from service.settings import Settings
from service.store.session import database_now
from tests.workers.sources.archives import Made
from tests.workers.sources.upstream import Upstream, whole
from workers.context import Context
from workers.packaging.preparation import prepare_srpm

BUILT_IN = Path(service.catalog.__file__).parent
SOURCES = {
    "cri-tools": ("sigs.k8s.io/cri-tools", {"cri-tools-1.32.0.tar.gz"}),
    "kubernetes": (
        "k8s.io/kubernetes",
        {"kubernetes-1.32.0.tar.gz", "kubelet.service", "10-kubeadm.conf"},
    ),
}


def archive(family: str) -> bytes:
    files = {
        "go.mod": f"module {SOURCES[family][0]}\n\ngo 1.23.4\n".encode(),
        "vendor/modules.txt": b"# github.com/spf13/pflag v1.0.5\n## explicit\ngithub.com/spf13/pflag\n",
        "vendor/github.com/spf13/pflag/flag.go": b"package pflag\n",
        "LICENSE": b"stand-in\n",
    }
    return Made(files=files, root=f"{family}-1.32.0").packed()


@pytest.fixture
def context(tmp_path: Path, sqlite_url: str, request: pytest.FixtureRequest) -> Iterator[Context]:
    """A service whose catalogue builds the siblings, as targets.toml says how, and an upstream for one of them."""
    folder = tmp_path / "catalog"
    shutil.copytree(BUILT_IN, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    text = (BUILT_IN / "targets.toml").read_text(encoding="utf-8")
    # The line's own wording in the comment is left alone.
    on = text.replace('\nfamilies = ["cri-o"]', '\nfamilies = ["cri-o", "cri-tools", "kubernetes"]')
    (folder / "targets.toml").write_text(on, encoding="utf-8")
    with Upstream([whole(archive(request.getfixturevalue("family")))]) as upstream:
        settings = Settings(
            database_url=sqlite_url,
            broker_url="redis://127.0.0.1:1/0",
            state_dir=tmp_path / "state",
            catalog_dir=folder,
            copr_owner="packbot",
            source_url_template=upstream.origin + "/{repository}/archive/{tag}/{name}-{version}.tar.gz",
        )
        made = Context.create(settings)
        yield made
        made.close()


@pytest.mark.parametrize("family", list(SOURCES))
def test_from_release_to_srpm(context: Context, family: str) -> None:
    announced = add_release(context.db, context.catalog, family, "v1.32.0", by="a maintainer")
    assert len(announced.builds) == 4
    work = claim_build(context.db, announced.builds[0], lease_seconds=600, max_tries=6)
    assert work is not None
    assert (work.package, work.strategy) == (f"{family}1.32", "none")
    prepared = prepare_srpm(context, work)
    assert prepared.srpm.name == f"{family}1.32-1.32.0-0.1.src.rpm"
    assert "Go 1.23.4" in prepared.spec.text
    done = subprocess.run(
        ["rpm", "-qp", "--nosignature", "--qf", "[%{filenames}\n]", str(prepared.srpm.path)],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    assert set(done.stdout.split()) == SOURCES[family][1] | {f"{family}1.32.spec"}

    end_build(context.db, work, BuildState.FAILED, "for the test's sake")
    with pytest.raises(CommandRefused, match=f"{family} cannot have the strategy strict, only none"):
        request_build(context.db, context.catalog, work.id, by="a maintainer", strategy="strict")
    assert request_build(context.db, context.catalog, work.id, by="a maintainer").build_id != work.id


@pytest.mark.parametrize("family", ["kubernetes"])
def test_the_matrix_shows_what_is_built_and_nothing_else(context: Context, family: str) -> None:
    with context.db.reader() as session:
        now = database_now(session)
        on = {row.family for row in board.streams(session, context.catalog, now)}
        off = {row.family for row in board.streams(session, service.catalog.load(None, copr_owner="x"), now)}
    assert on == {"cri-o", "cri-tools", "kubernetes"}
    assert off == {"cri-o"}
