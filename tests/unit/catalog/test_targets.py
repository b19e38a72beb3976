"""Rows for several branches: the targets that they make, and each mistake named with file, line and key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import service.catalog
from service.catalog import load
from service.domain.errors import BadCatalog
from service.domain.planning import BuildTarget
from workers.machine.bootstrap import for_one_branch

BUILT_IN = Path(service.catalog.__file__).parent
# The built-in targets as they were written when a row had one branch.
TWELVE = Path(__file__).parent / "twelve_targets.toml"
SETTINGS = {
    "copr_owner": "@crio",
    "koji_profile": "fedora",
    "distgit_url": "https://src.fedoraproject.org/",
    "distgit_push_url": "ssh://bot@pkgs.fedoraproject.org",
}


@pytest.mark.parametrize("named", [["copr_owner"], ["copr_owner", "koji_profile"], list(SETTINGS)])
def test_three_rows_make_the_targets_that_twelve_rows_made(tmp_path: Path, named: list[str]) -> None:
    settings = {name: SETTINGS[name] for name in named}
    shutil.copytree(BUILT_IN, tmp_path / "old", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copy(TWELVE, tmp_path / "old" / "targets.toml")
    old, new = load(tmp_path / "old", **settings), load(None, **settings)
    assert new.targets == old.targets
    assert len(new.targets) == 4 * len(named) if len(named) < 3 else 12
    assert new.branches == old.branches and new.systems == old.systems


@pytest.mark.parametrize("branch", ["f43", "f44", "f45", "rawhide"])
def test_the_built_in_rows_cut_down_to_one_branch_make_that_branch_s_targets(
    tmp_path: Path, branch: str
) -> None:
    shutil.copytree(BUILT_IN, tmp_path / "own", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    path = tmp_path / "own" / "targets.toml"
    head, *rows = path.read_text().split("[[target]]\n")
    path.write_text("[[target]]\n".join([head, *(for_one_branch(row, branch) for row in rows)]))
    assert load(tmp_path / "own", **SETTINGS).targets == tuple(
        target for target in load(None, **SETTINGS).targets if target.branch.name == branch
    )


HEAD = """
systems = ["copr", "koji"]
rawhide = 46
[branches.f44]
[branches.f45]
[branches.rawhide]
[[target]]
id = "f44-old"
branch = "f44"
system = "copr"
project = "{owner}/old"
families = ["cri-o"]
"""
ROW = """
[[target]]
id = "{branch}-new"
branches = ["f44", "f45", "rawhide"]
system = "koji"
project = "{profile}"
chroots = ["fedora-{chroot_branch}-x86_64"]
families = ["cri-o"]
style = "dist-git"
side_tag = "{branch}-set"
options = { koji_target = "{branch}-candidate", scratch = false, deep = { list = ["{chroot_branch}", 1] } }
[target.per_branch.f45]
deadline_hours = 6
chroots = ["fedora-{chroot_branch}-s390x"]
[target.per_branch.rawhide]
enabled = false
side_tag = "f44-set"
options = { koji_target = "{branch}" }
dist_git = { namespace = "{branch}" }
[target.per_branch.rawhide.shipped]
stable = ["f46"]
[target.dist_git]
repository = "https://dist-git.example/{branch}/{package}"
direct_push = ["cri-o1.35"]
[target.shipped]
candidate = ["{branch}-candidate"]
testing = ["f{chroot_branch}-testing"]
stable = ["{branch}"]
"""
SETS = """
[[side_tag_set]]
id = "f44-set"
families = ["cri-o"]
[[side_tag_set]]
id = "f45-set"
families = ["cri-o"]
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A copy of the catalogue whose targets are a row for one branch and a row for three."""
    shutil.copytree(BUILT_IN, tmp_path / "own", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (tmp_path / "own" / "targets.toml").write_text(HEAD + ROW + SETS)
    return tmp_path / "own"


def made(own: Path) -> dict[str, BuildTarget]:
    return {target.id: target for target in load(own, copr_owner="me", koji_profile="fedora").targets}


def test_a_row_makes_a_target_for_each_branch_with_what_differs_there(own: Path) -> None:
    targets = made(own)
    assert list(targets) == ["f44-old", "f44-new", "f45-new", "rawhide-new"]
    f44, f45, rawhide = (targets[f"{name}-new"] for name in ("f44", "f45", "rawhide"))
    assert [target.branch.number for target in (f44, f45, rawhide)] == [44, 45, 46]
    assert (f44.chroots, f45.chroots, rawhide.chroots) == (
        ("fedora-44-x86_64",), ("fedora-45-s390x",), ("fedora-rawhide-x86_64",),
    )  # fmt: skip
    assert [target.deadline.total_seconds() / 3600 for target in (f44, f45, rawhide)] == [24, 6, 24]
    assert [target.enabled for target in (f44, f45, rawhide)] == [True, True, False]
    assert f44.options == {"koji_target": "f44-candidate", "scratch": False, "deep": {"list": ["44", 1]}}
    assert rawhide.options == {"koji_target": "rawhide", "scratch": False, "deep": {"list": ["rawhide", 1]}}
    assert [target.side_tag and target.side_tag.set_id for target in (f44, f45, rawhide)] == [
        "f44-set", "f45-set", "f44-set",
    ]  # fmt: skip
    assert f44.dist_git and f44.dist_git.repository_url("x") == "https://dist-git.example/f44/x"
    assert rawhide.dist_git and rawhide.dist_git.repository_url("x") == "https://dist-git.example/rawhide/x"
    assert (f44.dist_git.namespace, rawhide.dist_git.namespace) == ("rpms", "rawhide")
    assert rawhide.dist_git.direct_push == ("cri-o1.35",)
    assert f45.stages and f45.stages.as_json() == {
        "candidate": ["f45-candidate"], "testing": ["f45-testing"], "stable": ["f45"],
    }  # fmt: skip
    assert rawhide.stages and rawhide.stages.as_json()["stable"] == ["f46"]


BRANCHES = 'branches = ["f44", "f45", "rawhide"]'
ID = 'id = "{branch}-new"'


@pytest.mark.parametrize(
    ("old", "new", "line", "complaint"),
    [
        (f"{BRANCHES}\n", "", "[[target]]",
         'target[2].branch: is missing: give either branch = "f44" or branches = ["f44", "rawhide"]'),
        (BRANCHES, f'branch = "f44"\n{BRANCHES}', BRANCHES,
         'target[2].branches: give either branch = "f44" or branches = ["f44", "rawhide"], not both'),
        (BRANCHES, "branches = []", None, "target[2].branches: must name a branch"),
        (BRANCHES, 'branches = "f44"', None, "target[2].branches: must be a list"),
        (BRANCHES, 'branches = ["f44", "f45", "f44"]', None, "target[2].branches: names something twice"),
        (BRANCHES, 'branches = ["f44", "f41"]', None, "target[2].branches: unknown branch 'f41'"),
        ('branch = "f44"', 'branch = "f41"', None, "target[1].branch: unknown branch 'f41'"),
        (BRANCHES, 'branches = ["f44", "f45"]', "[target.per_branch.rawhide]",
         "target[2].per_branch.rawhide: the row does not name this branch; it names f44, f45"),
        ("[target.per_branch.f45]\n", "[target.per_branch]\nf45 = 1\n[target.per_branch.f44]\n", "f45 = 1",
         "target[2].per_branch.f45: must be a table"),
        (ID, 'id = "new"', None, "target[2].id: must hold {branch}"),
        (ID, 'id = "f{chroot_branch}-new"', None, "target[2].id: must hold {branch}"),
        (ID, 'id = "{branch}-{arch}"', None, "target[2].id: may hold only {branch}, {chroot_branch} in braces"),
        (ID, 'id = "{branch!r}-new"', None, "target[2].id: may hold only {branch}, {chroot_branch} in braces"),
        (ID, 'id = "{branch"', None, "target[2].id: unbalanced braces"),
        (ID, 'id = "{branch} new"', None, "target[2].id: 'f44 new' does not have the expected form"),
        (ID, 'id = "{branch}-old"', None, "target[2].id: 'f44-old' is there twice"),
        ("deadline_hours = 6", 'id = "f44-new"', None, "target[2].per_branch.f45.id: cannot differ from the row's"),
        ('id = "f44-old"', 'id = "f44-new"', ID, "target[2].id: 'f44-new' is there twice"),
        ("fedora-{chroot_branch}-x86", "fedora-{chroot}-x86", 'chroots = ["fedora-{chroot}-x86_64"]',
         "target f44-new.chroots: may hold only {branch}, {chroot_branch} in braces"),
        ("{branch}-candidate\", scr", "{}-candidate\", scr", "options",
         "target f44-new.options: may hold only {branch}"),
        ('list = ["{chroot_branch}"', 'list = ["{x}"', "options", "target f44-new.options: may hold only {branch}"),
        ("{owner}/old", "{owner}/{arch}", None,
         "target f44-old.project: may hold only {branch}, {chroot_branch}, {owner}, {profile} in braces"),
        ("git.example/{branch}", "git.example/{arch}", None,
         "target f44-new.dist_git.repository: may hold only {branch}"),
        ('["f{chroot_branch}-testing"]', '["{arch}"]', None, "target f44-new.shipped.testing: may hold only {branch}"),
        ("deadline_hours = 6", "deadline_hours = 0", None, "target f45-new.deadline_hours: must be a whole number"),
        ("deadline_hours = 6", 'strategy = "best"', None, "target f45-new.strategy: unknown strategy 'best'"),
        ("deadline_hours = 6", 'branch = "f44"', None,
         "target[2].per_branch.f45.branch: cannot differ from the row's"),
        ("deadline_hours = 6", "deadlines = 6", None, "target f45-new.deadlines: unknown key"),
        ("deadline_hours = 6", "style = 6", None, "target f45-new.style: must be a text, not 6"),
        ('stable = ["f46"]', "stable = []", None, "target rawhide-new.shipped.stable: must name at least one tag"),
        ("fedora-{chroot_branch}-s390x", "fedora-44-s390x", None,
         "target f45-new.chroots: fedora-44-s390x is not a chroot of branch f45"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_line_and_key(
    own: Path, old: str, new: str, line: str | None, complaint: str
) -> None:
    path = own / "targets.toml"
    text = path.read_text()
    assert text.count(old) == 1, text.count(old)
    path.write_text(text.replace(old, new))
    with pytest.raises(BadCatalog) as caught:
        made(own)
    said = str(caught.value)
    file, number, rest = said.split(":", 2)
    assert file == "targets.toml" and "\n" not in said
    assert rest.strip().startswith(complaint)
    assert (line or new) in path.read_text().splitlines()[int(number) - 1]
