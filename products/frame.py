"""Reads products from a pandas DataFrame in batches, as `parquet.Reader` does from files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rubrika.errors import InputError
from rubrika.products.parquet import BATCH_ROWS
from rubrika.products.product import Batch, Product, Reject
from rubrika.products.row import RowError, product_of, shown_id

if TYPE_CHECKING:
    import pandas as pd

# What stands in messages where otherwise a file does.
PLACE = Path("DataFrame")

_REQUIRED = ("product_id", "text_fields")
_LABEL = ("category_id", "category_name")
_OPTIONAL = ("shop_id", "shop_title", "rating", "sale")
_WHOLE_NUMBERS = ("product_id", "category_id")
_TEXTS = ("text_fields", "category_name")


@dataclass(frozen=True)
class Frame:
    """Products of a DataFrame with the columns of a parquet file of products, as `Products`; its index says nothing.

    Args:
        frame: a row a product; a cell of `text_fields` may be a dictionary as well as its notation in a string.
        labelled: whether every row must carry category_id and category_name.
        batch_rows: how many rows make a batch.
    """

    frame: "pd.DataFrame"
    labelled: bool
    batch_rows: int = BATCH_ROWS

    @property
    def files(self) -> Sequence[Path]:
        """None: nothing can be read again once the DataFrame is gone."""
        return ()

    def __len__(self) -> int:
        """How many rows there are, good and bad."""
        return len(self.frame)

    def check(self) -> None:
        """Look at the columns.

        Raises:
            InputError: one is missing, twice there, or cannot hold what it should.
        """
        self._columns()

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rows in order, numbered from 1, `batch_rows` at a time.

        Raises:
            InputError: as `check` does.
        """
        columns = self._columns()
        for start in range(0, len(self.frame), self.batch_rows):
            part = self.frame.iloc[start : start + self.batch_rows]
            cells = [_cells(part[name]) for name in columns]
            products, rejects = list[Product](), list[Reject]()
            for number, values in enumerate(zip(*cells, strict=True), start + 1):
                row = dict(zip(columns, values, strict=True))
                try:
                    row["text_fields"] = _notation(row["text_fields"])
                    products.append(product_of(row, number, self.labelled, None))
                except RowError as error:
                    rejects.append(Reject(PLACE, number, shown_id(row["product_id"]), str(error)))
            yield Batch(PLACE, products, rejects)

    def _columns(self) -> list[str]:
        names = [str(name) for name in self.frame.columns]
        wanted = (*_REQUIRED, *(_LABEL if self.labelled else ()))
        missing = [name for name in wanted if name not in names]
        if missing:
            raise InputError(
                f"{PLACE}: no column {', '.join(missing)} (it has {', '.join(names) or 'none'}); "
                f"rename or add {'it' if len(missing) == 1 else 'them'}"
            )
        columns = [*wanted, *(name for name in _OPTIONAL if name in names)]
        for name in columns:
            if names.count(name) > 1:
                raise InputError(f"{PLACE}: {names.count(name)} columns are called {name}; keep one")
            self._check_type(name)
        return columns

    def _check_type(self, name: str) -> None:
        from pandas.api import types

        kind = self.frame[name].dtype
        # Of a column of Python's own objects, every cell is judged by itself.
        anything = types.is_object_dtype(kind) or not len(self.frame)
        number = types.is_numeric_dtype(kind) and not types.is_bool_dtype(kind)
        text = types.is_string_dtype(kind) or isinstance(kind, types.CategoricalDtype)
        if name in _WHOLE_NUMBERS and not (number or anything):
            raise InputError(f"{PLACE}: column {name} is {kind}, not a whole number; convert it first")
        if name in _TEXTS and not (text or anything):
            raise InputError(f"{PLACE}: column {name} is {kind}, not text; convert it first")


def _cells(column: "pd.Series[Any]") -> list[Any]:
    """Cells as a parquet file would give them: Python's own numbers, and None where there is nothing."""
    cells = column.astype(object).where(column.notna(), None).tolist()
    return [cell.item() if isinstance(cell, np.generic) else cell for cell in cells]


def _notation(cell: object) -> object:
    """A dictionary as JSON, so that it goes the way of all cells: the same text, the same bounds."""
    if not isinstance(cell, dict):
        return cell
    try:
        return json.dumps(cell, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError):
        raise RowError("text_fields is a dictionary that cannot be written as JSON") from None


def _plain(value: object) -> object:
    """What JSON does not know but tables hold; anything else counts as its words."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(value) if isinstance(value, set | frozenset | tuple) else str(value)
