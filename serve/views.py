"""What the pages of the desk show: read from the index and the reviews, as plain values for templates."""

from collections import Counter
from contextlib import suppress
from typing import Any

from rubrika.errors import IndexFolderError, ParameterError, RubrikaError
from rubrika.index.categories import names_of
from rubrika.index.folder import Index as Opened
from rubrika.index.owned import Owned
from rubrika.ingest.diff import is_by_person
from rubrika.inputs import category_id_of
from rubrika.products.product import SEPARATOR, Category, display_path
from rubrika.retrieve.explain import Explanation, Share, explain
from rubrika.retrieve.search import Query
from rubrika.serve.answers import NotFoundError
from rubrika.serve.queues import labelled
from rubrika.serve.reviews import DISAGREEMENTS, QUEUES, SUSPECTS, Item, Reviews
from rubrika.serve.settle import product_of
from rubrika.store.base import Point

ALTERNATIVES, SHOWN, LAST = 5, 60, 8
Values = dict[str, Any]


def home(index: Opened, reviews: Reviews) -> Values:
    """How far the queues are, and what was decided last."""
    counts = index.store.facet("category_id")
    return {
        "queues": [reviews.queue(name) for name in QUEUES],
        "last": reviews.decisions(LAST),
        "products": sum(counts.values()),
        "categories": len(names_of(index)),
        "dashboard": _dashboard(index),
    }


def stored(index: Opened, id: int) -> Item:
    """A stored product, as an item of no queue; NotFoundError when there is none."""
    point = index.store.fetch([id]).get(id)
    if point is None:
        raise NotFoundError(f"product {id} is not in the index")
    return Item("", **labelled(point, index.remembered(Owned.of)))


def product(index: Opened, item: Item, picture: bytes | None) -> Values:
    """A product: its label, what is predicted for it now, and what that rests on."""
    point = index.store.fetch([int(item.number)]).get(int(item.number))
    found, failed = None, ""
    try:
        found = explain(index, _query(index, item, point, picture))
    except RubrikaError as error:
        failed = str(error)
    best, confidence = _best(item, found)
    content = item.content or {}
    said = point.payload if point else {}
    by = f"{said.get('labelled_by')}, {str(said.get('labelled_at'))[:10]}" if is_by_person(said) else ""
    label = Item("", **labelled(point, index.remembered(Owned.of))) if point else item
    parents = _parents(best.category_path) if best else []
    sure = next((path for path in parents if found and found.sure and _same(path, found.sure)), None)
    others = [
        each
        for each in (found.alternatives if found else [])
        if best is None or each.category_id != best.category_id or each.category_path != best.category_path
    ]
    return {
        "id": item.product_id,
        "number": item.number,
        "title": item.title or str(content.get("title", "")),
        "text": str(said.get("text") or content.get("text") or ""),
        "shop": item.shop,
        "by_person": by,
        "label": label.category,
        "label_id": label.category_id,
        "best": best,
        "confidence": confidence,
        "share": found.predicted.share if found and best is found.predicted else None,
        "sure": sure,
        "others": others[:ALTERNATIVES],
        "parents": parents,
        "new_under": " > ".join([*Category(0, best.category_path).levels[:-1], ""]) if best else "",
        "words": found.words if found else [],
        "neighbours": found.neighbours if found else [],
        "failed": failed,
        "actions": point is not None or item.content is not None,
        "dashboard": _dashboard(index),
    }


def category(index: Opened, reviews: Reviews, id: str) -> Values:
    """A category: its products, what waits in it, and what it is mixed up with there."""
    names, owned = names_of(index), index.remembered(Owned.of)
    number = category_id_of("category_id", id, index.folder)
    if number not in names:
        raise NotFoundError(f"category {id} is not known")
    path = names[number]
    waiting = reviews.about(path, SHOWN)
    others = Counter(other for it in waiting for other in (it.category, it.predicted) if other and other != path)
    points = index.store.in_category(number, SHOWN)
    return {
        "id": owned.category(number),
        "name": path,
        "count": index.store.facet("category_id").get(number, 0),
        "waiting": waiting,
        "confused": others.most_common(ALTERNATIVES),
        "products": [
            {
                "id": point.own_id,
                "title": point.shown("title"),
                "by": point.payload.get("labelled_by") if is_by_person(point.payload) else None,
            }
            for point in points
        ],
    }


def _query(index: Opened, item: Item, point: Point | None, picture: bytes | None) -> Query:
    if point is not None:
        return Query.of_product(index, point.id)
    if item.content is None:
        advice = "open the desk with the table that was classified, as `products`"
        raise ParameterError(f"product {item.product_id} is not stored, so only its id is known; {advice}")
    return Query.of_whole(index, product_of(item, picture))


def _best(item: Item, found: Explanation | None) -> tuple[Share | None, float | None]:
    """What is predicted: by the audit or the catalogue where they say otherwise than the label, else by the index."""
    if item.queue in (SUSPECTS, DISAGREEMENTS) and item.predicted_id is not None:
        return Share(item.predicted_id, item.predicted, 1.0), item.confidence
    return (found.predicted, found.confidence) if found else (None, None)


def _parents(path: str) -> list[str]:
    """The levels above a category, from the top, without the root that all share."""
    parts = path.split(SEPARATOR)
    prefixes = [SEPARATOR.join(parts[:end]) for end in range(1, len(parts))]
    return [prefix for prefix in prefixes if len(Category(0, path).levels) - len(parts) + prefix.count(SEPARATOR) >= 0]


def _same(path: str, other: str) -> bool:
    return display_path(path) == display_path(other)


def _dashboard(index: Opened) -> str | None:
    with suppress(IndexFolderError):
        return index.dashboard(None)
    return None
