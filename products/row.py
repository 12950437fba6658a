"""A row of a table becomes a Product, or is rejected with a reason."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal

import numpy as np

from rubrika.products.columns import LABEL_SOURCE, PARTS, PERSON, Layout
from rubrika.products.identity import MAX_SIGNED, category_of, identity
from rubrika.products.parquet import Row
from rubrika.products.product import Product
from rubrika.products.text import (
    COLUMNS,
    RowError,
    joined,
    one_line,
    parse_fields,
    product_text,
    product_title,
    shortened,
)

# What a person sees of a product: see docs/data.md.
MAX_TITLE, MAX_SHOP_TITLE, MAX_PERSON = 1_000, 200, 200
# In a table that was converted: why a row is none, and the line of the file that it begins at.
BROKEN, LINE = "\0broken", "\0line"


def product_of(row: Row, number: int, layout: Layout) -> Product:
    """Build a product from the values of a row by column name, and its number in the file, from 1."""
    at = layout.at
    if broken := row.get(BROKEN):
        raise RowError(str(broken))
    id, key = identity("product_id", row[at["product_id"]], exact=layout.exact.get(at["product_id"], 2**53))
    fields = fields_of(row, layout)
    if not (title := product_title(fields)):
        raise RowError("text_fields has no title" if "text_fields" in at else f"{at['title']} is empty")
    shop_id, rating, sale = (_number(row[at[name]]) if name in at else None for name in ("shop_id", "rating", "sale"))
    stars, shop_title = _finite(rating), _value(row, at, "shop_title")
    group, source = row[layout.group] if layout.group else None, _value(row, at, LABEL_SOURCE)
    *numbers, name = layout.label or (None,)
    cells = [] if name is None else [*(row[number] for number in numbers), _text(row[name])]
    category = category_of(cells, layout.separator, layout.known) if cells else None
    return Product(
        id=id,
        title=shortened(title, MAX_TITLE),
        text=product_text(fields),
        row=number,
        category=category,
        shop_id=_shop_id(shop_id),
        shop_title=shortened(one_line(shop_title), MAX_SHOP_TITLE) if isinstance(shop_title, str) else "",
        rating=None if stars is None else float(stars),
        sale=_flag(sale),
        # NaN is not even equal to itself.
        group="" if group is None or group != group else str(group),
        by_person=category is not None and isinstance(source, str) and source.strip().casefold() == PERSON,
        key=key,
        image=picture_cell(_value(row, at, "image")),
    )


def fields_of(row: Row, layout: Layout) -> dict[str, object]:
    """The title, the description and the like of a row, from its dictionary or from plain columns."""
    at = layout.at
    if "text_fields" in at:
        fields = parse_fields(_notation(row[at["text_fields"]]))
    else:
        fields = {name: plain_value(row[at[name]]) for name in ("title", *PARTS) if name in at}
    if texts := {name: words for name in layout.texts if (words := _text(row[name]))}:
        fields[COLUMNS] = texts
    return fields


def _text(value: object) -> str:
    """A cell as text; empty where there is nothing, as NaN is not even equal to itself."""
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return "" if value is None or value != value else str(value)


def _value(row: Row, at: Mapping[str, str], name: str) -> object:
    return row[at[name]] if name in at else None


def _number(value: object) -> object:
    """A number that is written as text, as all are in CSV, as a number."""
    if not isinstance(value, str):
        return value
    if (word := value.strip().casefold()) in ("true", "false"):
        return word == "true"
    with suppress(ValueError):
        return float(word) if any(mark in word for mark in ".en") else int(word)
    return None


def picture_cell(value: object) -> str | bytes:
    """What a cell says of a picture: its file name or its bytes; of both, as in Hugging Face's datasets, the bytes."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    return value if isinstance(value, bytes) else _text(value).strip()


def _notation(cell: object) -> object:
    """A dictionary as JSON, so that it is read like any other cell: the same text, the same limits."""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    if not isinstance(cell, dict):
        return cell
    try:
        return json.dumps(plain_value(cell), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise RowError("text_fields is a dictionary that cannot be written as JSON") from None


def plain_value(value: object) -> object:
    """What JSON can hold of a nested value; anything else as text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(inner) for inner in value]
    if isinstance(value, set | frozenset):
        # Sorted as text, since a set has another order in every process.
        return sorted(map(plain_value, value), key=joined)
    if isinstance(value, np.ndarray):
        return plain_value(value.tolist())
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    value = plain_cell(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def plain_cell(cell: object) -> object:
    """A cell as a parquet file would give it: a number of Python's own, and None where there is nothing."""
    cell = cell.item() if isinstance(cell, np.generic) else cell
    if isinstance(cell, float):
        return None if math.isnan(cell) else cell
    if isinstance(cell, Decimal):
        return None if cell.is_nan() else cell
    # Of pandas, by name: it is not imported for this.
    return None if type(cell).__name__ in ("NAType", "NaTType") else cell


def _shop_id(value: object) -> int | None:
    """A shop's number, if the store can index it: whole, and signed in 64 bits."""
    number = _finite(value)
    is_id = number is not None and number == int(number) and -MAX_SIGNED - 1 <= number <= MAX_SIGNED
    return int(number) if number is not None and is_id else None


def _flag(value: object) -> bool | None:
    number = _finite(value)
    return value if isinstance(value, bool) else None if number is None else bool(number)


def _finite(value: object) -> int | float | Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        return value if math.isfinite(value) else None
    except (OverflowError, ValueError):  # A number that no float holds, or a signalling NaN.
        return None
