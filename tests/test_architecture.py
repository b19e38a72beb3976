"""The arrows of docs/architecture.md and the rules of CONTRIBUTING.md, kept by reading the code."""

from __future__ import annotations

import ast
import re
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import architecture_rules as rules
from tests.architecture_picture import PAGE, drawn
from tests.rooms import ARROWS

ROOT = Path(__file__).parents[1]
TOPS = frozenset({"service", "workers", "migrations", "sandbox", "tests", "bench"})

# Beyond this a file may hold a second subject: a warning, never a failure.
LONG = 500


def sources(*folders: str) -> list[Path]:
    """The Python files of these folders of the checkout."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """The dotted name under which a file is imported; the sandbox's parent folder is on the path."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "deploy" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


OURS = sources("service", "workers", "migrations", "deploy/sandbox")
# Commands and steps that work on a machine without a service: not even through others may they import it.
WITHOUT_SERVICE = (
    "workers.packaging.offline",
    "workers.sources.fetch",
    "workers.sources.archives",
    "workers.proofs",
)
# The packages that hold rooms and nothing of their own.
FLOORS = ("service", "service.web", "workers", "sandbox")
PACKAGES = frozenset(module_of(path) for path in OURS if path.name == "__init__.py")
MODULES = {module_of(path): parse(path) for path in OURS}


def tracked() -> list[Path]:
    """Every file that the repository holds."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def complaints(modules: Mapping[str, ast.Module]) -> list[str]:
    """Everything that is wrong with how these modules are placed and import each other, a line each."""
    wrong = [
        line
        for module, tree in modules.items()
        if module not in FLOORS
        for line in rules.wrong_imports(module, tree, ARROWS, TOPS, PACKAGES)
    ]
    circle = rules.cycle(rules.import_graph(modules, PACKAGES))
    return wrong + ([f"a circle of imports: {' → '.join(circle)}"] if circle else [])


def test_imports_follow_the_arrows_in_no_circle() -> None:
    assert len(MODULES) > 60
    assert complaints(MODULES) == []


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        (
            {"service.domain.planted": "from service.store import schema"},
            "may not import service.store.schema",
        ),
        (
            {"workers.sources.planted": "if TYPE_CHECKING:\n    from workers.builds import steps"},
            "may not import workers.builds.steps",
        ),
        ({"sandbox.copr.planted": "from sandbox.koji import hub"}, "may not import sandbox.koji.hub"),
        ({"service.store.planted": "import fastapi"}, "may not import the library fastapi"),
        (
            {
                "service.builds.one": "from service.builds import two",
                "service.builds.two": "if TYPE_CHECKING:\n    from service.builds.one import One",
            },
            "a circle of imports: service.builds.one → service.builds.two → service.builds.one",
        ),
        (
            {
                "sandbox.koji.one": "from sandbox.koji import two",
                "sandbox.koji.two": "import sandbox.koji.one",
            },
            "a circle of imports: sandbox.koji.one → sandbox.koji.two → sandbox.koji.one",
        ),
        ({"service.stray": "import json"}, "service.stray is in no room"),
        ({"service.attic.chest": "import json"}, "service.attic.chest is in no room"),
        (
            {"workers.buildsystems.obs.adapter": "import json"},
            "workers.buildsystems.obs.adapter is in no room",
        ),
        ({"service.builds.attic.chest": "import json"}, "service.builds.attic.chest is in no room"),
        ({"sandbox.stray": "import json"}, "sandbox.stray is in no room"),
    ],
)
def test_a_planted_fault_is_complained_of(planted: dict[str, str], complaint: str) -> None:
    found = complaints({**MODULES, **{name: ast.parse(text) for name, text in planted.items()}})
    assert len(found) == 1 and complaint in found[0]


def test_the_table_of_arrows_holds_no_circle_and_no_room_that_is_gone() -> None:
    assert {room for arrow in ARROWS.values() for room in arrow.ours} <= set(ARROWS)
    assert rules.cycle({room: set(arrow.ours) for room, arrow in ARROWS.items()}) == []
    assert set(ARROWS) == {rules.room_of(module, ARROWS) for module in MODULES if module not in FLOORS}


def test_the_pictures_of_the_architecture_are_those_of_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert drawn(page, ARROWS) == page, "draw them again: python -m tests.architecture_picture"


@pytest.mark.parametrize("start", WITHOUT_SERVICE)
def test_specs_and_proofs_need_neither_database_nor_settings(start: str) -> None:
    reached = rules.reach(rules.import_graph(MODULES, PACKAGES), start)
    assert not {
        name for name in reached if name.startswith(("service.store", "service.settings", "workers.context"))
    }


def test_the_pure_core_asks_no_clock_and_opens_no_file() -> None:
    impure = {
        module: lines
        for module, tree in MODULES.items()
        if module.startswith(("service.domain", "service.specs")) and (lines := rules.impurities(tree))
    }
    assert impure == {}


def test_no_import_inside_a_function() -> None:
    late = {
        relative(path): lines
        for path in [*OURS, *sources("tests", "bench")]
        if (lines := rules.late_imports(parse(path)))
    }
    assert late == {}


def test_one_file_commits() -> None:
    assert [m for m, tree in MODULES.items() if rules.commits(tree) and not m.startswith("sandbox")] == [
        "service.store.session"
    ]


def test_one_file_changes_states() -> None:
    assert [
        m for m, tree in MODULES.items() if rules.state_changes(tree) and not m.startswith("sandbox")
    ] == ["service.store.transitions"]


@pytest.mark.parametrize(
    ("client", "file"),
    [
        ("copr", "workers.buildsystems.copr.client"),
        ("koji", "workers.buildsystems.koji.client"),
        ("ogr", "workers.forges.through_ogr"),
        ("pyforgejo", "workers.forges.through_ogr"),
    ],
)
def test_one_file_imports_a_client_library(client: str, file: str) -> None:
    users = [
        module
        for module, tree in MODULES.items()
        if any(name.split(".")[0] == client for _, name in rules.imported(tree))
    ]
    assert len(users) <= 1, users
    assert all(user.startswith(file) for user in users)


def test_celery_is_known_where_messages_are_sent_and_where_tasks_are() -> None:
    users = {
        module
        for module, tree in MODULES.items()
        if any(name.split(".")[0] == "celery" for _, name in rules.imported(tree))
    }
    assert users == {"service.wake", "workers.app"}


def test_long_files_are_looked_at() -> None:
    """A file is as long as its one subject; the warning asks whether it still has only one."""
    for path in [*OURS, *sources("tests", "bench")]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LONG:
            warnings.warn(
                f"{relative(path)} has {lines} lines: does it still have one subject?", stacklevel=1
            )


def test_names_say_something() -> None:
    empty = {
        relative(path): names
        for path in [*OURS, *sources("tests", "bench")]
        if (names := rules.banned_names(relative(path), parse(path)))
    }
    assert empty == {}


def test_public_names_of_the_core_are_explained() -> None:
    silent = {
        module: names
        for module, tree in MODULES.items()
        if module.startswith("service.")
        and not module.startswith("service.web")
        and (names := rules.undocumented(tree))
    }
    assert silent == {}


def test_first_lines_say_what_a_module_or_a_function_does() -> None:
    """Routes of the API and commands are left out: their docstrings are shown to people, as the answer's name."""
    found = {
        module: names
        for module, tree in MODULES.items()
        if not module.startswith(("service.web.api.", "workers.cli.", "migrations.versions."))
        and (names := rules.riddles(tree))
    }
    assert found == {}


def test_no_tracked_file_knows_this_machine_or_a_registry() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if rules.MACHINE_PATH.search(line) or rules.REGISTRY.search(line):
                found.append(f"{relative(path)}:{number}")
    assert found == []


def test_links_between_documents_lead_somewhere() -> None:
    broken, seen = [], 0
    for page in [path for path in tracked() if path.suffix == ".md"]:
        prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if re.match(r"[a-z]+:", target):
                continue
            seen += 1
            name, _, anchor = target.partition("#")
            there = (page.parent / name) if name else page
            if not there.exists():
                broken.append(f"{relative(page)}: {target}")
            elif anchor and anchor not in anchors(there):
                broken.append(f"{relative(page)}: {target} (no such heading)")
    assert broken == []
    assert seen > 10


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("rule", "broken", "sound"),
    [
        (rules.late_imports, "def f():\n    import os", "import os\ndef f(): ..."),
        (rules.commits, "session.commit()", "git('commit')"),
        (rules.state_changes, "build.state = 1", "state = build.state"),
        (rules.state_changes, "a, build.state = 1, 2", "app.state.context = 1"),
        (rules.state_changes, "setattr(build, 'state', 1)", "setattr(build, 'reason', 1)"),
        (rules.state_changes, "update(B).where(x).values(state=1)", "insert(B).values(state=1)"),
        (rules.impurities, "datetime.now(UTC)", "now = told_by_the_caller"),
        (rules.impurities, "Path(p).read_text()", "text.splitlines()"),
        (rules.undocumented, '"""M."""\ndef f(): ...', '"""M."""\ndef f():\n    """F."""'),
        (rules.riddles, '"""What is due."""', '"""Claims what is due."""'),
        (
            rules.undocumented,
            '"""M."""\nclass C:\n    pass',
            '"""M."""\ndef _f(): ...',
        ),
    ],
)
def test_each_rule_sees_what_it_forbids(rule: object, broken: str, sound: str) -> None:
    assert callable(rule)
    assert rule(ast.parse(broken))
    assert not rule(ast.parse(sound))


@pytest.mark.parametrize(
    ("module", "line", "allowed"),
    [
        ("service.domain.states", "import sqlalchemy", False),
        ("service.domain.states", "from service.store import schema", False),
        ("service.releases.intake", "from service.web.app import create_app", False),
        ("service.store.session", "from workers.builds.steps import advance", False),
        ("service.web.base.context", "from service.web.api.schemas import Matrix", False),
        ("service.web.api.builds", "from service.web.pages import matrix", False),
        ("workers.sources.fetch", "from service.store.session import Database", False),
        ("workers.packaging.rpm_commands", "from workers.builds import steps", False),
        ("workers.buildsystems.kerberos", "from workers.buildsystems.koji import client", False),
        ("workers.builds.steps", "from service.web import app", False),
        ("workers.builds.steps", "from service import web", False),
        ("sandbox.farm", "from service.settings import Settings", False),
        ("workers.builds.steps", "from . import sources", False),
        ("workers.builds.steps", "from service.builds.claims import claim_build", True),
        ("workers.builds.steps", "from workers.builds import polling", True),
        ("service.web.pages.matrix", "from service import board", True),
        ("service.domain.states", "from __future__ import annotations\nimport enum", True),
        ("workers.builds.steps", "if TYPE_CHECKING:\n    from service.web import app", False),
        ("sandbox.ground", "if TYPE_CHECKING:\n    from sandbox.farm import Sandbox", False),
        ("sandbox.koji.tasks", "from sandbox.koji.testing import Hub", False),
        ("sandbox.copr.api", "from sandbox.koji.hub import rpc", False),
        ("sandbox.copr.api", "from sandbox.ground import Ground", True),
    ],
)
def test_the_arrows_point_one_way(module: str, line: str, allowed: bool) -> None:
    wrong = rules.wrong_imports(module, ast.parse(line), ARROWS, TOPS, PACKAGES)
    assert bool(wrong) is not allowed


def test_bad_names_and_circles_are_seen() -> None:
    nothing = ast.parse("")
    assert rules.banned_names("service/string_utils.py", nothing) == ["string_utils"]
    assert rules.banned_names("service/x.py", ast.parse("class BuildManager: ...")) == ["BuildManager"]
    assert rules.banned_names("service/x.py", ast.parse("def uncommon(): ...")) == []
    assert rules.cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert rules.cycle({"a": {"b", "c"}, "b": {"c"}}) == []
    assert rules.MACHINE_PATH.search("/" + "home/somebody")
    assert rules.REGISTRY.search("https://pypi" + ".org/simple")
