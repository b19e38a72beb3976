"""targets.toml: rows for several branches, dist-git, side tags; each mistake is named with file, line and key."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from service.catalog import load
from service.domain.distgit import Delivery, DistGitPolicy, ForgeKind
from service.domain.errors import BadCatalog
from service.domain.planning import BuildTarget
from service.domain.shipping import fedora_tags
from service.domain.side_tags import SideTagPolicy
from workers.machine.bootstrap import for_one_branch

# The built-in targets as they were written when a row had one branch.
TWELVE = Path(__file__).parent / "twelve_targets.toml"
SETTINGS = {
    "copr_owner": "@crio",
    "koji_profile": "fedora",
    "distgit_url": "https://src.fedoraproject.org/",
    "distgit_push_url": "ssh://bot@pkgs.fedoraproject.org",
}


@pytest.mark.parametrize(("given", "count"), [(1, 4), (2, 8), (4, 12)])
def test_three_rows_make_the_targets_that_twelve_rows_made(own: Path, given: int, count: int) -> None:
    settings = dict(list(SETTINGS.items())[:given])
    shutil.copy(TWELVE, own / "targets.toml")
    old, new = load(own, **settings), load(None, **settings)
    assert new.targets == old.targets
    assert len(new.targets) == count
    assert new.branches == old.branches and new.systems == old.systems


@pytest.mark.parametrize("branch", ["f43", "f44", "f45", "rawhide"])
def test_the_built_in_rows_cut_down_to_one_branch_make_that_branch_s_targets(own: Path, branch: str) -> None:
    path = own / "targets.toml"
    head, *rows = path.read_text().split("[[target]]\n")
    path.write_text("[[target]]\n".join([head, *(for_one_branch(row, branch) for row in rows)]))
    assert load(own, **SETTINGS).targets == tuple(
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
def two_rows(own: Path) -> Path:
    """A catalogue whose targets are a row for one branch and a row for three."""
    (own / "targets.toml").write_text(HEAD + ROW + SETS)
    return own


def made(own: Path) -> dict[str, BuildTarget]:
    return {target.id: target for target in load(own, copr_owner="me", koji_profile="fedora").targets}


def test_a_row_makes_a_target_for_each_branch_with_what_differs_there(two_rows: Path) -> None:
    targets = made(two_rows)
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
         "target f44-new.options.koji_target: may hold only {branch}"),
        ('list = ["{chroot_branch}"', 'list = ["{x}"', "options",
         "target f44-new.options.deep.list: may hold only {branch}"),
        ('list = ["{chroot_branch}"', '"{branch}" = ["{chroot_branch}"', "options",
         "target f44-new.options.deep: '{branch}': placeholders stand in values, not in keys"),
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
    two_rows: Path, old: str, new: str, line: str | None, complaint: str
) -> None:
    path = two_rows / "targets.toml"
    text = path.read_text()
    assert text.count(old) == 1, text.count(old)
    path.write_text(text.replace(old, new))
    with pytest.raises(BadCatalog) as caught:
        made(two_rows)
    said = str(caught.value)
    file, number, rest = said.split(":", 2)
    assert file == "targets.toml" and "\n" not in said
    assert rest.strip().startswith(complaint)
    assert (line or new) in path.read_text().splitlines()[int(number) - 1]


def test_a_target_that_is_wrong_is_named_with_its_line(own: Path) -> None:
    path = own / "targets.toml"
    path.write_text(path.read_text().replace('"fedora-{chroot_branch}-aarch64"', '"fedora-43-aarch64"'))
    number = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if "fedora-43-aarch64" in line)
    with pytest.raises(BadCatalog, match=rf"^targets\.toml:{number}: target f44-copr\.chroots: "):
        load(own, copr_owner="x")


@pytest.fixture
def with_examples(own: Path) -> Path:
    """The targets.toml of a catalogue in which the commented examples for dist-git targets are in force."""
    file = own / "targets.toml"
    text = file.read_text()
    for start, lines in (("# direct_push = ", 1), ("# [target.shipped]", 4)):
        for line in text[text.index(start) :].splitlines()[:lines]:
            text = text.replace(line, line.removeprefix("# "))
    file.write_text(text)
    return file


def dist_git(with_examples: Path) -> DistGitPolicy:
    catalog = load(with_examples.parent, **SETTINGS)
    found = catalog.target("f44-dist-git")
    assert found is not None and found.dist_git is not None
    return found.dist_git


def test_a_target_of_fedoras(with_examples: Path) -> None:
    found = dist_git(with_examples)
    assert found.repository_url("cri-o1.35") == "https://src.fedoraproject.org/rpms/cri-o1.35"
    assert found.lookaside == "https://src.fedoraproject.org/repo/pkgs/upload.cgi"
    assert found.delivery("cri-o1.35") is Delivery.PUSH
    assert found.delivery("cri-o1.36") is Delivery.PULL_REQUEST
    assert found.forge is not None and found.forge.kind is ForgeKind.PAGURE
    assert found.forge.url == "https://src.fedoraproject.org"
    assert found.forge.fork_url("bot", "cri-o1.36") == (
        "https://src.fedoraproject.org/forks/bot/rpms/cri-o1.36.git"
    )
    assert found.forge.fork_push_url("bot", "cri-o1.36") == (
        "ssh://bot@pkgs.fedoraproject.org/forks/bot/rpms/cri-o1.36.git"
    )
    assert DistGitPolicy.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_the_tags_that_the_example_names_are_those_without_one(with_examples: Path) -> None:
    catalog = load(with_examples.parent, **SETTINGS)
    named = {target.id: target.stages for target in catalog.targets if target.stages}
    assert list(named) == ["f43-dist-git", "f44-dist-git", "f45-dist-git", "rawhide-dist-git"]
    assert [named[f"f{number}-dist-git"] for number in (43, 44, 45)] == [fedora_tags(n) for n in (43, 44, 45)]


def test_official_builds_are_off_until_dist_git_and_a_profile_are_known() -> None:
    places = {name: SETTINGS[name] for name in ("distgit_url", "distgit_push_url")}

    def official(**given: str) -> list[str]:
        catalog = load(None, copr_owner="me", **given)
        return [target.id for target in catalog.targets if target.dist_git]

    assert official() == official(koji_profile="fedora") == official(**places) == []
    assert official(koji_profile="fedora", **places) == [
        "f43-dist-git", "f44-dist-git", "f45-dist-git", "rawhide-dist-git",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("{distgit}/rpms/{package}", "{distgit}/rpms/x", "must hold {package}"),
        ("{distgit}/rpms/{package}", "ext::sh -c {package}", "must be an https"),
        ("{distgit}/rpms/{package}", "{place}/rpms/{package}", "may hold only"),
        ('lookaside = "{distgit}', 'lookaside = "ssh://src', "must be an https or http"),
        ('forge_url = "{distgit}"', 'forge_url = "https://me:secret@src.example"', "not hold a password"),
        ("{distgit}/rpms/{package}", "https://token@src.example/{package}", "not hold a password"),
        ("direct_push", "direct", "unknown key"),
        ('forge = "pagure"', 'forge = "github"', "must be one of pagure, forgejo"),
        ('forge = "pagure"\n', "", "unknown key"),
        ('forge_url = "{distgit}"', 'forge_url = "{distgit_push}"', "must be an https or http"),
        (
            'forks/{user}/rpms/{package}.git"\nfork_push',
            'forks/me/rpms/{package}.git"\nfork_push',
            "must hold",
        ),
        (
            'candidate = ["{branch}-updates-candidate", "{branch}-signing-pending"]',
            "candidate = []",
            "at least one tag",
        ),
        ('["{branch}-updates", "{branch}"]', '["f44 updates"]', "is no name of a tag"),
        (
            '["{branch}-updates", "{branch}"]',
            '["f43-updates-testing"]',
            "the tag f43-updates-testing means two",
        ),
        ("stable = ", "released = ", "stable: is missing"),
        ('style = "dist-git"\ndeadline', 'style = "srpm"\ndeadline', "needs the style dist-git"),
    ],
)
def test_a_wrong_key_of_a_dist_git_target_is_named(
    with_examples: Path, old: str, new: str, complaint: str
) -> None:
    head, mark, example = with_examples.read_text().rpartition("[[target]]")
    assert old in example
    with_examples.write_text(head + mark + example.replace(old, new))
    with pytest.raises(BadCatalog, match=complaint):
        dist_git(with_examples)


SET = '[[side_tag_set]]\nid = "kubernetes"\nfamilies = ["kubernetes", "cri-tools", "cri-o"]\n'
TARGET = """
[[target]]
id = "f44-sets"
branch = "f44"
system = "koji"
project = "{profile}"
chroots = ["fedora-44-x86_64"]
families = ["cri-o", "kubernetes"]
style = "dist-git"
side_tag = "kubernetes"
options = { koji_target = "f44-candidate", scratch = false }
[target.dist_git]
repository = "https://src.fedoraproject.org/rpms/{package}"
"""


def test_the_example_is_a_set_and_nothing_uses_it_by_itself(own: Path) -> None:
    file = own / "targets.toml"
    text = file.read_text()
    example = "".join(f"# {line}\n" for line in SET.splitlines())
    assert example in text
    file.write_text(text + SET + TARGET)
    catalog = load(own, copr_owner="me", koji_profile="fedora")
    assert catalog.side_tag_sets == {
        "kubernetes": SideTagPolicy("kubernetes", ("kubernetes", "cri-tools", "cri-o"))
    }
    assert [target.id for target in catalog.targets if target.side_tag] == ["f44-sets"]
    built_in = load(None, copr_owner="me", koji_profile="fedora")
    assert built_in.side_tag_sets == {} and not any(target.side_tag for target in built_in.targets)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('id = "kubernetes"', 'id = "Kubernetes!"', r"targets\.toml:\d+: side_tag_set\[1\]\.id: .* expected form"),
        ('"cri-tools", "cri-o"]', '"cri-toolz", "cri-o"]', r"families: unknown family 'cri-toolz'"),
        ('"cri-tools", "cri-o"]', '"cri-tools"]', r":\d+: target f44-sets\.side_tag: .*no family cri-o"),
        ('side_tag = "kubernetes"', 'side_tag = "other"', r"\.side_tag: there is no \[\[side_tag_set\]\] 'other'"),
        ('system = "koji"', 'system = "copr"', "COPR|copr"),
        ("scratch = false", "scratch = true", "official builds only"),
        ('[target.dist_git]\nrepository = "https://src.fedoraproject.org/rpms/{package}"', "", "official builds only"),
        (SET, SET + SET, "'kubernetes' is there twice"),
        (TARGET, TARGET + TARGET.replace("f44-sets", "f44-more").replace("f44-candidate", "f44"),
         "target f44-more.side_tag: f44-sets shares its side tags"),
        ("families = [\"kubernetes\"", "extra = 1\nfamilies = [\"kubernetes\"", "unknown key"),
    ],
)  # fmt: skip
def test_a_wrong_key_of_a_side_tag_set_is_named(own: Path, old: str, new: str, complaint: str) -> None:
    added = (SET + TARGET).replace(old, new, 1)
    assert added != SET + TARGET
    file = own / "targets.toml"
    file.write_text(file.read_text() + added)
    with pytest.raises(BadCatalog, match=complaint):
        load(own, copr_owner="me", koji_profile="fedora")
