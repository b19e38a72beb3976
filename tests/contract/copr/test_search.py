"""Tests the search for uploads at COPR and the making of projects: shifting lists, races, rights, closed chroots."""

from __future__ import annotations

import fcntl
import multiprocessing
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sandbox.testing import Farm
from service.domain.reports import SubmissionKey
from tests.contract.copr.bench import ARM, FAST, X86, CoprBench, copr_at, copr_target
from tests.contract.odd_server import Asked, OddServer, Told
from workers.buildsystems import BuildSystemUnavailable, NeedsPerson, SubmissionRefused

pytestmark = pytest.mark.timeout(60)
KEY = SubmissionKey("b7x0123456789ab")
NAME = "hello-1.0-1.job-b7x0123456789ab.src.rpm"
RAWHIDE = "fedora-rawhide-x86_64"
LIST, EDIT, ADD = "/api_3/build/list", "/api_3/project/edit/*", "/api_3/project/add/*"


@pytest.fixture
def bench(module_farm: Farm, srpm: Path, tmp_path: Path, request: pytest.FixtureRequest) -> CoprBench:
    """A project of this test's own that is not made yet."""
    return CoprBench.fresh(module_farm, srpm, tmp_path, request.node.nodeid, X86, ARM, RAWHIDE)


def submit(bench: CoprBench) -> str:
    return bench.system.submit(bench.work, bench.target, KEY, bench.fence).external_id


def find(bench: CoprBench, **fence: Any) -> tuple[list[str], bool]:
    found = bench.system.find(bench.target, KEY, {**bench.fence, **fence})
    return [ref.external_id for ref in found.refs], found.certain


def chroots(bench: CoprBench) -> set[str]:
    answer = bench.system._client(5.0).project(*bench.target.project.split("/"))
    return set(answer["chroot_repos"])


def test_a_search_reads_only_what_is_newer_than_its_fence(bench: CoprBench) -> None:
    bench.system.open(bench.target)
    bench.farm.fault("shift", LIST, by=200)
    bench.fence = dict(bench.system.open(bench.target))
    ours = submit(bench)
    before = len(bench.farm.requests(path=LIST))
    assert find(bench) == ([ours], True)
    assert len(bench.farm.requests(path=LIST)) == before + 1


def test_an_upload_is_found_behind_many_newer_builds(bench: CoprBench) -> None:
    bench.fence = dict(bench.system.open(bench.target))
    ours = submit(bench)
    # Builds that appear between the pages push the others towards later ones.
    bench.farm.fault("shift", LIST, by=60, times=3)
    assert find(bench) == ([ours], True)
    assert len(bench.farm.requests(path=LIST)) >= 4


def test_nothing_found_is_certain_only_when_no_upload_can_land_any_more(bench: CoprBench) -> None:
    bench.fence = dict(bench.system.open(bench.target))
    limit = FAST["request_timeout"]
    assert find(bench) == ([], False)
    assert find(bench, doubt_seconds=limit - 0.1) == ([], False)
    assert find(bench, doubt_seconds=float("nan")) == ([], False)
    assert find(bench, doubt_seconds=limit) == ([], True)
    assert find(bench, doubt_seconds=float("inf")) == ([], True)


def test_a_project_that_is_gone_took_its_builds_along(bench: CoprBench) -> None:
    bench.fence = {"newest_id": 0}
    assert find(bench, **bench.doubt) == ([], True)


class Listing:
    """A COPR that has these builds, newest first; ``configs`` are their source-build-configs."""

    def __init__(self, tmp_path: Path, rows: list[Any], configs: dict[int, Any] | None = None) -> None:
        self.rows, self.configs = rows, configs or {}
        self.before_page: dict[int, Any] = {}
        self.pages = 0
        self.server = OddServer(self.answer)
        self.system = copr_at(tmp_path, self.server.url)

    def answer(self, asked: Asked) -> Told:
        query = dict(asked.query)
        if asked.path.startswith("/api_3/build/source-build-config/"):
            config = self.configs.get(int(asked.path.rpartition("/")[2]), Told({"error": "no"}, 404))
            return config if isinstance(config, Told) else Told(config)
        self.pages += 1
        if self.pages in self.before_page:
            self.rows = self.before_page[self.pages](self.rows)
        offset, limit = int(query.get("offset", 0)), int(query["limit"])
        return Told({"items": self.rows[offset : offset + limit], "meta": {}})

    def find(self, **fence: Any) -> tuple[list[int], bool]:
        with self.server:
            found = self.system.find(copr_target("a/b"), KEY, {"newest_id": 0, "doubt_seconds": 99, **fence})
        return [int(ref.external_id) for ref in found.refs], found.certain


def row(number: int, url: str | None = "http://h/tmp/x/foreign-1-1.src.rpm", **more: Any) -> dict[str, Any]:
    return {"id": number, "state": "pending", "source_package": {"url": url}, "submitted_on": 1000, **more}


@pytest.mark.parametrize(
    "url",
    [
        f"http://h/tmp/tmpab/{NAME}",
        f"http://b/results/a/b/srpm-builds/00000007/{NAME}",
        f"{NAME}?x=1",
        f"http://[/{NAME}",
    ],
)
def test_the_base_name_of_the_address_is_the_key(tmp_path: Path, url: str) -> None:
    assert Listing(tmp_path, [row(8), row(7, url), row(6)]).find() == ([7], True)


@pytest.mark.parametrize(
    "url",
    [f"http://h/{NAME}.bak.src.rpm", f"http://h/{NAME}/other.src.rpm", f"http://h/x.src.rpm?{NAME}",
     "http://h/a.job-ab7x0123456789ab.src.rpm", "http://h/a.job-b7x0123456789abc.src.rpm"],
)  # fmt: skip
def test_other_names_are_not_ours(tmp_path: Path, url: str) -> None:
    assert Listing(tmp_path, [row(7, url)]).find() == ([], True)


@pytest.mark.parametrize("url", [None, "", "https://git.example/x.git", 5])
def test_a_build_without_a_telling_address_is_asked_what_it_was_made_from(tmp_path: Path, url: Any) -> None:
    ours = {"source_type": "upload", "source_dict": {"pkg": NAME}}
    scm = {"source_type": "scm", "source_dict": {"clone_url": "https://git.example/x.git"}}
    listing = Listing(tmp_path, [row(9, url), row(8, url), row(7)], {9: scm, 8: ours})
    assert listing.find() == ([8], True)
    asked = [one.path.rpartition("/")[2] for one in listing.server.asked if "config" in one.path]
    assert asked == ["9", "8"]


@pytest.mark.parametrize(
    ("config", "certain"),
    [(Told({"error": "gone"}, 404), True), (Told({"error": "bug"}, 500), False), (Told(b"<html>", 404), False),
     ({"source_dict": None}, False), ([1], False)],
)  # fmt: skip
def test_a_candidate_that_cannot_be_read_leaves_doubt(tmp_path: Path, config: Any, certain: bool) -> None:
    assert Listing(tmp_path, [row(7, None)], {7: config}).find() == ([], certain)


@pytest.mark.parametrize("odd", [{}, None, 5, {"id": None}, {"id": "7"}])
def test_an_odd_row_leaves_doubt_and_hides_nobody(tmp_path: Path, odd: Any) -> None:
    assert Listing(tmp_path, [odd, row(7)]).find() == ([], False)
    assert Listing(tmp_path, [odd, row(7, f"http://h/{NAME}")]).find() == ([7], False)


def test_old_builds_end_a_search_by_id_and_never_by_a_wrong_clock(tmp_path: Path) -> None:
    rows = [row(7, f"http://h/{NAME}"), row(6, f"http://h/{NAME}")]
    fence = {"newest_id": 6, "opened_at": "2099-01-01T00:00:00+00:00"}
    assert Listing(tmp_path, rows).find(**fence) == ([7], True)
    assert Listing(tmp_path, rows).find(newest_id=None, opened_at="2026-01-01T00:00:00+00:00") == ([], True)


def test_a_build_deleted_between_two_pages_leaves_doubt_or_is_bridged(tmp_path: Path) -> None:
    rows = [row(number) for number in range(120, 0, -1)]
    rows[51] = row(69, f"http://h/{NAME}")
    few = Listing(tmp_path, list(rows))
    few.before_page[2] = lambda all_rows: all_rows[4:]
    assert few.find() == ([69], True)
    many = Listing(tmp_path, list(rows))
    many.before_page[2] = lambda all_rows: all_rows[60:]
    assert many.find() == ([], False)


def test_a_search_is_bounded_and_says_so(tmp_path: Path) -> None:
    listing = Listing(tmp_path, [row(number) for number in range(3000, 0, -1)])
    assert listing.find() == ([], False)
    assert 10 < listing.pages < 60


@pytest.mark.parametrize(
    "body", [{}, {"version": 3}, {"items": {}}, {"items": None}, [], {"message": "slow"}]
)
def test_an_answer_that_is_no_list_proves_nothing(tmp_path: Path, body: Any) -> None:
    listing = Listing(tmp_path, [])
    listing.server.answer = lambda asked: Told(body)
    with pytest.raises(BuildSystemUnavailable):
        listing.find()


def test_a_new_project_has_our_chroots_and_grows_none_by_itself(bench: CoprBench) -> None:
    target = copr_target(bench.target.project, X86, "fedora-99-x86_64", description="d", additional_repos=[
        f"copr://{bench.target.project}", "https://example.com/repo/"])  # fmt: skip
    fence = bench.system.open(target)
    assert fence["chroots"] == [X86] and list(fence["dropped"]) == ["fedora-99-x86_64"]
    project = bench.system._client(5.0).project(*target.project.split("/"))
    assert set(project["chroot_repos"]) == {X86}
    assert project["follow_fedora_branching"] is False and project["description"] == "d"
    assert project["additional_repos"] == ["https://example.com/repo/"]


def test_chroots_are_added_and_never_dropped(bench: CoprBench) -> None:
    bench.system.open(copr_target(bench.target.project, RAWHIDE))
    bench.system.open(bench.target)
    assert chroots(bench) == {X86, ARM, RAWHIDE}
    before = len(bench.farm.requests())
    bench.system.open(bench.target)
    # A project that is ready is read and left alone.
    assert {one["method"] for one in bench.farm.requests()[before:]} == {"GET"}


def test_a_chroot_at_its_end_of_life_blocks_no_addition(bench: CoprBench) -> None:
    bench.system.open(copr_target(bench.target.project, RAWHIDE))
    bench.farm.deactivate(RAWHIDE)
    fence = bench.system.open(bench.target)
    assert fence["chroots"] == [X86, ARM] and {X86, ARM} <= chroots(bench)


@pytest.mark.parametrize(
    ("fault", "path", "options"),
    [
        ("bare_500", EDIT, {}),
        ("bare_500", EDIT, {"when": "after"}),
        ("conflict", EDIT, {}),
        ("answer_lost", EDIT, {}),
        ("bad_gateway", EDIT, {}),
        ("answer_lost", ADD, {}),
        (
            "answer",
            ADD,
            {"status": 400, "json": {"error": "Copr 'p/x' has not been created (race condition)"}},
        ),
        ("answer", ADD, {"status": 400, "json": {"error": "name: You already have a project named 'x'."}}),
    ],
)
def test_what_counts_is_what_is_read_back(bench: CoprBench, fault: str, path: str, options: Any) -> None:
    if path == EDIT:
        bench.system.open(copr_target(bench.target.project, RAWHIDE))
    bench.farm.fault(fault, path, times=2, **options)
    bench.system.open(bench.target)
    assert {X86, ARM} <= chroots(bench)


@pytest.mark.parametrize(
    ("fault", "error", "word"),
    [("forbidden", NeedsPerson, "may not add"), ("expired_token", NeedsPerson, "token"),
     ("bare_500", BuildSystemUnavailable, "rounds")],
)  # fmt: skip
def test_a_project_that_cannot_be_set_up_says_why(
    bench: CoprBench, fault: str, error: Any, word: str
) -> None:
    bench.farm.fault(fault, ADD, times=None)
    with pytest.raises(error, match=word):
        bench.system.open(bench.target)


def test_a_form_error_of_the_project_refuses(bench: CoprBench) -> None:
    with pytest.raises(SubmissionRefused, match="repos"):
        bench.system.open(copr_target(bench.target.project, X86, additional_repos=["copr://nobody/nothing"]))


def test_a_group_that_is_missing_needs_a_person(bench: CoprBench) -> None:
    with pytest.raises(NeedsPerson, match="cannot be set up"):
        bench.system.open(copr_target("@nobody/demo"))
    bench.write_login(bench.farm.account("packbot", "@containers"))
    target = copr_target(f"@containers/{bench.target.project.partition('/')[2]}")
    ref = bench.system.submit(bench.work, target, KEY, bench.system.open(target))
    assert bench.system.poll([ref])[ref].vendor_state == "pending"


def test_workers_that_want_different_chroots_all_get_them(bench: CoprBench) -> None:
    names = [X86, ARM, RAWHIDE]

    def open_one(name: str) -> None:
        bench.another().open(copr_target(bench.target.project, name))

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=open_one, args=(name,), daemon=True) for name in names * 2]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0] * 6
    assert chroots(bench) == set(names)


def test_a_lock_that_is_never_released_ends_in_words(bench: CoprBench) -> None:
    system = bench.another(setup_timeout=0.6)
    system.open(bench.target)
    (lock,) = (bench.state_dir / "locks").iterdir()
    bench.farm.only_chroots(X86, ARM, RAWHIDE)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        began = time.monotonic()
        with pytest.raises(BuildSystemUnavailable, match="another worker"):
            system.open(copr_target(bench.target.project, RAWHIDE))
        assert time.monotonic() - began < 30
    system.open(copr_target(bench.target.project, RAWHIDE))


def test_lost_locks_and_threads_do_no_harm(bench: CoprBench) -> None:
    bench.system.open(bench.target)
    shutil.rmtree(bench.state_dir / "locks")
    wanted = copr_target(bench.target.project, RAWHIDE)
    threads = [threading.Thread(target=bench.system.open, args=(wanted,), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert chroots(bench) == {X86, ARM, RAWHIDE}
