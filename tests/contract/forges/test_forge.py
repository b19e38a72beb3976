"""Tests the port to a forge at the sandbox's Pagure and Forgejo with the same functions, through the real ogr."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.forge.dist_git import DistGit
from sandbox.testing import Farm
from service.domain.distgit import ForgeKind, ForgePolicy, PullRequest, PullState
from tests.servers import free_port
from workers.distgit.git import Author, BranchMoved, Credential, GitTrouble, Repository, remote_branches
from workers.forges import (
    Forge,
    ForgeConfig,
    ForgeError,
    ForgeMissing,
    ForgeRefused,
    ForgeUnavailable,
    Proposal,
    connect,
)
from workers.forges.through_ogr import STATES

BRANCH = "f44"
ME = Author("cryopack", "cryopack@localhost.localdomain")
THEN = datetime(2026, 11, 26, tzinfo=UTC)
CREATION = {ForgeKind.PAGURE: "/pagure/*/pull-request/new", ForgeKind.FORGEJO: "/forgejo/*/pulls"}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with Farm(tmp_path_factory.mktemp("forge") / "farm", publish="none") as running:
        yield running


class Bench:
    """One forge with a package of this test's own, and a copy of its repository to make commits in."""

    def __init__(self, farm: Farm, kind: ForgeKind, folder: Path) -> None:
        self.farm, self.kind, self.package = farm, kind, f"cri-o-{folder.name}"
        self.grants = DistGit(farm.state_dir / "dist-git")
        self.grants.grant(self.package, BRANCH)
        self.fork_url = farm.forge.fork_pattern.format(user="packbot", package=self.package)
        self.copy = Repository(folder / "copy.git", f"file://{self.grants.path(self.package)}")
        self.copy.fetch()
        self.forge = self.connect()

    def connect(self, *, url: str = "", seconds: float = 5.0) -> Forge:
        """The forge, connected anew."""
        where = ForgePolicy(self.kind, url or f"{self.farm.mirror_url}/{self.kind}", self.fork_url)
        return connect(ForgeConfig(where, "rpms", self.farm.forge.token, seconds))

    def push(self, branch: str, text: str = "one\n", expected: str = "") -> str:
        """A commit in a branch of the fork; its id."""
        commit = self.copy.write_commit(self.copy.head(BRANCH), {"file": text}, "A change\n", ME, THEN)
        credential = Credential("packbot", self.farm.forge.token)
        self.copy.replace(self.fork_url, commit, branch, expected=expected, credential=credential)
        return commit

    def proposal(self, branch: str) -> Proposal:
        """A pull request from a branch that holds something."""
        self.forge.fork(self.package)
        self.push(branch, f"{branch}\n")
        return Proposal(branch, BRANCH, f"The title of {branch}", "The *text*\n\n```\nfile | 1 +\n```\n")

    def creations(self) -> int:
        """How many requests to open a pull request have arrived."""
        path = CREATION[self.kind].partition("*")[0]
        seen = self.farm.requests("POST", path)
        return len([one for one in seen if one["path"].endswith(("/pull-request/new", "/pulls"))])


@pytest.fixture(params=list(ForgeKind))
def bench(request: pytest.FixtureRequest, farm: Farm, tmp_path: Path) -> Iterator[Bench]:
    yield Bench(farm, request.param, tmp_path)
    farm.clear_faults()
    farm.forge.account()


def test_from_the_fork_to_the_merge(bench: Bench) -> None:
    forge, package = bench.forge, bench.package
    assert forge.user() == "packbot"
    proposal = bench.proposal("cryopack-b1")
    forge.fork(package)
    assert remote_branches(bench.fork_url)[BRANCH] == bench.copy.head(BRANCH)
    assert forge.find(package, "cryopack-b1") == ()
    opened = forge.open(package, proposal)
    assert opened.state is PullState.OPEN and opened.number == 1 and opened.merge_commit == ""
    assert f"/rpms/{package}/pull" in opened.url
    (seen,) = bench.farm.forge.pulls(package)
    assert (seen["title"], seen["text"].strip()) == (proposal.title, proposal.text.strip())
    assert (seen["branch"], seen["branch_from"]) == (BRANCH, "cryopack-b1")
    assert forge.find(package, "cryopack-b1") == (opened,) and forge.find(package, "another") == ()
    for _ in range(2):
        forge.comment(package, 1, "Said once")
    assert bench.farm.forge.pulls(package)[0]["comments"] == ["Said once"]
    merged = bench.farm.forge.merge(package, 1, "squash", delete=True)
    assert "cryopack-b1" not in remote_branches(bench.fork_url)
    found = forge.get(package, 1)
    assert (found.state, found.closed_by) == (PullState.MERGED, "maintainer")
    assert found.merge_commit == ("" if bench.kind is ForgeKind.PAGURE else merged)
    assert forge.find(package, "cryopack-b1") == (found,)


def test_closed_by_us_and_found_among_many(bench: Bench) -> None:
    forge, package = bench.forge, bench.package
    bench.proposal("cryopack-b1")
    first = forge.open(package, bench.proposal("cryopack-b0"))
    # More than a page of them, of either forge.
    for _ in range(31):
        bench.farm.forge.open_another(package, first.number)
    last = forge.open(package, Proposal("cryopack-b1", BRANCH, "t", "x"))
    assert [pull.number for pull in forge.find(package, "cryopack-b1")] == [last.number]
    assert [pull.number for pull in forge.find(package, "cryopack-b0")] == list(range(1, 33))
    for _ in range(2):
        forge.close(package, last.number)
    assert forge.get(package, last.number).state is PullState.CLOSED


def test_a_request_is_sent_once_whatever_the_answer(bench: Bench) -> None:
    forge, package = bench.forge, bench.package
    proposal = bench.proposal("cryopack-b1")
    before = bench.creations()
    path = CREATION[bench.kind]
    faults = {"dropped": {}, "answer": {"status": 503, "json": {}}, "hang": {"seconds": 2.0}}
    for kind, options in faults.items():
        bench.farm.fault(kind, path, method="POST", **options)
        quick = bench.connect(seconds=0.5) if kind == "hang" else forge
        with pytest.raises(ForgeUnavailable):
            quick.open(package, proposal)
    assert bench.creations() - before == 3
    bench.farm.fault("answer_lost", path, method="POST")
    with pytest.raises(ForgeUnavailable):
        forge.open(package, proposal)
    assert bench.creations() - before == 4
    assert [pull.number for pull in forge.find(package, "cryopack-b1")] == [1]
    if bench.kind is ForgeKind.FORGEJO:
        with pytest.raises(ForgeUnavailable, match="409"):
            forge.open(package, proposal)


def _asks(bench: Bench) -> dict[str, Callable[[], object]]:
    return {
        "get": lambda: bench.forge.get(bench.package, 1),
        "find": lambda: bench.forge.find(bench.package, "b"),
        "comment": lambda: bench.forge.comment(bench.package, 1, "hello"),
        "close": lambda: bench.forge.close(bench.package, 1),
        "fork": lambda: bench.forge.fork(bench.package),
    }


def test_errors_say_who_and_what_and_no_secret(bench: Bench) -> None:
    forge, package, token = bench.forge, bench.package, bench.farm.forge.token
    with pytest.raises(ForgeMissing, match=f"pull request #7 of {package}"):
        forge.get(package, 7)
    with pytest.raises(ForgeMissing, match="the pull requests of nothing"):
        forge.find("nothing", "b")
    bench.farm.forge.account(forks=False)
    with pytest.raises(ForgeRefused, match="fork"):
        forge.fork(package)
    bench.farm.forge.account(expired=True)
    for ask in (lambda: forge.fork(package), lambda: bench.connect().user()):
        with pytest.raises(ForgeRefused, match="does not accept our token") as refused:
            ask()
        assert token not in str(refused.value) and "\n" not in str(refused.value)
    for status in (500, 502, 429):
        bench.farm.fault("answer", f"/{bench.kind}/*", times=None, status=status, body="<html>sorry</html>")
        for name, ask in _asks(bench).items():
            with pytest.raises(ForgeUnavailable) as away:
                ask()
            assert token not in str(away.value) and bench.farm.mirror_url in str(away.value), name
        bench.farm.clear_faults()
    bench.farm.fault("answer", f"/{bench.kind}/*", times=None, status=200, body="<html>a proxy</html>")
    for ask in _asks(bench).values():
        with pytest.raises(ForgeUnavailable):
            ask()
    bench.farm.clear_faults()
    bench.farm.fault(
        "answer", f"/{bench.kind}/*", times=None, status=302, body="", headers={"Location": "/elsewhere"}
    )
    with pytest.raises(ForgeError):
        forge.find(package, "b")
    assert not bench.farm.requests(path="/elsewhere")
    bench.farm.clear_faults()
    with pytest.raises(ForgeUnavailable, match="not to be reached"):
        bench.connect(url=f"http://127.0.0.1:{free_port()}").user()
    assert token not in repr(ForgeConfig(ForgePolicy(bench.kind, "u", "f"), "rpms", token, 1.0))


def test_a_push_needs_the_token_and_the_expected_commit(farm: Farm, tmp_path: Path) -> None:
    bench = Bench(farm, ForgeKind.PAGURE, tmp_path)
    bench.forge.fork(bench.package)
    first = bench.push("cryopack-b1")
    with pytest.raises(BranchMoved):
        bench.push("cryopack-b1", "two\n", expected="")
    second = bench.push("cryopack-b1", "two\n", expected=first)
    assert remote_branches(bench.fork_url)["cryopack-b1"] == second
    for wrong in (Credential("packbot", "wrong"), Credential("maintainer", farm.forge.token)):
        with pytest.raises(GitTrouble) as refused:
            bench.copy.replace(bench.fork_url, first, "cryopack-b1", expected=second, credential=wrong)
        assert wrong.token not in str(refused.value) and wrong.token not in repr(wrong)
    not_ours = bench.fork_url.replace("/forks/packbot", "")
    credential = Credential("packbot", farm.forge.token)
    with pytest.raises(GitTrouble, match="403"):
        bench.copy.replace(not_ours, first, "f99", expected="", credential=credential)


def test_the_token_is_in_no_argument_of_git(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(farm, ForgeKind.PAGURE, tmp_path)
    bench.forge.fork(bench.package)
    seen: list[list[str]] = []
    real = subprocess.run

    def watching(command: list[str], **options: object) -> object:
        seen.append(command)
        return real(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", watching)
    bench.push("cryopack-b1")
    pushes = [command for command in seen if "push" in command]
    assert pushes and not any(farm.forge.token in word for command in pushes for word in command)


def test_the_library_reads_no_file_with_settings(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_KEY=from-a-file\n")
    ask = "import pyforgejo, os; pyforgejo.PyforgejoApi; print(os.environ.get('API_KEY'))"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHON_DOTENV_DISABLED"}
    told = [
        subprocess.run(
            [sys.executable, "-c", first + ask], capture_output=True, text=True, check=True, cwd=tmp_path,
            env={**clean, "PYTHONPATH": str(Path(__file__).parents[3])},
        ).stdout.strip()
        for first in ("", "import workers.forges; ")
    ]  # fmt: skip
    assert told == ["from-a-file", "None"]


class Endless(BaseHTTPRequestHandler):
    """A forge that answers without an end: at once and much, or byte by byte."""

    def do_GET(self) -> None:
        piece = b" " if "drip" in self.path else b" " * 65536
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        with suppress(OSError):
            for _ in range(2000):
                self.wfile.write(piece)
                self.wfile.flush()
                if len(piece) == 1:
                    time.sleep(0.02)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("kind", ForgeKind)
@pytest.mark.parametrize("how", ["much", "drip"])
def test_an_answer_without_an_end_is_cut(kind: ForgeKind, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{how}"
        forge = connect(ForgeConfig(ForgePolicy(kind, url, "https://x/{user}/{package}"), "rpms", "t", 0.05))
        try:
            with pytest.raises(ForgeUnavailable, match=r"an answer|not to be reached"):
                forge.user()
        finally:
            server.shutdown()


def test_what_a_forge_says_of_a_pull_request_is_cut_to_what_it_can_be() -> None:
    where = ForgePolicy(ForgeKind.FORGEJO, "http://127.0.0.1:1", "https://x/{user}/{package}")
    forge: Any = connect(ForgeConfig(where, "rpms", "t", 1.0))
    merged = next(status for status, state in STATES.items() if state is PullState.MERGED)

    def seen(merge: object) -> PullRequest:
        raw = SimpleNamespace(
            id=1, url="http://x\ny", status=merged, merge_commit_sha=merge, closed_by="m\n" * 99
        )
        return forge._read(raw)

    assert (
        seen("--output=/x")
        == seen("f" * 65)
        == seen(None)
        == PullRequest(1, "http://x", PullState.MERGED, "", "m")
    )
    assert seen("f" * 40).merge_commit == "f" * 40
