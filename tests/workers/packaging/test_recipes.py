"""The recipes of docs/catalogue.md, carried out word for word in a copy of the catalogue."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import service.catalog
from service.catalog import Catalog, load
from service.domain.errors import BadCatalog
from service.domain.proofs import Verdict
from service.specs.render import check_templates
from tests.go_toolchain import CACHE, needs_go
from workers.packaging import offline
from workers.packaging.spec_check import lint_spec
from workers.proofs import prove

PAGE = Path(__file__).parents[3] / "docs" / "catalogue.md"
BUILT_IN = Path(service.catalog.__file__).parent
BLOCK = re.compile(r"(?P<before>[^\n]*):?\n\n```(?:toml)?\n(?P<text>.*?)^```\n", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.xdist_group("go")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A maintainer's copy of the catalogue."""
    folder = tmp_path / "my-catalogue"
    folder.mkdir()
    shutil.copytree(BUILT_IN / "families", folder / "families")
    for file in BUILT_IN.glob("*.toml"):
        shutil.copy(file, folder)
    return folder


def carry_out(recipe: str, folder: Path) -> int:
    """Do what one recipe of the page says; how many of its blocks were used."""
    section = PAGE.read_text().partition(f"## Recipe: {recipe}\n")[2].partition("\n## ")[0]
    assert section, recipe
    old = ""
    blocks = list(BLOCK.finditer(section))
    for block in blocks:
        before, text = block["before"], block["text"]
        names = re.findall(r"`([\w./-]+\.(?:toml|in))`", before)
        if before.startswith("New file"):
            path = folder / names[0]
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif before.startswith("Append to"):
            path = folder / names[0]
            path.write_text(path.read_text() + "\n" + text)
        elif before.endswith("Replace"):
            old, replaced = text, folder / names[0]
        elif before == "with":
            assert old in replaced.read_text()
            replaced.write_text(replaced.read_text().replace(old, text, 1))
        else:
            raise AssertionError(f"what is to be done with the block after {before!r}?")
    for source, target in re.findall(r"^Copy `(\S+)` to `(\S+)`", section, re.MULTILINE):
        shutil.copy(folder / source, folder / target)
    return len(blocks)


def loaded(folder: Path) -> Catalog:
    catalog = load(folder, copr_owner="x")
    check_templates(catalog)
    return catalog


def test_another_family(own: Path) -> None:
    assert carry_out("another family", own) == 2
    catalog = loaded(own)
    for style in ("srpm", "dist-git"):
        made = offline.render(catalog, "v2.1.3", family="hello", style=style)
        tags = offline.check(catalog, made, branch="rawhide")
        assert (tags["Name"], tags["Version"]) == ("hello2.1", "2.1.3")
        assert tags["Source0"].endswith("/v2.1.3/hello-2.1.3.tar.gz")
        lint_spec(made.spec, branch=catalog.branches["rawhide"].branch)


def test_another_template_for_new_streams(own: Path) -> None:
    carry_out("another family", own)
    assert carry_out("another template for new streams", own) == 3
    catalog = loaded(own)
    packaging = catalog.packaging["hello"]
    streams = catalog.families["hello"].streams
    assert [packaging.template(stream).file for stream in streams] == ["hello.spec.in", "hello-2.2.spec.in"]
    made = offline.render(catalog, "v2.2.0", family="hello")
    assert offline.neighbour_tag(made) == "v2.1.0"
    offline.check(catalog, made, branch="f44")


def test_another_rule(own: Path) -> None:
    assert carry_out("another rule", own) == 1
    catalog = loaded(own)
    strict = offline.render(catalog, "v1.36.3", strategy="strict")
    assert strict.spec.workarounds == ("go-module-mode", "ld-separate-code")
    assert "%global __golang_extldflags -Wl,-z,separate-code" in strict.spec.text
    offline.check(catalog, strict, branch="f44")
    before = offline.render(load(None, copr_owner="x"), "v1.36.3")
    assert offline.render(catalog, "v1.36.3").spec.text == before.spec.text


@needs_go
def test_the_rule_of_the_recipe_proves_to_be_needless_as_the_page_says(own: Path) -> None:
    carry_out("another rule", own)
    found = prove(loaded(own), rows=["ld-separate-code"], cache=CACHE)
    assert {proof.verdict for proof in found} == {Verdict.NO_LONGER_NEEDED}


def test_the_page_s_example_of_a_complaint_is_what_is_said(own: Path) -> None:
    path = own / "workarounds.toml"
    path.write_text(path.read_text().replace('["-Wl,-z,notext"]', '["-Wl,-z,defs"]'))
    with pytest.raises(BadCatalog) as caught:
        load(own, copr_owner="x")
    (example,) = re.findall(r"cryopack: (workarounds\.toml:.*)", PAGE.read_text())
    numberless = re.compile(r":\d+:")
    assert numberless.sub(":", str(caught.value)) == numberless.sub(":", example)


@pytest.mark.parametrize("recipe", ["another family", "another rule"])
def test_a_mistake_in_a_recipe_is_named_with_its_line(own: Path, recipe: str) -> None:
    carry_out(recipe, own)
    file, old, new = {
        "another family": ("families/hello/family.toml", 'license = "MIT"', 'licence = "MIT"'),
        "another rule": ("workarounds.toml", 'free_of = ["writable-code"]', 'free_of = ["writable"]'),
    }[recipe]
    path = own / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(BadCatalog, match=rf"^{re.escape(file)}:\d+: "):
        load(own, copr_owner="x")
