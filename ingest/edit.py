"""Changes to an index that encode nothing: products leave it, or move to another category."""

from collections.abc import Iterator, Sequence

from rubrika.errors import RubrikaError
from rubrika.index.index import Index
from rubrika.ingest.payload import category_payload
from rubrika.products.product import Category
from rubrika.store.store import Store

BATCH = 1_000


def delete(index: Index, ids: Sequence[int]) -> int:
    """Delete products; return how many there were.

    Args:
        index: open for a change.
        ids: of products; one that is not stored is no error.
    """
    found = 0
    for part in _parts(ids):
        known = index.store.fetch(part, payload=False)
        index.store.delete(list(known))
        found += len(known)
    return found


def relabel(index: Index, source: int, target: int, path: str | None = None) -> int:
    """Move all products of one category to another, or give a category another path; return how many there were.

    Args:
        index: open for a change.
        source: the id of the category that products leave.
        target: the id of the one they get; the same as `source`, to rename it.
        path: the full path of the target; by default as its products say.

    Raises:
        RubrikaError: no product is in the source, or nothing says what the target is called.
    """
    if path is None:
        if source == target:
            raise RubrikaError(f"category {source} cannot move to itself; give it another name with --path")
        path = _path(index, target)
    payload = category_payload(Category(target, path))
    moved = 0
    for ids in _parts(list(_of_category(index.store, source))):
        points = index.store.fetch(ids)
        index.store.replace_payloads({id: point.payload | payload for id, point in points.items()})
        moved += len(points)
    if not moved:
        raise RubrikaError(f"{index.folder}: no product is in category {source}; see `rubrika info` for what there is")
    return moved


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))


def _path(index: Index, category: int) -> str:
    for id in _of_category(index.store, category):
        return str(index.store.fetch([id])[id].payload["category_path"])
    raise RubrikaError(f"{index.folder}: no product is in category {category} yet; say with --path what it is called")


def _of_category(store: Store, category: int) -> Iterator[int]:
    for page in store.scroll(payload=["category_id"]):
        yield from (point.id for point in page if point.payload.get("category_id") == category)
