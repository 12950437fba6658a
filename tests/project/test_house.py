"""The house: a room imports only from the floors below it, never in a circle; one file alone knows each engine."""

import ast
from pathlib import Path

import pytest
from house import FLOOR, MIN_LINES, MODULES, ROOT

MAX_LINES = 500
# Every command, and every operation, in one file, so that none is looked for.
LONG = {"cli": 650, "api": 650}
# What is whole on one screen.
SHORT = {"__init__", "errors"}
ENGINES = {
    "qdrant_edge": {"edge.py"},
    "qdrant_client": {"client.py", "collection.py", "faults.py", "look.py", "server.py"},
}

every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))


def name_of(path: Path) -> str:
    return ".".join(["rubrika", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


NAMES = {name_of(path) for path in MODULES}


def imported(path: Path) -> set[str]:
    """The modules that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & NAMES) or {node.module}
    return found


@every_module
def test_a_module_knows_only_what_is_below(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for module in imported(path):
        parts = module.split(".")
        if parts[0] == "rubrika" and len(parts) > 1:
            assert parts[1] == room or FLOOR[parts[1]] < FLOOR[room], f"{module} is not below {room}"
        if parts[0] in ENGINES:
            assert room == "store"
            assert path.name in ENGINES[parts[0]]


def test_no_modules_import_one_another_in_a_circle() -> None:
    below = {name_of(path): imported(path) & NAMES for path in MODULES}
    while free := {name for name, names in below.items() if not names & below.keys() - {name}}:
        below = {name: names for name, names in below.items() if name not in free}
    assert not below


@every_module
def test_a_module_says_what_it_is_for_and_is_neither_long_nor_a_crumb(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= LONG.get(path.stem, MAX_LINES)
    assert len(text.splitlines()) >= MIN_LINES or path.stem in SHORT
