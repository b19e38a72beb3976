"""``[target.dist_git]``: the example in targets.toml is right, and a wrong key is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import service.catalog
from service.catalog import load
from service.domain.distgit import Delivery, DistGitPolicy
from service.domain.errors import BadCatalog
from service.domain.pull_requests import ForgeKind
from service.domain.shipping import fedora_tags

BUILT_IN = Path(service.catalog.__file__).parent


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    """A copy of the catalogue whose commented example of a dist-git target is switched on; its targets.toml."""
    shutil.copytree(BUILT_IN, tmp_path / "catalog", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    file = tmp_path / "catalog" / "targets.toml"
    text = file.read_text()
    lines = text[text.index('# id = "f44-dist-git"') :].splitlines()
    example = "[[target]]\n" + "\n".join(line.removeprefix("# ").removeprefix("#") for line in lines)
    file.write_text(f"{text}\n{example}\n")
    return file


def policy(targets: Path) -> DistGitPolicy:
    catalog = load(targets.parent, copr_owner="me", koji_profile="fedora")
    (found,) = [target.dist_git for target in catalog.targets if target.dist_git]
    assert found is not None
    return found


def test_the_example_is_a_target(targets: Path) -> None:
    found = policy(targets)
    assert found.repository_url("cri-o1.35") == "https://src.fedoraproject.org/rpms/cri-o1.35"
    assert found.push_url("cri-o1.35") == "ssh://git@pkgs.fedoraproject.org/rpms/cri-o1.35"
    assert found.delivery("cri-o1.35") is Delivery.PUSH
    assert found.delivery("cri-o1.36") is Delivery.PULL_REQUEST
    assert found.forge is not None and found.forge.kind is ForgeKind.PAGURE
    assert found.forge.fork_url("bot", "cri-o1.36") == (
        "https://src.fedoraproject.org/forks/bot/rpms/cri-o1.36.git"
    )
    assert found.forge.fork_push_url("bot", "cri-o1.36") == (
        "ssh://bot@pkgs.fedoraproject.org/forks/bot/rpms/cri-o1.36.git"
    )
    assert DistGitPolicy.from_json(json.loads(json.dumps(found.as_json()))) == found
    assert load(targets.parent, copr_owner="me", koji_profile="f").targets[-1].stages == fedora_tags(44)
    assert all(target.dist_git is None for target in load(None, copr_owner="me", koji_profile="f").targets)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "https://src.fedoraproject.org/rpms/{package}",
            "https://src.fedoraproject.org/rpms/x",
            "must hold {package}",
        ),
        ("https://src.fedoraproject.org/rpms/{package}", "ext::sh -c {package}", "must be an https"),
        (
            "https://src.fedoraproject.org/repo",
            "ftp://src.fedoraproject.org/repo",
            "must be an https or http",
        ),
        ("direct_push", "direct", "unknown key"),
        ('forge = "pagure"', 'forge = "github"', "must be one of pagure, forgejo"),
        ('forge = "pagure"\n', "", "unknown key"),
        ('forge_url = "https://', 'forge_url = "ssh://', "must be an https or http"),
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
