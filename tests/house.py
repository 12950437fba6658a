"""The plan of the house: which room stands on which floor, and the modules that are held to it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
# A room imports from the floors below its own, and from itself.
FLOORS = [
    {"errors", "progress"},
    {"files"},
    {"products", "sample"},
    {"encode", "store"},
    {"index"},
    {"vote", "train"},
    {"retrieve"},
    {"ingest"},
    {"eval"},
    {"report"},
    {"stats"},
    {"inputs", "estimator"},
    {"api"},
    {"serve"},
    {"display", "options"},
    {"console"},
    {"training"},
    {"cli"},
]
# A module of fewer is a crumb.
MIN_LINES = 20
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0].removesuffix(".py") in FLOOR]
