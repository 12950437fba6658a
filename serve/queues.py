"""Fills the queues of the desk, from what `classify --details`, `audit` and `ingest` wrote, or products sent in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rubrika.encode.duplicates import group_number, merged_groups, text_groups
from rubrika.errors import InputError
from rubrika.index.folder import Index as Opened
from rubrika.index.owned import Owned
from rubrika.ingest.diff import is_by_person
from rubrika.products.identity import identity
from rubrika.products.product import Product, Products
from rubrika.products.text import RowError
from rubrika.retrieve.confidence import AUTO, NEW, REVIEW
from rubrika.serve.reviews import DISAGREEMENTS, SUSPECTS, UNCERTAIN, Item, Reviews
from rubrika.serve.reviews import NEW as NEW_QUEUE
from rubrika.serve.settle import content_of
from rubrika.store.base import Point

BATCH = 1_000
# The confidence that a label is wrong below which nobody is asked, since it is shown as 0 %; but for so many, as the
# estimate of a small shop is rough.
MIN_SUSPICION, ALWAYS = 0.005, 50
Row = Mapping[str, Any]
_KINDS = {
    "confidence of predictions": {"product_id", "predicted_category_id", "confidence", "decision"},
    "label issues": {"product_id", "suggested_category_id", "confidence"},
    "kept labels": {"product_id", "category_id", "row_category_id"},
}


def fill(index: Opened, reviews: Reviews, file: Path, products: Products | None = None) -> dict[str, int]:
    """Let the products of a file wait, in place of those of an earlier one; return how many wait in each queue.

    The file is what `classify --details`, `audit` or `ingest` (kept labels) wrote. `products` are those that were
    classified; without them, a product that is not stored is known by its id alone. InputError: it is none of these.
    """
    try:
        names = set(pq.read_schema(file).names)
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; make one with `rubrika classify --details {file}`") from None
    except (pa.ArrowException, OSError):
        names = set()
    kind = next((kind for kind, wanted in _KINDS.items() if wanted <= names), None)
    if kind is None:
        made = "`rubrika classify --details`, `rubrika audit` or `rubrika ingest` (kept labels)"
        raise InputError(f"{file}: not a parquet file that {made} wrote; give one of these")
    if kind == "confidence of predictions":
        return _fill_predictions(index, reviews, file, products)
    queue, item = (SUSPECTS, _suspect) if kind == "label issues" else (DISAGREEMENTS, _kept)
    rows = [
        (number, {**row, "order": order})
        for order, row in enumerate(_rows(file))
        if (number := _number(row["product_id"])) is not None
    ]
    return {queue: reviews.fill(queue, _alike(_stored(index, rows, item)))}


def waiting(queued: Mapping[str, Any], product: Product, picture: bytes | None = None) -> Item | None:
    """The item of a product that was sent in and classified, a row of details; None where nobody need look at it."""
    if queued["decision"] not in (REVIEW, NEW):
        return None
    return _prediction(str(product.id), queued, product, picture)


def _fill_predictions(index: Opened, reviews: Reviews, file: Path, products: Products | None) -> dict[str, int]:
    queued, auto = dict[str, Row](), list[tuple[str, Row]]()
    for row in _rows(file):
        number = _number(row["product_id"])
        if number is None or row["predicted_category_id"] is None:
            continue  # a row that was set aside
        if row["decision"] == AUTO:
            auto.append((number, row))
        else:
            queued[number] = row
    items = _stored(index, list(queued.items()), _predicted)
    for batch in products or ():
        for product in batch.products:
            number = str(product.id)
            if number in queued and number not in items:
                picture = product.image if isinstance(product.image, bytes) else None
                items[number] = _prediction(number, queued[number], product, picture)
    for number, row in queued.items():
        items.setdefault(number, _prediction(number, row, None))
    found = list(_alike(items))
    counts = {
        queue: reviews.fill(queue, (item for item in found if item.queue == queue)) for queue in (UNCERTAIN, NEW_QUEUE)
    }
    counts[DISAGREEMENTS] = reviews.fill(DISAGREEMENTS, _alike(_stored(index, auto, _contradicted)))
    return counts


def _rows(file: Path) -> Iterator[Row]:
    """The rows, without what the desk finds anew."""
    try:
        with pq.ParquetFile(file) as source:
            plain = [it.name for it in source.schema_arrow if not pa.types.is_list(it.type)]
            for batch in source.iter_batches(columns=plain):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: cannot be read ({error}); make it again") from None


def _number(id: object) -> str | None:
    """The number of a product in the store."""
    try:
        return str(identity("product_id", id)[0])
    except RowError:
        return None


def _stored(
    index: Opened, rows: Sequence[tuple[str, Row]], item: Callable[[Point, Row, Owned], Item | None]
) -> dict[str, Item | None]:
    """The items of products that are stored, by number, in their order; None where nobody need look."""
    owned, found = index.remembered(Owned.of), dict[str, Item | None]()
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        points = index.store.fetch([int(number) for number, _ in part])
        found |= {number: item(points[int(number)], row, owned) for number, row in part if int(number) in points}
    return found


def labelled(point: Point, owned: Owned) -> dict[str, Any]:
    """What is shown of a stored product."""
    payload = point.payload
    return {
        "number": str(point.id),
        "product_id": point.own_id,
        "title": point.shown("title"),
        "category_id": owned.category(point.category_id),
        "category": point.shown("category_path"),
        "shop": str(payload.get("shop_title") or payload.get("shop_id") or ""),
    }


def _said(row: Row) -> dict[str, Any]:
    """What a row of details says of a prediction."""
    named = {"predicted_id": row["predicted_category_id"], "predicted": row.get("predicted_category_name") or ""}
    return named | {"confidence": row["confidence"], "note": row.get("suggestion") or ""}


def _predicted(point: Point, row: Row, owned: Owned) -> Item | None:
    """A stored product, unless a person has said what it is."""
    if is_by_person(point.payload):
        return None
    queue = NEW_QUEUE if row["decision"] == NEW else UNCERTAIN
    return Item(queue, **labelled(point, owned), **_said(row), rank=row["confidence"] or 0.0)


def _prediction(number: str, row: Row, product: Product | None, picture: bytes | None = None) -> Item:
    """A product that is not stored; without its content it cannot become so."""
    own: dict[str, Any] = {"product_id": row["product_id"], "title": ""}
    if product:
        shop = product.shop_title or ("" if product.shop_id is None else str(product.shop_id))
        own = {"product_id": product.own_id, "title": product.title, "shop": shop, "content": content_of(product)}
    queue = NEW_QUEUE if row["decision"] == NEW else UNCERTAIN
    return Item(queue, number, **own, **_said(row), rank=row["confidence"] or 0.0, picture=picture)


def _contradicted(point: Point, row: Row, owned: Owned) -> Item | None:
    """A stored product that is surely predicted otherwise than its label, which no person set."""
    labels = labelled(point, owned)
    if is_by_person(point.payload) or labels["category_id"] == row["predicted_category_id"]:
        return None
    return Item(DISAGREEMENTS, **labels, **_said(row), rank=-(row["confidence"] or 0.0))


def _suspect(point: Point, row: Row, owned: Owned) -> Item | None:
    """A stored product whose label may be wrong, unless it was corrected since, or hardly can be."""
    labels = labelled(point, owned)
    settled = is_by_person(point.payload) or labels["category_id"] != row["category_id"]
    if settled or (row["order"] >= ALWAYS and row["confidence"] < MIN_SUSPICION):
        return None
    suggested: dict[str, Any] = {
        "predicted_id": row["suggested_category_id"],
        "predicted": row["suggested_category_name"] or "",
    }
    return Item(SUSPECTS, **labels, **suggested, confidence=row["confidence"], rank=row["order"])


def _kept(point: Point, row: Row, owned: Owned) -> Item | None:
    """A stored product whose category a person set, and the catalogue says another one."""
    labels = labelled(point, owned)
    other = owned.category(row["row_category_id"])
    if labels["category_id"] == other:
        return None
    said: dict[str, Any] = {"predicted_id": other, "predicted": row["row_category_name"] or ""}
    return Item(DISAGREEMENTS, **labels, **said, rank=row["order"])


def _alike(found: Mapping[str, Item | None]) -> Iterator[Item]:
    """Those to look at, with a number that near duplicates share."""
    items = [item for item in found.values() if item is not None]
    texts = [str((item.content or {}).get("text") or item.title or item.number) for item in items]
    named = [str((item.content or {}).get("group") or "") for item in items]
    numbers = [group_number(it.title, group, int(it.number)) for it, group in zip(items, named, strict=True)]
    if not items:
        return
    groups = merged_groups(np.array(numbers, np.int64), text_groups(texts))
    for item, group in zip(items, groups.tolist(), strict=True):
        yield replace(item, alike=group + 1)
