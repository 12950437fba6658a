"""A row of a table becomes a Product, or is rejected with a reason."""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from rubrika.errors import InputError
from rubrika.products.product import SEPARATOR, Category, Product
from rubrika.products.text import RowError, first_line, one_line, parse_fields, product_text, product_title, shortened

LABEL = ("category_id", "category_name")
OPTIONAL = ("shop_id", "shop_title", "rating", "sale")
# Who set the label: PERSON, or anything else.
LABEL_SOURCE, PERSON = "label_source", "person"
_NUMBER, _TEXT = "a whole number", "text"
_NEEDED = {"product_id": _NUMBER, "text_fields": _TEXT, "category_id": _NUMBER, "category_name": _TEXT}

MAX_ID, MAX_SIGNED = 2**64 - 1, 2**63 - 1
# Beyond this a float no longer tells neighbouring whole numbers apart.
MAX_EXACT = 2**53
# What a person sees of a product, and what its payload holds: see docs/data.md.
MAX_TITLE, MAX_SHOP_TITLE, MAX_PATH, MAX_LEVELS, MAX_PERSON = 1_000, 200, 2_000, 32, 200
# An invalid id is shown in so many characters; a whole number of more bits than this would be longer.
MAX_SHOWN, MAX_SHOWN_BITS = 40, 128

Row = Mapping[str, object]


class ColumnType(NamedTuple):
    """The type of a column, and whether it can hold numbers or texts."""

    type: object
    has_numbers: bool
    has_texts: bool


def wanted_columns(
    source: Path, names: Sequence[str], type_of: Callable[[str], ColumnType], labelled: bool, group_by: str | None
) -> list[str]:
    """The columns to read of those there are: the required ones, `group_by` too, then optional ones that are there."""
    required = ["product_id", "text_fields", *(LABEL if labelled else ()), *([group_by] if group_by else ())]
    if missing := [name for name in required if name not in names]:
        present, them = first_line(", ".join(names)) or "none", "it" if len(missing) == 1 else "them"
        raise InputError(f"{source}: no column {', '.join(missing)} (it has {present}); rename or add {them}")
    optional = (*OPTIONAL, *([LABEL_SOURCE] if labelled else ()))
    columns = list(dict.fromkeys([*required, *(name for name in optional if name in names)]))
    for name in columns:
        if names.count(name) > 1:
            raise InputError(f"{source}: {names.count(name)} columns are called {name}; keep one")
        column, needed = type_of(name), _NEEDED.get(name)
        if needed and not (column.has_numbers if needed == _NUMBER else column.has_texts):
            shown = first_line(str(column.type))
            raise InputError(f"{source}: column {name} is {shown}, not {needed}; convert it first")
    return columns


def product_of(row: Row, number: int, labelled: bool, group_by: str | None) -> Product:
    """Build a product from the values of a row by column name, and its number in the file, from 1."""
    product_id = whole("product_id", row["product_id"], MAX_ID)
    fields = parse_fields(row["text_fields"])
    if not (title := product_title(fields)):
        raise RowError("text_fields has no title")
    rating, shop_title = _finite(row.get("rating")), row.get("shop_title")
    group, source = row[group_by] if group_by else None, row.get(LABEL_SOURCE)
    return Product(
        id=product_id,
        title=shortened(title, MAX_TITLE),
        text=product_text(fields),
        row=number,
        category=label_of(row["category_id"], row["category_name"]) if labelled else None,
        shop_id=_shop_id(row.get("shop_id")),
        shop_title=shortened(one_line(shop_title), MAX_SHOP_TITLE) if isinstance(shop_title, str) else "",
        rating=None if rating is None else float(rating),
        sale=_flag(row.get("sale")),
        # NaN is not even equal to itself.
        group="" if group is None or group != group else str(group),
        by_person=labelled and isinstance(source, str) and source.strip().casefold() == PERSON,
    )


def shown_id(value: object) -> str:
    """An id as its owner wrote it, cut when long: in a column with an empty cell even whole numbers are read as 2.0."""
    if isinstance(value, int) and value.bit_length() > MAX_SHOWN_BITS:
        return f"(a number of {value.bit_length():,} bits)"
    exact = isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT
    try:
        return f"{value:.0f}" if exact else shortened(str(value), MAX_SHOWN)
    except Exception:  # A DataFrame may hold an object that cannot be written.
        return f"(an object of type {type(value).__name__})"


def whole(name: str, value: object, largest: int) -> int:
    """A number from 0 to `largest`; RowError when the value is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise RowError(f"{name} is empty")
    if not isinstance(value, int | float) or (isinstance(value, float) and not value.is_integer()):
        raise RowError(f"{name} {shown_id(value)} is not a whole number")
    if not 0 <= value <= largest:
        raise RowError(f"{name} {shown_id(value)} is outside 0 … {largest}")
    if isinstance(value, float) and value > MAX_EXACT:
        raise RowError(f"{name} {value} may have been rounded, as its column holds fractions; write whole numbers")
    return int(value)


def label_of(number: object, name: object) -> Category:
    """The category of this id and path; RowError when they are none."""
    return _category(whole("category_id", number, MAX_SIGNED), name if isinstance(name, str) else "")


@lru_cache(maxsize=65_536)
def _category(number: int, path: str) -> Category:
    """Cached, so that products of one category share it."""
    if len(path) > MAX_PATH:
        raise RowError(f"category_name has {len(path):,} characters, more than the {MAX_PATH:,} that a path may have")
    # A printable path stays as it is, to be found again where it came from.
    path = path.strip() if path.isprintable() else one_line(path)
    category = Category(number, path)
    if not path.strip(f" {SEPARATOR}"):
        raise RowError("category_name is empty")
    if (levels := len(category.levels)) > MAX_LEVELS:
        raise RowError(f"category_name has {levels} levels, more than the {MAX_LEVELS} that it may have")
    return category


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
