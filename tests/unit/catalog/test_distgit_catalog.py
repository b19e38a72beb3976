"""``[target.dist_git]``: the example in targets.toml is right, and a wrong key is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import service.catalog
from service.catalog import load
from service.domain.distgit import Delivery, DistGitPolicy, ForgeKind
from service.domain.errors import BadCatalog
from service.domain.shipping import fedora_tags

BUILT_IN = Path(service.catalog.__file__).parent


PLACES = {
    "distgit_url": "https://src.fedoraproject.org/",
    "distgit_push_url": "ssh://bot@pkgs.fedoraproject.org",
}


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    """A copy of the catalogue with a single dist-git target, and the commented tags of it; its targets.toml."""
    shutil.copytree(BUILT_IN, tmp_path / "catalog", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    file = tmp_path / "catalog" / "targets.toml"
    text = file.read_text()
    start, end = (text.index(f'[[target]]\nid = "{branch}-dist-git"') for branch in ("f44", "f45"))
    first = text.index('[[target]]\nid = "f43-dist-git"')
    shipped = text[text.index("# [target.shipped]") :].splitlines()[:4]
    tags = "".join(f"{line.removeprefix('# ')}\n" for line in shipped)
    example = f'{text[start:end]}direct_push = ["cri-o1.35"]\n{tags}'
    file.write_text(f"{text[:first]}{example}")
    return file


def policy(targets: Path) -> DistGitPolicy:
    catalog = load(targets.parent, copr_owner="me", koji_profile="fedora", **PLACES)
    (found,) = [target.dist_git for target in catalog.targets if target.dist_git]
    assert found is not None
    return found


def test_a_target_of_fedoras(targets: Path) -> None:
    found = policy(targets)
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


def test_the_tags_that_the_example_names_are_those_without_one(targets: Path) -> None:
    catalog = load(targets.parent, copr_owner="me", koji_profile="fedora", **PLACES)
    assert catalog.targets[-1].stages == fedora_tags(44)


def test_official_builds_are_off_until_dist_git_and_a_profile_are_known() -> None:
    def official(**given: str) -> list[str]:
        catalog = load(None, copr_owner="me", **given)
        return [target.id for target in catalog.targets if target.dist_git]

    assert official() == official(koji_profile="fedora") == official(**PLACES) == []
    assert official(koji_profile="fedora", **PLACES) == [
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
            'candidate = ["f44-updates-candidate", "f44-signing-pending"]',
            "candidate = []",
            "at least one tag",
        ),
        ('["f44-updates", "f44"]', '["f44 updates"]', "is no name of a tag"),
        ('["f44-updates", "f44"]', '["f44-updates-testing"]', "the tag f44-updates-testing means two stages"),
        ("stable = ", "released = ", "stable: is missing"),
        ('style = "dist-git"\ndeadline', 'style = "srpm"\ndeadline', "needs the style dist-git"),
    ],
)
def test_a_wrong_key_is_named(targets: Path, old: str, new: str, complaint: str) -> None:
    head, mark, example = targets.read_text().rpartition("[[target]]")
    assert old in example
    targets.write_text(head + mark + example.replace(old, new))
    with pytest.raises(BadCatalog, match=complaint):
        policy(targets)
