"""Reads products from a pandas DataFrame in batches, as `parquet.Reader` does from files."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rubrika.products.columns import check_type, wanted_columns
from rubrika.products.parquet import BATCH_ROWS
from rubrika.products.product import Batch, Product, Reject
from rubrika.products.row import RowError, product_of, shown_id
from rubrika.products.text import joined

if TYPE_CHECKING:
    import pandas as pd

# What stands in messages where otherwise a file does.
PLACE = Path("DataFrame")


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
                except Exception as error:  # A cell may be anybody's object, and raise whatever it likes.
                    reason = (
                        str(error) if isinstance(error, RowError) else f"a cell cannot be read ({type(error).__name__})"
                    )
                    rejects.append(Reject(PLACE, number, shown_id(row["product_id"]), reason))
            yield Batch(PLACE, products, rejects)

    def _columns(self) -> list[str]:
        columns = wanted_columns(PLACE, [str(name) for name in self.frame.columns], self.labelled)
        for name in columns:
            self._check_type(name)
        return columns

    def _check_type(self, name: str) -> None:
        from pandas.api import types

        kind = self.frame[name].dtype
        # Of a column of Python's own objects, every cell is judged by itself.
        anything = types.is_object_dtype(kind) or not len(self.frame)
        number = types.is_numeric_dtype(kind) and not types.is_bool_dtype(kind)
        text = types.is_string_dtype(kind) or isinstance(kind, types.CategoricalDtype)
        check_type(PLACE, name, kind, number or anything, text or anything)


def _cells(column: "pd.Series[Any]") -> list[Any]:
    """Cells as a parquet file would give them: Python's own numbers, and None where there is nothing."""
    cells = column.astype(object).tolist()
    return [_cell(cell.item() if isinstance(cell, np.generic) else cell) for cell in cells]


def _cell(cell: object) -> object:
    import pandas as pd

    empty = cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))
    # `pandas.isna` stumbles over a Decimal's NaN that signals.
    return None if empty or (isinstance(cell, Decimal) and cell.is_nan()) else cell


def _notation(cell: object) -> object:
    """A dictionary as JSON, so that it goes the way of all cells: the same text, the same bounds."""
    if not isinstance(cell, dict):
        return cell
    try:
        return json.dumps(_plain(cell), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise RowError("text_fields is a dictionary that cannot be written as JSON") from None


def _plain(value: object) -> object:
    """What JSON can hold, of what tables do; anything else counts as its words."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, set | frozenset):
        # In the order of the text that is made of it, as a set has another one in every process.
        return sorted(map(_plain, value), key=joined)
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    value = _cell(value.item() if isinstance(value, np.generic) else value)
    return value if value is None or isinstance(value, str | int | float) else str(value)
