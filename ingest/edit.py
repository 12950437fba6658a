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


def named(index: Index, source: int, target: int, path: str | None = None) -> Category:
    """The category that `relabel` gives, found out before anything is changed.

    Args:
        index: open.
        source: the id of the category that products leave.
        target: the id of the one they get; the same as `source`, to rename it.
        path: the full path of the target; by default as its products say.

    Raises:
        RubrikaError: no product is in the source, or nothing says what the target is called.
    """
    interrupted = index.manifest.contents.products is None
    # After an interrupted run there may be none left to move.
    if not interrupted and source not in index.store.facet("category_id"):
        raise RubrikaError(f"{index.folder}: no product is in category {source}; see `rubrika info` for what there is")
    if path is None and source == target:
        raise RubrikaError(f"category {source} cannot move to itself; give it another name with --path")
    category = Category(target, _path(index, target) if path is None else path)
    if not category.levels:
        raise RubrikaError(f"«{path}» names no category; write a --path such as «Все категории->Обувь»")
    return category


def relabel(index: Index, source: int, target: Category) -> int:
    """Move all products of one category to another, or give a category another path; return how many there were.

    Args:
        index: open for a change.
        source: the id of the category that products leave.
        target: the one they get, see `named`.
    """
    payload = category_payload(target)
    moved = 0
    for ids in _parts(list(_of_category(index.store, source))):
        points = index.store.fetch(ids)
        index.store.replace_payloads({id: point.payload | payload for id, point in points.items()})
        moved += len(points)
    return moved


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))


def _path(index: Index, category: int) -> str:
    for id in _of_category(index.store, category):
        return index.store.fetch([id])[id].text("category_path")
    raise RubrikaError(f"{index.folder}: no product is in category {category} yet; say with --path what it is called")


def _of_category(store: Store, category: int) -> Iterator[int]:
    for page in store.scroll(payload=["category_id"]):
        yield from (point.id for point in page if point.payload.get("category_id") == category)
