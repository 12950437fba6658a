"""Where the parts of an index lie in its folder. Learning again makes a new generation of them beside the old one."""

import re
from pathlib import Path

MANIFEST = "index.json"
LOCK = "lock"
_EDGE, _ENCODERS = "edge", "encoders"
# What Rubrika itself puts into an index folder; an interrupted run may leave some of it.
_OURS = re.compile(rf"(?:{_EDGE}|{_ENCODERS})(?:-\d+)?|{re.escape(MANIFEST)}(?:\.new)?|{LOCK}")


def edge_folder(folder: Path, generation: int = 1) -> Path:
    """Where the embedded store has its points."""
    return folder / _numbered(_EDGE, generation)


def encoder_folder(folder: Path, vector: str, generation: int = 1) -> Path:
    """Where the learned encoder of a named vector keeps its files."""
    return folder / _numbered(_ENCODERS, generation) / vector


def collection_note(folder: Path, generation: int) -> Path:
    """Where the name of a generation's collection is kept before it is made, so that one never finished is known."""
    return folder / _numbered(_ENCODERS, generation) / "collection"


def other_generations(folder: Path, generation: int) -> list[Path]:
    """Folders of points and encoders that are not of this generation: superseded, or never finished."""
    current = {_numbered(name, generation) for name in (_EDGE, _ENCODERS)}
    kept = {*current, MANIFEST, LOCK}
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_ours(path) and path.name not in kept)


def is_ours(path: Path) -> bool:
    """Whether Rubrika gives such a name to what it puts into an index folder."""
    return bool(_OURS.fullmatch(path.name))


def _numbered(name: str, generation: int) -> str:
    return name if generation == 1 else f"{name}-{generation}"
