"""Everything that an index holds, to compare two of them to the last byte."""

from pathlib import Path

from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.store.base import Payload

Contents = dict[int, tuple[Payload, dict[str, bytes]]]


def contents(folder: Path, times: bool = False) -> Contents:
    """By id; the times of writing are left out, because a run that was interrupted has several."""
    with Index.open(Location(folder, cache=folder)) as index:
        points = [point for page in index.store.scroll(payload=True, vectors=True) for point in page]
        assert index.store.count() == len(points)
    for point in () if times else points:
        del point.payload["ingested_at"]
    return {each.id: (each.payload, {name: row.tobytes() for name, row in each.vectors.items()}) for each in points}
