"""What is asked of the index by the thread that owns it, as plain values."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa

from rubrika.api import Index
from rubrika.errors import ParameterError, RubrikaError
from rubrika.index.folder import Index as Opened
from rubrika.index.manifest import IMAGE
from rubrika.index.owned import Owned
from rubrika.ingest.naming import list_categories
from rubrika.inputs import columns_of, product_id_of
from rubrika.products.images import PictureFolder
from rubrika.products.product import Kept, Product, display_path
from rubrika.products.text import RowError
from rubrika.retrieve.classify import classify
from rubrika.retrieve.confidence import REVIEW
from rubrika.retrieve.guarantee import Policy
from rubrika.retrieve.predictions import DETAILS, details_of
from rubrika.serve.journal import once
from rubrika.serve.metrics import Metrics
from rubrika.serve.models import LabelsRequest
from rubrika.serve.products import Refused, row_of

# What is shown of a stored product, beside its ids and names.
_TEXTS = ("title", "text", "category", "category_path")
_SHOWN = ("label", "brand", "shop_id", "shop_title", "rating", "sale", "image_url")
_BY = ("label_source", "labelled_by", "labelled_at")
COUNTS = ("added", "updated", "relabelled", "verified", "unchanged")


class NotFoundError(RubrikaError):
    """A product that is not in the index."""


def predictions(index: Opened, products: Sequence[Product], policy: Policy, metrics: Metrics) -> list[dict[str, Any]]:
    """What details.parquet would have of products, in their order."""
    owned, rows = index.remembered(Owned.of), list[dict[str, Any]]()
    numbered = Kept([replace(product, row=number) for number, product in enumerate(products)])
    pictures = PictureFolder(None) if IMAGE in index.manifest.vectors else None
    for one in classify(index, numbered, pictures, policy=policy):
        metrics.classified(index, one)
        found = zip(one.batch.products, details_of(one, owned), strict=True)
        rows += [{"product_id": product.own_id} | row | {"reason": None} for product, row in found]
    return rows


def refused(one: Refused) -> dict[str, Any]:
    """The same of an object that is no product."""
    id = one.product_id if type(one.product_id) in (int, str) else None
    return {"product_id": id} | dict.fromkeys(DETAILS) | {"decision": REVIEW, "reason": one.reason}


def stored_product(index: Opened, id: str) -> dict[str, Any]:
    """A stored product."""
    number = product_id_of(id)
    point = index.store.fetch([number]).get(number)
    if point is None:
        raise NotFoundError(f"product {id} is not in the index")
    category = index.remembered(Owned.of).category(point.category_id)
    found = {"product_id": point.own_id, "category_id": category} | {name: point.shown(name) for name in _TEXTS[2:]}
    texts = {name: point.text(name) for name in _TEXTS[:2] if name in point.payload}
    others = {name: point.payload[name] for name in (*_SHOWN, *_BY) if name in point.payload}
    return found | texts | others


def categories(index: Opened, words: str, limit: int) -> dict[str, Any]:
    """Categories whose path has all these words, or whose id they are, those with most products first."""
    owned, wanted = index.remembered(Owned.of), words.casefold().split()
    found = [
        (each, owned.category(each.category_id))
        for each in index.remembered(list_categories).categories or ()
        if all(word in each.category_name.casefold() for word in wanted)
        or words.strip() in (str(each.category_id), str(owned.category(each.category_id)))
    ]
    found.sort(key=lambda it: (-it[0].products, display_path(it[0].category_name), it[0].category_id))
    shown = [{"category_id": id, "category_name": it.category_name, "products": it.products} for it, id in found]
    return {"found": len(shown), "categories": shown[:limit]}


def correct(index: Index, asked: LabelsRequest, key: str | None) -> dict[str, Any]:
    """Make corrections, once under one key; they are a person's labels, and vote from then on."""
    if (asked.labels is None) == (asked.products is None):
        raise ParameterError("give one of `labels`, of stored products, and `products`, new ones with their categories")
    folder = index.opened().folder
    return once(folder, key, asked.model_dump(), lambda: _labels(index, asked) if asked.labels else _new(index, asked))


def _labels(index: Index, asked: LabelsRequest) -> dict[str, Any]:
    given = dict[int | str, int | str | None]()
    for each in asked.labels or ():
        if given.setdefault(each.product_id, each.category_id) != each.category_id:
            raise ParameterError(f"product {each.product_id} has two categories; keep one, nothing was changed")
    found = index.correct(given, asked.category_name, by=asked.by).to_dict()
    return {name: found.get(name, 0) for name in COUNTS}


def _new(index: Index, asked: LabelsRequest) -> dict[str, Any]:
    if asked.category_name is not None:
        raise ParameterError("new products have their categories themselves; leave `category_name` out")
    columns = columns_of(None, None, index.opened().folder)
    try:
        rows = [row_of(each, columns) for each in asked.products or ()]
    except RowError as error:
        raise ParameterError(f"`products`: {error}; nothing was changed") from None
    table = pd.DataFrame(rows, dtype=object)
    for name in table.columns:
        if any(isinstance(cell, bytes) for cell in table[name]):
            cells = [cell if isinstance(cell, bytes) else None for cell in table[name]]
            table[name] = pd.Series(cells, dtype=pd.ArrowDtype(pa.binary()))
    found = index.ingest(table, verified=True, by=asked.by, strict=True).to_dict()
    return {name: found.get(name, 0) for name in COUNTS}
