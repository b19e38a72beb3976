"""Real builds from dist-git: real git repositories, a lookaside cache over loopback, Koji's sandbox hub."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.testing import Farm
from service.builds.commands import add_release, resume_build
from service.distgit.changes import resolve_conflict
from service.domain.distgit import Resolution
from service.domain.errors import CommandRefused
from service.settings import Settings
from service.store.schema import PackageBuild
from tests.flow.distgit.service import BRANCH, PACKAGE, SPEC, DistGitPipeline, koji_settings
from tests.web.live import serving

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def both(farm: Farm, make_settings: Callable[..., Settings], database_url: str) -> Iterator[DistGitPipeline]:
    """The pipeline on both databases."""
    pipeline = DistGitPipeline(farm, koji_settings(make_settings, farm, database_url))
    yield pipeline
    pipeline.close()


def good(build: PackageBuild) -> None:
    assert build.state == "succeeded", build.reason


def test_a_release_is_committed_uploaded_and_built(both: DistGitPipeline) -> None:
    both.grants.grant(PACKAGE, BRANCH)
    for bugs in ((2404830,), (2404829, 2404830)):
        add_release(both.context.db, both.context.catalog, "cri-o", "v1.35.1", bugs=bugs, by="ana")
    built = both.release("v1.35.1")
    good(built)
    assert built.built_nvr == "cri-o1.35-1.35.1-1.fc44" and built.release_number is None
    head = both.grants.head(PACKAGE, BRANCH)
    assert both.scm_builds() == [f"git+file://{both.grants.path(PACKAGE)}#{head}"]
    message = both.grants.message(PACKAGE, head)
    assert message.startswith(
        "cryopack <cryopack@localhost.localdomain>\nUpdate to 1.35.1\n\nUpstream release v1.35.1"
    )
    (change,) = both.changes()
    assert "\n- Resolves: rhbz#2404829\n- Resolves: rhbz#2404830\n" in message
    assert message.endswith(f"\n\nCryopack-Change: {change.change_key}")
    assert (change.decision, change.commit_id, change.landed_commit) == ("fast-forward", head, head)
    spec = both.grants.read(PACKAGE, BRANCH, SPEC)
    assert "%autorelease" in spec and "%autochangelog" in spec
    for name in ("go-vendor-tools.toml", "gating.yaml", f"{PACKAGE}.rpmlintrc"):
        assert both.grants.read(PACKAGE, BRANCH, name)
    line = both.grants.read(PACKAGE, BRANCH, "sources")
    digest = line.split(" = ")[1].strip()
    kept = both.farm.state_dir / "lookaside" / "rpms" / PACKAGE / "cri-o-1.35.1.tar.gz" / "sha512" / digest
    assert line == f"SHA512 (cri-o-1.35.1.tar.gz) = {digest}\n"
    assert hashlib.sha512((kept / "cri-o-1.35.1.tar.gz").read_bytes()).hexdigest() == digest


def test_a_manual_change_survives_the_next_three_releases(pipeline: DistGitPipeline) -> None:
    pipeline.grants.grant(PACKAGE, BRANCH)
    good(pipeline.release("v1.35.1"))
    patch = "Patch0:         0001-a-maintainers-fix.patch\n"

    def add_patch(spec: str) -> str:
        return spec.replace("BuildRequires:  make\n", f"{patch}BuildRequires:  make\n", 1)

    before = pipeline.grants.read(PACKAGE, BRANCH, SPEC)
    assert add_patch(before) != before
    pipeline.grants.edit(
        PACKAGE,
        BRANCH,
        "Add a fix by hand",
        {
            SPEC: add_patch,
            "0001-a-maintainers-fix.patch": "--- a\n+++ b\n",
            "sources": lambda text: text + f"SHA512 (extra.tar.gz) = {'a' * 128}\n",
        },
    )
    for tag in ("v1.35.2", "v1.35.3", "v1.35.4"):
        built = pipeline.release(tag)
        good(built)
        assert built.built_nvr == f"{PACKAGE}-{tag[1:]}-1.fc44"
        spec = pipeline.grants.read(PACKAGE, BRANCH, SPEC)
        assert patch in spec and f"Version:        {tag[1:]}\n" in spec
        assert pipeline.changes()[-1].decision == "merge"
        sources = pipeline.grants.read(PACKAGE, BRANCH, "sources").splitlines()
        assert [line.split()[1] for line in sources] == [f"(cri-o-{tag[1:]}.tar.gz)", "(extra.tar.gz)"]
    assert pipeline.grants.read(PACKAGE, BRANCH, "0001-a-maintainers-fix.patch") == "--- a\n+++ b\n"
    assert pipeline.grants.log(PACKAGE, BRANCH)[:5] == [
        "Update to 1.35.4", "Update to 1.35.3", "Update to 1.35.2", "Add a fix by hand", "Update to 1.35.1",
    ]  # fmt: skip


def conflicting(pipeline: DistGitPipeline) -> PackageBuild:
    """A maintainer has changed a line that every release changes; the build that met it."""
    pipeline.grants.grant(PACKAGE, BRANCH)
    good(pipeline.release("v1.35.1"))
    pipeline.grants.edit(
        PACKAGE, BRANCH, "Say it otherwise",
        {SPEC: lambda text: text.replace("Version:        1.35.1\n", "Version:        1.35.1 # by hand\n")},
    )  # fmt: skip
    return pipeline.release("v1.35.2")


def test_a_conflicting_change_stops_and_is_shown_and_goes_on(both: DistGitPipeline) -> None:
    build = conflicting(both)
    head = both.grants.head(PACKAGE, BRANCH)
    assert build.state == "held"
    assert f"change the same lines of {SPEC}; nothing was overwritten" in build.reason
    conflict = both.changes()[-1].conflict
    assert "+<<<<<<< dist-git" in conflict and "Version:        1.35.1 # by hand" in conflict
    assert "+Version:        1.35.2" in conflict
    assert len(both.scm_builds()) == 1
    with serving(both.settings.database()) as app:
        for page in (f"/builds/{build.id}", "/releases/cri-o/1.35.2"):
            html = app.get(page).text
            assert "&lt;&lt;&lt;&lt;&lt;&lt;&lt; dist-git" in html and "1.35.1 # by hand" in html
            assert f"cryopack build resolve {build.id} generated" in html
    resolve_conflict(both.context.db, both.context.catalog, build.id, Resolution.GENERATED, by="me")
    both.run()
    good(both.builds()[-1])
    assert "Version:        1.35.2\n" in both.grants.read(PACKAGE, BRANCH, SPEC)
    assert both.grants.log(PACKAGE, BRANCH)[:2] == ["Update to 1.35.2", "Say it otherwise"]
    assert both.grants.head(PACKAGE, BRANCH) != head
    with pytest.raises(CommandRefused, match="has no conflict"):
        resolve_conflict(both.context.db, both.context.catalog, build.id, Resolution.GENERATED, by="me")


def test_a_conflict_that_was_settled_in_dist_git_builds_what_is_there(
    pipeline: DistGitPipeline, tmp_path: Path
) -> None:
    build = conflicting(pipeline)
    head = pipeline.grants.edit(
        PACKAGE, BRANCH, "Update by hand",
        {SPEC: lambda text: text.replace("Version:        1.35.1 # by hand\n", "Version:        1.35.2\n")},
    )  # fmt: skip
    command = [
        sys.executable,
        "-c",
        "from workers.cli.main import main; main()",
        "build",
        "resolve",
        str(build.id),
        "done",
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "CRYOPACK_DATABASE_URL": pipeline.settings.database(),
        "CRYOPACK_STATE_DIR": str(tmp_path / "cli"),
        "CRYOPACK_BROKER_URL": "redis://127.0.0.1:1/0",
    }
    told = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60, check=False
    )
    assert told.stdout == f"build {build.id} goes on\n", told.stderr
    pipeline.run()
    good(pipeline.builds()[-1])
    # The archive is new, so sources are committed upon what the maintainer wrote, which stays as it is.
    assert pipeline.grants.log(PACKAGE, BRANCH)[:2] == ["Update to 1.35.2", "Update by hand"]
    assert "# Upstream tag v1.35.1" in pipeline.grants.read(PACKAGE, BRANCH, SPEC)
    assert head != pipeline.grants.head(PACKAGE, BRANCH)


def test_lines_kept_against_the_release_are_no_release(pipeline: DistGitPipeline) -> None:
    build = conflicting(pipeline)
    # What is settled is the conflict that was shown. Who edits the same lines after that is not overwritten unseen.
    again = {SPEC: lambda text: text.replace("1.35.1 # by hand", "1.35.1 # by hand, twice")}
    head = pipeline.grants.edit(PACKAGE, BRANCH, "Say it again", again)
    resolve_conflict(pipeline.context.db, pipeline.context.catalog, build.id, Resolution.GENERATED, by="me")
    pipeline.run(until=lambda builds: builds[-1].state in ("held", "succeeded"))
    assert pipeline.builds()[-1].state == "held" and "by hand, twice" in pipeline.changes()[-1].conflict
    assert pipeline.grants.head(PACKAGE, BRANCH) == head
    # What came since and concerns other lines needs no second word.
    pipeline.grants.edit(PACKAGE, BRANCH, "Say more", {"NEWS": "More.\n"})
    resolve_conflict(pipeline.context.db, pipeline.context.catalog, build.id, Resolution.DIST_GIT, by="me")
    pipeline.run()
    last = pipeline.builds()[-1]
    assert last.state == "errored" and "1.35.2 was planned" in last.reason


def test_a_spec_that_was_there_before_us_is_never_overwritten(pipeline: DistGitPipeline) -> None:
    pipeline.grants.grant(PACKAGE, BRANCH)
    pipeline.grants.edit(PACKAGE, BRANCH, "Initial import", {SPEC: "Name: cri-o1.35\nVersion: 1.35.0\n"})
    build = pipeline.release("v1.35.1")
    assert build.state == "held" and pipeline.grants.log(PACKAGE, BRANCH)[0] == "Initial import"


def test_a_spec_that_would_not_parse_is_held_with_its_line_and_goes_on(pipeline: DistGitPipeline) -> None:
    pipeline.grants.grant(PACKAGE, BRANCH)
    good(pipeline.release("v1.35.1"))
    odd = "%gometa -L\nBuildReqires:   make\n"

    def add(text: str) -> str:
        return text.replace("BuildRequires:  make\n", f"BuildRequires:  make\n{odd}", 1)

    head = pipeline.grants.edit(PACKAGE, BRANCH, "Mistype a tag", {SPEC: add})
    build = pipeline.release("v1.35.2")
    number = pipeline.grants.read(PACKAGE, BRANCH, SPEC).splitlines().index("BuildReqires:   make") + 1
    assert (
        build.state == "held"
        and f"does not parse: {SPEC}:{number}: Unknown tag: BuildReqires" in build.reason
    )
    assert pipeline.grants.head(PACKAGE, BRANCH) == head and len(pipeline.scm_builds()) == 1
    pipeline.grants.edit(
        PACKAGE, BRANCH, "Type it well", {SPEC: lambda text: text.replace("BuildReqires", "BuildRequires")}
    )
    resume_build(pipeline.context.db, pipeline.context.catalog, build.id, by="maintainer")
    pipeline.run()
    good(pipeline.builds()[-1])
    assert "%gometa -L" in pipeline.grants.read(PACKAGE, BRANCH, SPEC)


def test_a_cache_that_lets_us_not_in_holds_the_build_before_anything_is_pushed(
    pipeline: DistGitPipeline,
) -> None:
    pipeline.grants.grant(PACKAGE, BRANCH)
    head = pipeline.grants.head(PACKAGE, BRANCH)
    pipeline.farm.call("POST", "/lookaside", log_in="Negotiate")
    build = pipeline.release("v1.35.1")
    assert build.state == "held" and "the lookaside cache wants a Kerberos log-in" in build.reason
    assert (
        "repair that and resume the build" in build.reason and pipeline.grants.head(PACKAGE, BRANCH) == head
    )
    pipeline.farm.call("POST", "/lookaside", log_in="")
    resume_build(pipeline.context.db, pipeline.context.catalog, build.id, by="maintainer")
    pipeline.run()
    good(pipeline.builds()[-1])


def test_a_newer_version_in_dist_git_is_not_pushed_over(pipeline: DistGitPipeline) -> None:
    pipeline.grants.grant(PACKAGE, BRANCH)
    good(pipeline.release("v1.35.2"))
    pipeline.announce("v1.35.1")
    pipeline.process_inbox()
    head = pipeline.grants.head(PACKAGE, BRANCH)
    pipeline.grants.edit(
        PACKAGE,
        BRANCH,
        "Ahead",
        {SPEC: lambda text: text.replace("Version:        1.35.2\n", "Version:        1.35.9\n")},
    )
    build = pipeline.release("v1.35.3")
    resolve_conflict(pipeline.context.db, pipeline.context.catalog, build.id, Resolution.GENERATED, by="me")
    pipeline.run()
    last = pipeline.builds()[-1]
    assert last.state == "errored" and "which is higher than 1.35.3-%autorelease" in last.reason
    assert (
        pipeline.grants.head(PACKAGE, BRANCH) != head and pipeline.grants.log(PACKAGE, BRANCH)[0] == "Ahead"
    )


def test_a_new_stream_waits_for_repository_and_branch_and_goes_on_by_itself(
    pipeline: DistGitPipeline,
) -> None:
    build = pipeline.release("v1.35.1")
    assert build.state == "held" and f"no repository rpms/{PACKAGE} yet" in build.reason
    assert pipeline.changes()[0].missing == "repository"
    with serving(pipeline.settings.database()) as app:
        html = app.get("/releases/cri-o/1.35.1").text
        assert "<strong>missing</strong>: Repository granted" in html
        assert "fedpkg request-branch --repo cri-o1.35 f44" in html
    pipeline.grants.grant(PACKAGE, "rawhide")
    pipeline.run(until=lambda builds: "has no branch f44 yet" in pipeline.outcome())
    assert pipeline.builds()[-1].state == "held"
    pipeline.grants.grant(PACKAGE, BRANCH)
    pipeline.run()
    good(pipeline.builds()[-1])


def test_a_package_that_nobody_opted_in_is_held_and_nothing_is_written(
    farm: Farm, make_settings: Callable[..., Settings], sqlite_url: str
) -> None:
    pipeline = DistGitPipeline(farm, koji_settings(make_settings, farm, sqlite_url), direct_push=())
    pipeline.grants.grant(PACKAGE, BRANCH)
    build = pipeline.release("v1.35.1")
    pipeline.close()
    assert build.state == "held" and "target f44-dist-git names no forge for a pull request" in build.reason
    assert pipeline.grants.log(PACKAGE, BRANCH) == ["Added the README"]


def test_one_live_build_has_a_branch_at_a_time(pipeline: DistGitPipeline) -> None:
    pipeline.grants.grant(PACKAGE, BRANCH)
    pipeline.farm.pause()
    pipeline.announce("v1.35.1")
    pipeline.process_inbox()
    pipeline.run(until=lambda builds: builds[0].state == "running")
    pipeline.announce("v1.35.2")
    pipeline.process_inbox()
    pipeline.run(until=lambda builds: "waits for build 1, which has cri-o1.35 on f44" in builds[-1].reason)
    assert pipeline.grants.log(PACKAGE, BRANCH) == ["Update to 1.35.1", "Added the README"]
    pipeline.farm.resume()
    pipeline.run()
    assert [build.state for build in pipeline.builds()] == ["succeeded", "succeeded"]
    assert pipeline.grants.log(PACKAGE, BRANCH)[0] == "Update to 1.35.2"
