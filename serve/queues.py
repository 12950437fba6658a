"""Fills the queues of the desk, from what `classify --details`, `audit` and `ingest` wrote, or products sent in."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
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
from rubrika.retrieve.confidence import AUTO, NEW
from rubrika.serve.reviews import DISAGREEMENTS, SUSPECTS, UNCERTAIN, Item, Reviews, check_room
from rubrika.serve.reviews import NEW as NEW_QUEUE
from rubrika.serve.settle import content_of
from rubrika.store.base import Point

BATCH = 1_000
# The confidence that a label is wrong below which nobody is asked, since it is shown as 0 %; but for so many, as the
# estimate of a small shop is rough.
MIN_SUSPICION, ALWAYS = 0.005, 50
Row = Mapping[str, Any]
Look = Callable[[str, Row, Point | None, Owned], Item | None]
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
    queues, look = _LOOKS[kind]
    waiting = {queue: dict[str, Item]() for queue in queues}
    for item in _looked_at(index, _rows(file), look):
        waiting[item.queue][item.number] = item
        check_room(len(waiting[item.queue]))
    pictured = _describe(waiting, products) if products else False
    found = {queue: _alike(list(items.values())) for queue, items in waiting.items()}
    counts = {queue: reviews.fill(queue, items) for queue, items in found.items()}
    if products and pictured:
        # All pictures at once would be too many.
        for batch in products:
            pictures = {str(each.id): each.image for each in batch.products if isinstance(each.image, bytes)}
            reviews.keep_pictures(pictures)
    return counts


def sent_in(index: Opened, rows: Sequence[Row], products: Sequence[Product]) -> list[Item]:
    """The items of products that were sent in and classified, rows of details, where somebody has to look at them."""
    numbered = {str(product.id): product for product in products}
    queued = [(str(product.id), row) for product, row in zip(products, rows, strict=True) if row["decision"] != AUTO]
    items = list[Item]()
    for item in _looked_at(index, queued, _predicted):
        product = numbered[item.number]
        picture = product.image if isinstance(product.image, bytes) else None
        items.append(replace(_described(item, product), picture=picture) if item.category_id is None else item)
    return items


def _looked_at(index: Opened, rows: Iterable[tuple[str, Row]], look: Look) -> Iterator[Item]:
    """The items of rows, each with its product's number, without those that nobody need look at."""
    owned, left = index.remembered(Owned.of), iter(rows)
    while batch := list(islice(left, BATCH)):
        points = index.store.fetch([int(number) for number, _ in batch])
        for number, row in batch:
            if item := look(number, row, points.get(int(number)), owned):
                yield item


def _describe(waiting: Mapping[str, dict[str, Item]], products: Products) -> bool:
    """Say of products that are not stored what they are; whether any has its picture in its row."""
    pictured = False
    for batch in products:
        for product in batch.products:
            for items in waiting.values():
                item = items.get(str(product.id))
                if item and item.category_id is None:
                    items[item.number] = _described(item, product)
                    pictured |= isinstance(product.image, bytes)
    return pictured


def _rows(file: Path) -> Iterator[tuple[str, Row]]:
    """The rows that have a product, with its number and their order, without what the desk finds anew."""
    try:
        with pq.ParquetFile(file) as source:
            plain = [it.name for it in source.schema_arrow if not pa.types.is_list(it.type)]
            rows = (row for batch in source.iter_batches(columns=plain) for row in batch.to_pylist())
            for order, row in enumerate(rows):
                if (number := _number(row["product_id"])) is not None:
                    yield number, {**row, "order": order}
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: cannot be read ({error}); make it again") from None


def _number(id: object) -> str | None:
    """The number of a product in the store."""
    try:
        return str(identity("product_id", id)[0])
    except RowError:
        return None


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


def _predicted(number: str, row: Row, point: Point | None, owned: Owned) -> Item | None:
    """A product with its prediction, unless a person has said what it is; of one that is not stored, the id alone."""
    if row["predicted_category_id"] is None or (point and is_by_person(point.payload)):
        return None  # a row that was set aside has no prediction
    if row["decision"] == AUTO:
        return _contradicted(point, row, owned) if point else None
    queue = NEW_QUEUE if row["decision"] == NEW else UNCERTAIN
    own = labelled(point, owned) if point else {"number": number, "product_id": row["product_id"], "title": ""}
    return Item(queue, **own, **_said(row), rank=row["confidence"] or 0.0)


def _described(item: Item, product: Product) -> Item:
    """A product that is not stored, with what it needs to become so."""
    shop = product.shop_title or ("" if product.shop_id is None else str(product.shop_id))
    return replace(item, product_id=product.own_id, title=product.title, shop=shop, content=content_of(product))


def _contradicted(point: Point, row: Row, owned: Owned) -> Item | None:
    """A stored product that is surely predicted otherwise than its label."""
    labels = labelled(point, owned)
    if labels["category_id"] == row["predicted_category_id"]:
        return None
    return Item(DISAGREEMENTS, **labels, **_said(row), rank=-(row["confidence"] or 0.0))


def _suspect(number: str, row: Row, point: Point | None, owned: Owned) -> Item | None:
    """A stored product whose label may be wrong, unless it was corrected since, or hardly can be."""
    if point is None or is_by_person(point.payload) or (row["order"] >= ALWAYS and row["confidence"] < MIN_SUSPICION):
        return None
    labels = labelled(point, owned)
    if labels["category_id"] != row["category_id"]:
        return None
    suggested: dict[str, Any] = {
        "predicted_id": row["suggested_category_id"],
        "predicted": row["suggested_category_name"] or "",
    }
    return Item(SUSPECTS, **labels, **suggested, confidence=row["confidence"], rank=row["order"])


def _kept(number: str, row: Row, point: Point | None, owned: Owned) -> Item | None:
    """A stored product whose category a person set, and the catalogue says another one."""
    if point is None:
        return None
    labels = labelled(point, owned)
    other = owned.category(row["row_category_id"])
    if labels["category_id"] == other:
        return None
    said: dict[str, Any] = {"predicted_id": other, "predicted": row["row_category_name"] or ""}
    return Item(DISAGREEMENTS, **labels, **said, rank=row["order"])


def _alike(items: Sequence[Item]) -> list[Item]:
    """The same items, with a number that near duplicates share."""
    if not items:
        return []
    texts = [str((item.content or {}).get("text") or item.title or item.number) for item in items]
    named = [str((item.content or {}).get("group") or "") for item in items]
    numbers = [group_number(it.title, group, int(it.number)) for it, group in zip(items, named, strict=True)]
    groups = merged_groups(np.array(numbers, np.int64), text_groups(texts))
    return [replace(item, alike=group + 1) for item, group in zip(items, groups.tolist(), strict=True)]


# What each kind of file fills, and how its rows are looked at.
_LOOKS: Mapping[str, tuple[Sequence[str], Look]] = {
    "confidence of predictions": ((UNCERTAIN, NEW_QUEUE, DISAGREEMENTS), _predicted),
    "label issues": ((SUSPECTS,), _suspect),
    "kept labels": ((DISAGREEMENTS,), _kept),
}
