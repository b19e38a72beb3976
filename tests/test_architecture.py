"""The arrows of docs/architecture.md and the rules of CONTRIBUTING.md, kept by reading the code."""

from __future__ import annotations

import ast
import re
import subprocess
import warnings
from pathlib import Path

import pytest

from tests import architecture_rules as rules
from tests.architecture_rules import Arrow

ROOT = Path(__file__).parents[1]
TOPS = frozenset({"service", "workers", "migrations", "sandbox", "tests", "bench"})

CORE = ("service.domain", "service.catalog", "service.specs")
# What the database holds and how it is read; the rooms of the service that act on it stand on these.
KEPT = (*CORE, "service.store", "service.logs")
SQL = ("sqlalchemy",)
# What people may ask for, room by room.
SERVICE_ACTS = tuple(
    f"service.{name}"
    for name in ("releases", "access", "builds", "overrides", "results", "distgit", "sidetags")
)
PORTS = ("workers.buildsystems", "workers.forges")
# What one running sandbox is made of, below its stand-in servers.
SANDBOX = ("sandbox.store", "sandbox.ground", "sandbox.building")
WEB = ("fastapi", "starlette", "sqlalchemy")

# Each room, and each file that stands loose on a floor: what it may import of ours, and of libraries. One may always
# import one's own room. A file or folder that is not named here is in no room, and the test fails.
ARROWS = {
    # service: remembers and shows.
    "service.domain": Arrow(()),
    "service.catalog": Arrow(("service.domain",)),
    "service.specs": Arrow(("service.domain", "service.catalog")),
    "service.store": Arrow(("service.domain",), SQL),
    "service.logs": Arrow(()),
    "service.settings": Arrow((), ("pydantic", "pydantic_settings")),
    "service.wake": Arrow(("service.settings",), ("celery", "structlog")),
    "service.contacts": Arrow(("service.store",), SQL),
    "service.proofs": Arrow(("service.domain", "service.store")),
    "service.board": Arrow(KEPT, SQL),
    "service.releases": Arrow((*KEPT, "service.board"), SQL),
    "service.access": Arrow((*KEPT, "service.board", "service.releases"), SQL),
    "service.builds": Arrow((*KEPT, "service.board", "service.releases", "service.access"), SQL),
    "service.overrides": Arrow((*KEPT, "service.access"), SQL),
    "service.results": Arrow((*KEPT, "service.releases", "service.access", "service.builds"), SQL),
    "service.distgit": Arrow((*KEPT, "service.access", "service.builds"), SQL),
    "service.sidetags": Arrow((*KEPT, "service.access", "service.builds"), SQL),
    # The web: pages, then the API, then who calls, then what all need.
    "service.web.log": Arrow((), ("structlog",)),
    "service.web.base": Arrow(
        (
            *KEPT,
            *(f"service.{name}" for name in ("settings", "wake", "overrides", "board", "releases", "access")),
        ),
        (
            *WEB,
            *("anyio", "httpx2", "jinja2", "joserfc", "limits", "markupsafe"),
            *("prometheus_client", "pydantic", "structlog"),
        ),
    ),
    "service.web.access": Arrow(("service.access", "service.web.base"), WEB),
    "service.web.api": Arrow(
        (*KEPT, *SERVICE_ACTS, "service.board", "service.web.base", "service.web.access"),
        (*WEB, "pydantic", "markupsafe"),
    ),
    "service.web.pages": Arrow(
        (*KEPT, *SERVICE_ACTS, "service.board", "service.web.base", "service.web.access", "service.web.api"),
        WEB,
    ),
    "service.web.health": Arrow(
        ("service.store", "service.board", "service.web.base"),
        (*WEB, "anyio", "prometheus_client", "structlog"),
    ),
    "service.web.webhooks": Arrow(("service.releases", "service.web.base"), WEB),
    "service.web.app": Arrow(
        (
            *(
                "service.settings",
                "service.board",
                "service.web.log",
                "service.web.health",
                "service.web.webhooks",
            ),
            *("service.web.base", "service.web.access", "service.web.api", "service.web.pages"),
        ),
        (*WEB, "anyio", "uvicorn"),
    ),
    "migrations": Arrow(("service.store",), ("alembic", "sqlalchemy")),
    # workers: act.
    "workers.binaries": Arrow(("service.domain",), ("elftools",)),
    "workers.buildsystems": Arrow(("service.domain",), ("requests", "urllib3")),
    "workers.buildsystems.copr": Arrow(
        ("service.domain", "workers.buildsystems"), ("copr", "requests", "requests_toolbelt", "urllib3")
    ),
    "workers.buildsystems.koji": Arrow(("service.domain", "workers.buildsystems"), ("koji", "requests")),
    "workers.forges": Arrow(
        ("service.domain", "workers.buildsystems"), ("ogr", "pyforgejo", "httpx", "requests")
    ),
    "workers.context": Arrow(
        (*KEPT, *("service.settings", "service.wake", "service.overrides"), *PORTS),
    ),
    "workers.sources": Arrow(
        ("service.domain", "service.contacts", "service.releases", "workers.context"), ("httpx2", "structlog")
    ),
    "workers.packaging": Arrow(
        (*CORE, "service.builds", "workers.context", "workers.sources"), ("license_expression", "structlog")
    ),
    "workers.distgit": Arrow(
        (
            *(*CORE, "service.builds", "service.distgit", *PORTS),
            *("workers.context", "workers.sources", "workers.packaging"),
        ),
        ("httpx2",),
    ),
    "workers.results": Arrow(
        (
            *(*KEPT, "service.board", "service.builds", "service.results", "workers.buildsystems"),
            *(
                "workers.binaries",
                "workers.context",
                "workers.sources",
                "workers.packaging",
            ),
        ),
        ("sqlalchemy", "structlog"),
    ),
    "workers.builds": Arrow(
        (
            *(*CORE, "service.contacts", "service.releases", "service.builds", "service.sidetags"),
            *("workers.buildsystems", "workers.context", "workers.sources"),
            *("workers.packaging", "workers.distgit"),
        ),
        ("structlog",),
    ),
    "workers.follow_ups": Arrow(
        (
            *("service.builds", "workers.context"),
            *("workers.distgit", "workers.results", "workers.builds"),
        ),
        ("structlog",),
    ),
    "workers.app": Arrow(
        (
            *("service.settings", "service.wake", "workers.context"),
            *("workers.follow_ups", "workers.results", "workers.builds"),
        ),
        ("celery",),
    ),
    # A proof needs the table of workarounds and a toolchain, and neither database nor network.
    "workers.proofs": Arrow(("service.domain", "service.catalog", "workers.binaries")),
    "workers.machine": Arrow(
        (*CORE, "migrations", "service.settings", "service.wake", "workers.context"), ("httpx2", "redis")
    ),
    "workers.cli": Arrow(
        (
            *(*KEPT, *SERVICE_ACTS, "service.board", "service.settings", "service.wake", "service.proofs"),
            *("migrations", "workers.context", "workers.sources", "workers.packaging", "workers.proofs"),
            *("workers.builds", "workers.machine"),
        ),
        ("httpx2", "sqlalchemy", "structlog", "typer"),
    ),
    # The sandbox is another world: it must not know our code, or it could agree with our mistakes.
    "sandbox.store": Arrow(()),
    "sandbox.multipart": Arrow(()),
    "sandbox.ground": Arrow(("sandbox.store",)),
    "sandbox.pages": Arrow((), ("starlette",)),
    "sandbox.driver": Arrow(("sandbox.ground",)),
    "sandbox.levers": Arrow(("sandbox.ground",), ("starlette",)),
    "sandbox.mirror": Arrow(("sandbox.store", "sandbox.ground"), ("starlette",)),
    "sandbox.building": Arrow(("sandbox.ground", "sandbox.mirror")),
    "sandbox.copr": Arrow(
        (*SANDBOX, "sandbox.driver", "sandbox.pages", "sandbox.multipart"), ("starlette", "httpx2")
    ),
    "sandbox.koji": Arrow((*SANDBOX, "sandbox.driver", "sandbox.pages", "sandbox.levers"), ("starlette",)),
    "sandbox.forge": Arrow(
        ("sandbox.store", "sandbox.ground", "sandbox.levers", "sandbox.multipart"), ("starlette",)
    ),
    "sandbox.faults": Arrow(("sandbox.store", "sandbox.ground"), ("starlette",)),
    "sandbox.control": Arrow(
        (*("sandbox.ground", "sandbox.levers", "sandbox.mirror", "sandbox.copr", "sandbox.faults"),),
        ("starlette",),
    ),
    "sandbox.farm": Arrow((*SANDBOX, "sandbox.mirror", "sandbox.copr", "sandbox.koji", "sandbox.forge")),
    "sandbox.command": Arrow(
        (
            *("sandbox.building", "sandbox.mirror", "sandbox.copr", "sandbox.koji", "sandbox.forge"),
            *("sandbox.levers", "sandbox.faults", "sandbox.control", "sandbox.farm"),
        ),
        ("starlette", "uvicorn"),
    ),
    "sandbox.__main__": Arrow(()),
    # What tests import to drive a sandbox that runs in a process of its own: nothing of the server.
    "sandbox.koji.testing": Arrow(()),
    "sandbox.forge.testing": Arrow(()),
    "sandbox.testing": Arrow(("sandbox.koji.testing", "sandbox.forge.testing")),
}

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
# The packages that hold rooms and nothing of their own.
FLOORS = ("service", "service.web", "workers", "sandbox")
PACKAGES = frozenset(module_of(path) for path in OURS if path.name == "__init__.py")
MODULES = {module_of(path): parse(path) for path in OURS}


def tracked() -> list[Path]:
    """Every file that the repository holds."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_imports_follow_the_arrows() -> None:
    assert len(MODULES) > 60
    wrong = [
        line
        for module, tree in MODULES.items()
        if module not in FLOORS
        for line in rules.wrong_imports(module, tree, ARROWS, TOPS, PACKAGES)
    ]
    assert not wrong, "\n".join(wrong)


def imports(modules: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Which of these modules imports which others of them."""
    return {
        module: {name for _, name in rules.imported(tree, PACKAGES) if name in modules}
        for module, tree in modules.items()
    }


def test_modules_import_each_other_in_no_circle() -> None:
    assert rules.cycle(imports(MODULES)) == []


def test_the_table_of_arrows_holds_no_circle() -> None:
    assert {room for arrow in ARROWS.values() for room in arrow.ours} <= set(ARROWS)
    assert rules.cycle({room: set(arrow.ours) for room, arrow in ARROWS.items()}) == []


def test_a_circle_that_only_a_type_checker_sees_is_one() -> None:
    lower = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from b import Upper"
    graph = imports({"a": ast.parse(lower), "b": ast.parse("from a import Lower")})
    assert rules.cycle(graph) == ["a", "b", "a"]


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
        ("service.web.api.read", "from service.web.pages import matrix", False),
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
        # In no room: a loose file, or a folder that the table does not name.
        ("service.stray", "import json", False),
        ("workers.newroom.x", "import json", False),
        ("sandbox.stray", "import json", False),
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
