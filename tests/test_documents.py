"""Documents name files, functions, commands and settings: each of them must exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from typer.core import TyperGroup as Group
from typer.main import get_command

from service.settings import SECRET_FIELDS, Settings
from workers.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CODE = re.compile(r"`((?:service|workers|deploy|migrations|tests|bench|docs)/[\w./-]+)(?::(\w+))?`")
COMMAND = re.compile(r"\bcryopack ((?:[a-z-]+)(?: [a-z-]+)?)")


def named(page: Path) -> list[tuple[str, str]]:
    """(path, name in it or an empty string) for each piece of code that a page names."""
    return CODE.findall(page.read_text(encoding="utf-8"))


def defined(path: Path) -> set[str]:
    """Functions and classes at the top of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_that_a_page_names_exists(page: Path) -> None:
    missing = []
    for name, inside in named(page):
        path = ROOT / name
        # A recipe speaks of a folder that its reader will make.
        if name.startswith("service/catalog/families/kubernetes"):
            continue
        if not path.exists() or (inside and inside not in defined(path)):
            missing.append(f"{name}:{inside}" if inside else name)
    assert missing == []


def test_the_life_of_a_release_names_its_functions() -> None:
    functions = [inside for _, inside in named(ROOT / "docs" / "life-of-a-release.md") if inside]
    assert len(functions) > 30


def test_settings_that_pages_name_exist() -> None:
    known = {f"CRYOPACK_{name.upper()}" for name in Settings.model_fields}
    known |= {f"CRYOPACK_{name.upper()}_FILE" for name in SECRET_FIELDS}
    # What only a test reads stands in that test.
    for test in (ROOT / "tests").rglob("*.py"):
        known |= set(re.findall(r'"(CRYOPACK_TEST_[A-Z_]+)"', test.read_text()))
    told = {name for page in PAGES for name in re.findall(r"CRYOPACK_[A-Z_]+", page.read_text())}
    assert told
    assert told - known == set()


def test_commands_that_pages_name_exist() -> None:
    told = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        quoted = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^ {4,}(.*)$", text, re.MULTILINE)
        told |= {match for code in quoted for match in COMMAND.findall(code)}
    top = get_command(app)
    assert isinstance(top, Group)
    unknown = []
    for words in sorted(told):
        first, _, second = words.partition(" ")
        if first.startswith("--"):
            continue
        group = top.commands.get(first)
        # What follows a command that has no commands of its own is an argument.
        if group is None or (isinstance(group, Group) and second and second not in group.commands):
            unknown.append(words)
    assert len(told) > 8
    assert unknown == []


def test_the_states_of_the_glossary_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text().partition("States:")[2]
    states = set()
    for word in ("DeliveryState", "BuildState", "ChrootState"):
        tree = ast.parse((ROOT / "service" / "domain" / "states.py").read_text())
        (node,) = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == word]
        states |= {
            s.value.value
            for s in node.body
            if isinstance(s, ast.Assign) and isinstance(s.value, ast.Constant)
        }
    assert len(states) >= 12
    assert all(re.search(rf"\b{state}\b", text) for state in states)


def test_make_knows_the_commands_that_pages_name() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = {name for page in PAGES for name in re.findall(r"\bmake ([a-z]+)\b(?=`| +#)", page.read_text())}
    assert {"run", "test", "check", "golden", "lock"} <= told
    assert told <= targets
