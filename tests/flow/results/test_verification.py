"""Verification from the farm's results to the page: real RPMs with real programs are downloaded and judged."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from service.board.checks import BuildChecks, build_checks
from service.domain.verification import planned_dependencies
from service.overrides import LiveCatalog
from service.store.schema import PackageBuild
from tests.flow.pipeline import Pipeline
from tests.web.live import serving
from tests.workers.results.built_rpms import HARD, MAIN, TEXT_RELOCATION, compile_program, make_rpm
from workers import follow_ups
from workers.results import verification

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="not installed: gcc"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the RPMs are made for x86_64"),
]
CHROOT = "fedora-44-x86_64"


@pytest.fixture
def pipeline(sqlite_pipeline: Pipeline) -> Pipeline:
    sqlite_pipeline.only("f44-copr")
    sqlite_pipeline.farm.only_chroots(CHROOT)
    return sqlite_pipeline


Make = Callable[[Path, PackageBuild], object]


def build(pipeline: Pipeline, tag: str, monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    """Let the farm build a release, put what ``make`` makes among its results, and verify."""
    runners = dict(follow_ups.RUNNERS)
    monkeypatch.setattr(follow_ups, "RUNNERS", {k: v for k, v in runners.items() if k != "verify"})
    pipeline.announce(tag)
    pipeline.run()
    newest = pipeline.builds()[-1]
    (folder,) = (pipeline.farm.state_dir / "results").rglob(f"{CHROOT}/{int(newest.external_id or 0):08d}-*")
    with pipeline.context.db.reader() as session:
        make(folder, session.get_one(PackageBuild, newest.id))
    monkeypatch.setattr(follow_ups, "RUNNERS", runners)
    pipeline.settle(60)


def rpm_like_planned(
    tmp_path: Path,
    row: PackageBuild,
    program: bytes,
    *,
    leave_out: str = "",
    extra: str = "",
    release: str = "",
) -> Path:
    """The RPM that the spec plans, with ``program`` as crio. ``release`` is for where we do not count it."""
    release = release or f"0.{row.release_number}{row.dist}"
    values = {"name": row.package, "version": row.version, "release": release}
    planned = planned_dependencies(row.spec_text or "", values)
    preamble = [
        f"{kind.capitalize()}: {text}" for kind, texts in planned.items() for text in texts
        if f"{kind}: {text}" != leave_out
    ]  # fmt: skip
    files = {"/usr/bin/crio": program, "/etc/crio/crio.conf": b"text\n"} | ({extra: b"x"} if extra else {})
    return make_rpm(
        tmp_path / f"rpm-{row.version}-{row.id}", name=row.package, version=row.version, release=release,
        preamble=preamble, files=files,
    )  # fmt: skip


def checks(pipeline: Pipeline) -> BuildChecks:
    with pipeline.context.db.reader() as session:
        return build_checks(session, pipeline.builds()[-1].id)


def test_a_sound_build_is_called_sound_and_the_next_tells_what_changed(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compile_program(tmp_path, MAIN, *HARD)

    def make(folder: Path, row: PackageBuild) -> None:
        shutil.copy(rpm_like_planned(tmp_path, row, program, extra=f"/usr/share/doc/v{row.version}"), folder)

    build(pipeline, "v1.35.5", monkeypatch, make)
    assert [(b.state, b.soundness) for b in pipeline.builds()] == [("succeeded", "sound")]
    seen = checks(pipeline)
    assert seen.findings == () and seen.rpms[0].binaries == 1 and "nothing found" in seen.chroots[0].text

    def make_less(folder: Path, row: PackageBuild) -> None:
        shutil.copy(rpm_like_planned(tmp_path, row, program), folder)

    build(pipeline, "v1.35.6", monkeypatch, make_less)
    assert pipeline.builds()[-1].soundness == "sound"
    (note,) = checks(pipeline).findings
    assert (note.rule, note.grade) == ("files-gone", "note") and "/usr/share/doc/v{version}" in note.text


def test_a_green_build_with_text_relocations_is_degraded_and_says_so_everywhere(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compile_program(tmp_path, TEXT_RELOCATION, *HARD, "-Wl,-z,notext")
    catalog = pipeline.context.catalog
    sound = tuple(replace(target, require_sound=True) for target in catalog.targets)
    pipeline.context.live_catalog = LiveCatalog(pipeline.context.db, replace(catalog, targets=sound))

    def make(folder: Path, row: PackageBuild) -> None:
        shutil.copy(rpm_like_planned(tmp_path, row, program, leave_out="conflicts: crio"), folder)

    build(pipeline, "v1.35.6", monkeypatch, make)
    (row,) = pipeline.builds()
    assert (row.state, row.soundness) == ("succeeded", "degraded") and "not to be shipped" in row.note
    rules = {one.rule: one for one in checks(pipeline).findings}
    assert set(rules) == {"textrel", "missing-conflicts"} and rules["textrel"].file == "/usr/bin/crio"
    with serving(pipeline.settings.database(), state_dir=pipeline.settings.state_dir) as live:
        page = live.get(f"/builds/{row.id}").text
        assert "text relocations" in page and "degraded" in page and "not to be shipped" in page
        assert '<span class="is-degraded">degraded</span>' in live.get("/").text
        told = live.get(f"/api/v1/builds/{row.id}/checks").json()
        assert told["soundness"] == "degraded"
        assert {one["rule"] for one in told["findings"]} == {"textrel", "missing-conflicts"}
        assert told["rpms"][0]["binaries"] == 1
        assert live.get("/api/v1/builds/999/checks").status_code == 404


def test_an_rpm_that_is_none_makes_the_build_degraded(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(folder: Path, row: PackageBuild) -> None:
        name = f"{row.package}-{row.version}-0.{row.release_number}{row.dist}.x86_64.rpm"
        (folder / name).write_bytes(b"<html>an error page</html>")

    build(pipeline, "v1.35.6", monkeypatch, make)
    assert pipeline.builds()[0].soundness == "degraded"
    assert {one.rule for one in checks(pipeline).findings} == {"broken-rpm", "no-package"}
    assert not list((pipeline.settings.state_dir / "spool").iterdir())


def test_what_cannot_be_looked_at_stays_unknown_with_its_reason(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.farm.set_outcome("succeeded", log="/usr/bin/ld: warning: creating DT_TEXTREL in a PIE\n")
    build(pipeline, "v1.35.5", monkeypatch, lambda folder, row: None)
    assert pipeline.builds()[0].soundness == "unknown"
    told = checks(pipeline).chroots[0].text
    assert "not verified: 127.0.0.1 answers 404" in told and "simulated" in told
    assert "Its log says: The link passed with text relocations" in told
    pipeline.farm.clear_outcomes()
    monkeypatch.setattr(verification, "RPM_LIMIT", 1000)
    program = compile_program(tmp_path, MAIN, *HARD)
    build(pipeline, "v1.35.6", monkeypatch,
          lambda folder, row: shutil.copy(rpm_like_planned(tmp_path, row, program), folder))  # fmt: skip
    assert (
        pipeline.builds()[-1].soundness == "unknown"
        and "larger than 1000" in checks(pipeline).chroots[0].text
    )


def test_an_outage_of_the_results_is_waited_for(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compile_program(tmp_path, MAIN, *HARD)

    def make(folder: Path, row: PackageBuild) -> None:
        shutil.copy(rpm_like_planned(tmp_path, row, program), folder)
        pipeline.farm.fault("answer", "*.rpm", times=5, status=503, body="away")
        pipeline.farm.fault("truncated", "*.rpm", times=1, skip=5)

    build(pipeline, "v1.35.6", monkeypatch, make)
    assert pipeline.builds()[0].soundness == "sound"
