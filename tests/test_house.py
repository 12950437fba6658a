"""The house: a room imports only from the floors below it, and one file alone knows each outside engine."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    {"errors", "interrupt", "metrics", "progress"},
    {"products", "sample"},
    {"encode", "store"},
    {"index", "train"},
    {"retrieve"},
    {"ingest"},
    {"baselines"},
    {"eval"},
    {"report"},
    {"stats"},
    {"api"},
    {"terminal"},
    {"commands"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ENGINES = {
    "qdrant_edge": {"edge.py"},
    "qdrant_client": {"client.py", "collection.py", "faults.py", "schema.py", "server.py"},
}
MODULES = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0].removesuffix(".py") in FLOOR]


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_knows_only_what_is_below(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for module in imported(path):
        parts = module.split(".")
        if parts[0] == "rubrika" and len(parts) > 1:
            assert parts[1] == room or FLOOR[parts[1]] < FLOOR[room], f"{module} is not below {room}"
        if parts[0] in ENGINES:
            assert room == "store"
            assert path.name in ENGINES[parts[0]]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_for_and_stays_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 300
