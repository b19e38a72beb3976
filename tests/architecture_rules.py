"""The rules of the house as functions over a parsed file; each gives the lines that break it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

BANNED_NAMES = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"}
# Names that a library gave to what we override.
INHERITED = {"proxy_manager_for"}
CLOCKS = {"now", "utcnow", "today", "time", "monotonic", "time_ns", "perf_counter"}
FILES = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "getenv", "environ"}

# Named in pieces: this file must not hold what it looks for.
MACHINE_PATH = re.compile("/" + r"(?:work|root|home)/(?=[\w.])")
REGISTRY = re.compile("|".join(["pypi" + r"\.org", "files" + r"\.pythonhosted", "registry" + r"\.npmjs"]))


@dataclass(frozen=True)
class Arrow:
    """What a room may import: other rooms, loose files, and third-party packages."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...] = ()


def import_nodes(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield every import of a file, also those that only a type checker sees."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node


def imported(tree: ast.AST, packages: frozenset[str] = frozenset()) -> list[tuple[int, str]]:
    """(line, dotted name) of what is imported; ``from package import module`` names the module."""
    found = []
    for node in import_nodes(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif node.level:
            found.append((node.lineno, "." * node.level + (node.module or "")))
        elif node.module in packages:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        else:
            found.append((node.lineno, node.module or ""))
    return found


def room_of(module: str, arrows: Mapping[str, Arrow]) -> str | None:
    """The room or the loose file that ``module`` belongs to; None where the table names none."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        prefix = ".".join(parts[:end])
        if prefix in arrows:
            return prefix
    return None


def wrong_imports(
    module: str, tree: ast.AST, arrows: Mapping[str, Arrow], tops: frozenset[str], packages: frozenset[str]
) -> list[str]:
    """Imports of ``module`` that the table does not allow; ``tops`` are our own top-level packages."""
    own = room_of(module, arrows)
    if own is None:
        return [f"{module} is in no room: name it, or its folder, in the table of arrows"]
    allowed = {own, *arrows[own].ours}
    wrong = []
    for line, name in imported(tree, packages):
        top = name.split(".")[0]
        if name.startswith("."):
            wrong.append(f"{module}:{line} imports relatively: {name}")
        elif top in tops:
            if room_of(name, arrows) not in allowed:
                wrong.append(f"{module}:{line} may not import {name}")
        elif top not in sys.stdlib_module_names and top not in arrows[own].theirs:
            wrong.append(f"{module}:{line} may not import the library {top}")
    return wrong


def late_imports(tree: ast.AST) -> list[int]:
    """Lines of imports inside a function."""
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = [node for function in functions for node in ast.walk(function)]
    return sorted({node.lineno for node in inside if isinstance(node, (ast.Import, ast.ImportFrom))})


def commits(tree: ast.AST) -> list[int]:
    """Lines that call a method ``commit``."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
    ]


def state_changes(tree: ast.AST) -> list[int]:
    """Lines that assign to an attribute ``state``, in whatever way, or that update a column ``state``."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            flat = [
                part for target in targets for part in ast.walk(target) if isinstance(part, ast.Attribute)
            ]
            lines += [
                part.lineno for part in flat if part.attr == "state" and isinstance(part.ctx, ast.Store)
            ]
        elif isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name == "setattr" and any(
                isinstance(argument, ast.Constant) and argument.value == "state" for argument in node.args
            ):
                lines.append(node.lineno)
            chain = ast.dump(node.func)
            if isinstance(node.func, ast.Attribute) and node.func.attr == "values" and "'update'" in chain:
                lines += [node.lineno for keyword in node.keywords if keyword.arg == "state"]
    return sorted(lines)


def impurities(tree: ast.AST) -> list[int]:
    """Lines that ask a clock, open a file or read the environment."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in CLOCKS | FILES:
                lines.append(node.lineno)
        elif isinstance(node, ast.Attribute) and node.attr == "environ":
            lines.append(node.lineno)
    return lines


def banned_names(path: str, tree: ast.AST) -> list[str]:
    """File, function and class names that say nothing."""
    defined = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ]
    stems = [part.removesuffix(".py") for part in path.split("/")]
    found = []
    for name in [*stems, *(name for name in defined if name not in INHERITED)]:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
        if BANNED_NAMES & set(words):
            found.append(name)
    return found


def undocumented(tree: ast.Module) -> list[str]:
    """Public functions and classes without a docstring, and the module itself."""
    found = [] if ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if not node.name.startswith("_") and not ast.get_docstring(node):
            found.append(node.name)
    return found


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle of a directed graph, first node repeated at its end; empty if there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for after in sorted(graph.get(node, ())):
            if circle := visit(after, [*path, node]):
                return circle
        done.add(node)
        return []

    for start in sorted(graph):
        if circle := visit(start, []):
            return circle
    return []
