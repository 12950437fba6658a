"""A JSON object becomes a Product as a row of a table does: by the names of docs/data.md, or of the ingested tables."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rubrika.errors import InputError
from rubrika.products.columns import Columns, ColumnType, Layout
from rubrika.products.images import MAX_BYTES
from rubrika.products.parquet import Row
from rubrika.products.product import Product
from rubrika.products.row import plain_cell, product_of
from rubrika.products.text import RowError

# Fields of one product; their names say which layout it has, and of layouts so many are kept.
MAX_FIELDS, MAX_LAYOUTS = 100, 256
_SOURCE = Path("product")
_PICTURE, _IMAGE = "picture", "image"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Refused:
    """An object that is no product, and why."""

    product_id: object
    reason: str


@dataclass
class ProductReader:
    """Reads JSON products for one index."""

    columns: Columns
    _layouts: dict[tuple[str, ...], Layout] = field(default_factory=dict, repr=False)

    def read(self, objects: Sequence[Mapping[str, Any]]) -> list[Product | Refused]:
        """The products, numbered from 1, each a `Refused` where it is none."""
        return [self._read(each, number) for number, each in enumerate(objects, 1)]

    def _read(self, given: Mapping[str, Any], number: int) -> Product | Refused:
        try:
            row = row_of(given, self.columns)
            return product_of(row, number, self._layout(tuple(row)))
        except (RowError, InputError) as error:
            return Refused(given.get("product_id", given.get("id")), str(error))
        except Exception as error:  # A value may be anything that JSON can hold.
            return Refused(None, f"a field cannot be read ({type(error).__name__})")

    def _layout(self, names: tuple[str, ...]) -> Layout:
        if names not in self._layouts:
            if len(self._layouts) >= MAX_LAYOUTS:
                self._layouts.clear()
            # In JSON every value is judged by itself.
            found = self.columns.layout(_SOURCE, names, lambda name: ColumnType("any", "anything"), False, None)
            self._layouts[names] = found
        return self._layouts[names]


def row_of(given: Mapping[str, Any], columns: Columns) -> Row:
    """The row that a JSON product stands for: `id` is its product_id, and `picture` a picture in base64."""
    if len(given) > MAX_FIELDS:
        raise RowError(f"it has {len(given):,} fields, more than the {MAX_FIELDS} that are read")
    row = {str(name): plain_cell(value) for name, value in given.items()}
    if not _is_text(row):
        raise RowError("it has half of a character (a lone surrogate); send text in UTF-8")
    if "id" in row and "product_id" not in row:
        row["product_id"] = row.pop("id")
    if (picture := row.pop(_PICTURE, None)) is not None:
        row[next(iter(columns.remembered.get(_IMAGE, ())), _IMAGE)] = picture_of(picture)
    # What is missing is empty, so that the reason speaks of this product.
    return {"product_id": None, **({} if "text_fields" in row else {"title": None}), **row}


def picture_of(value: object) -> bytes:
    """The bytes of a picture in base64; it is never fetched from anywhere."""
    if not isinstance(value, str) or len(value) > MAX_BYTES * 4 // 3 + 4:
        raise RowError(f"picture is the text of its bytes in base64, at most {MAX_BYTES // 10**6} MB of them")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise RowError("picture is not base64; send the bytes of a JPEG, PNG or WEBP picture in it") from None


def _is_text(value: object) -> bool:
    """Whether all texts in a value can be written; JSON can escape what is no character."""
    if isinstance(value, str):
        return value.isascii() or not _SURROGATE.search(value)
    if isinstance(value, dict):
        return all(_is_text(name) and _is_text(inner) for name, inner in value.items())
    return all(map(_is_text, value)) if isinstance(value, list) else True
