"""``[[side_tag_set]]`` and ``side_tag``: the example is right, and what is wrong is named with its line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import service.catalog
from service.catalog import load
from service.domain.errors import BadCatalog
from service.domain.side_tags import SideTagPolicy

BUILT_IN = Path(service.catalog.__file__).parent
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


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    shutil.copytree(BUILT_IN, tmp_path / "catalog", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return tmp_path / "catalog" / "targets.toml"


def test_the_example_is_a_set_and_nothing_uses_it_by_itself(targets: Path) -> None:
    text = targets.read_text()
    example = "".join(f"# {line}\n" for line in SET.splitlines())
    assert example in text
    targets.write_text(text + SET + TARGET)
    catalog = load(targets.parent, copr_owner="me", koji_profile="fedora")
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
def test_what_is_wrong_is_named(targets: Path, old: str, new: str, complaint: str) -> None:
    own = (SET + TARGET).replace(old, new, 1)
    assert own != SET + TARGET
    targets.write_text(targets.read_text() + own)
    with pytest.raises(BadCatalog, match=complaint):
        load(targets.parent, copr_owner="me", koji_profile="fedora")
