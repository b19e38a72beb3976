"""The arrows of docs/architecture.md and the rules of CONTRIBUTING.md, kept by reading the code."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests import architecture_rules as rules
from tests.architecture_rules import Arrow

ROOT = Path(__file__).parents[1]
TOPS = frozenset({"service", "workers", "migrations", "sandbox", "tests", "bench"})
PURE = ("service.domain", "service.catalog", "service.specs")
REMEMBERS = (*PURE, "service.store", "service.wake", "service.settings", "service.logs")
# What one phase of a release's life is made of; phases may use each other, but never in a circle.
PHASES = [
    "audit",
    "tokens",
    "sign_ins",
    "overrides",
    "rebuilds",
    "intake",
    "releases",
    "reconcile",
    "commands",
    "work",
    "progress",
    "submissions",
    "observations",
    "follow_ups",
    "build_logs",
    "checks",
    "contacts",
    "diagnoses",
    "remedies",
    "distgit",
    "side_tags",
    "side_tag_life",
    "side_tag_commands",
    "shipping",
    "pull_requests",
    "payloads",
    "withdrawals",
    "proofs",
]
WEB = (
    *("fastapi", "starlette", "anyio", "pydantic", "jinja2", "markupsafe"),
    *("prometheus_client", "sqlalchemy", "structlog", "limits", "httpx2", "joserfc", "uvicorn"),
)

ARROWS = {
    "service.domain": Arrow(()),
    "service.catalog": Arrow(("service.domain",)),
    "service.specs": Arrow(("service.domain", "service.catalog")),
    "service.settings": Arrow((), ("pydantic", "pydantic_settings")),
    "service.wake": Arrow(("service.settings",), ("celery", "structlog")),
    "service.store": Arrow(("service.domain",), ("sqlalchemy",)),
    **{
        f"service.{name}": Arrow(
            (*REMEMBERS[:4], "service.logs", *(f"service.{other}" for other in PHASES)), ("sqlalchemy",)
        )
        for name in PHASES
    },
    "service.logs": Arrow(()),
    "service.board": Arrow((*REMEMBERS[:4], "service.logs"), ("sqlalchemy",)),
    "service.web": Arrow(("service",), WEB),
    "migrations": Arrow(("service.store",), ("alembic", "sqlalchemy")),
    "workers.buildsystems": Arrow(
        ("service.domain",), ("copr", "koji", "requests", "requests_toolbelt", "urllib3", "gssapi")
    ),
    "workers.forges": Arrow(
        ("service.domain", "workers.buildsystems.bounded_http"), ("ogr", "pyforgejo", "httpx", "requests")
    ),
    # Sources and source packages know neither database nor settings: `cryopack srpm` has neither.
    **{
        f"workers.{name}": Arrow(
            (
                "service.domain",
                *(
                    f"workers.{other}"
                    for other in (
                        *("archives", "certificates", "licenses", "partial_files"),
                        *("rpm_commands", "specs_check"),
                    )
                ),
            ),
            ("httpx2",),
        )
        for name in (
            *("archives", "certificates", "partial_files", "sources", "rpm_commands"),
            *("specs_check", "specs_lint", "srpm"),
        )
    },
    "workers.downloads": Arrow(("workers.certificates",), ("httpx2",)),
    "workers.rpm_contents": Arrow(("service.domain", "workers.rpm_commands")),
    "workers.licenses": Arrow(("workers.rpm_commands",), ("license_expression",)),
    "workers.binaries": Arrow(("service.domain",), ("elftools",)),
    # A proof needs the table of workarounds and a toolchain, and neither database nor network.
    **{
        f"workers.{name}": Arrow(
            (
                *("service.domain", "service.catalog", "workers.binaries"),
                *("workers.proof_modules", "workers.toolchain"),
            )
        )
        for name in ("proof_modules", "proofs", "toolchain")
    },
    "workers.app": Arrow(("service.settings", "service.wake"), ("celery",)),
    "workers": Arrow(
        ("migrations", "workers", *REMEMBERS, "service.board", *(f"service.{name}" for name in PHASES)),
        ("structlog", "httpx2", "redis", "typer", "sqlalchemy"),
    ),
    # The farm is another world: it must not know our code, or it could agree with our mistakes.
    "sandbox": Arrow((), ("starlette", "uvicorn", "httptools", "httpx2", "copr")),
}

LONGEST = {
    "service": 300,
    "workers": 300,
    "deploy/sandbox": 300,
    "migrations": 400,
    "tests": 400,
    "bench": 300,
}
LONGER = {
    "service/web/schemas.py": "every answer of the API in one place",
}


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
        if module != "service"
        for line in rules.wrong_imports(module, tree, ARROWS, TOPS, PACKAGES)
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_import_each_other_in_no_circle() -> None:
    graph = {
        module: {name for _, name in rules.imported(tree, PACKAGES) if name in MODULES}
        for module, tree in MODULES.items()
    }
    assert rules.cycle(graph) == []


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
        ("copr", "workers.buildsystems.copr"),
        ("koji", "workers.buildsystems.koji"),
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


def test_files_stay_short() -> None:
    long = []
    for folder, limit in LONGEST.items():
        for path in sources(folder):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            allowed = limit + 20 if relative(path) in LONGER else limit
            if lines > allowed:
                long.append(f"{relative(path)}: {lines} lines, {allowed} are allowed")
    assert not long, "\n".join(long)
    assert all((ROOT / name).exists() for name in LONGER)


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
        if re.fullmatch(r"service\.domain(\.\w+)?|service\.\w+", module)
        and module != "service.web"
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
        ("service.intake", "from service.web.app import create_app", False),
        ("service.store.session", "from workers.steps import advance", False),
        ("workers.srpm", "from service.store.session import Database", False),
        ("workers.steps", "from service.web import app", False),
        ("workers.steps", "from service import web", False),
        ("sandbox.farm", "from service.settings import Settings", False),
        ("workers.steps", "from . import sources", False),
        ("workers.steps", "from service.progress import claim_build", True),
        ("service.web.pages", "from service import board", True),
        ("service.domain.states", "from __future__ import annotations\nimport enum", True),
        ("workers.steps", "if TYPE_CHECKING:\n    from service.web import app", True),
    ],
)
def test_the_arrows_point_one_way(module: str, line: str, allowed: bool) -> None:
    wrong = rules.wrong_imports(module, ast.parse(line), ARROWS, TOPS, PACKAGES | {"service"})
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
