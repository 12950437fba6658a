"""Products of a table in memory: a DataFrame of pandas, or any that gives its data as Arrow does."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from rubrika.products.columns import Columns, ColumnType, Layout
from rubrika.products.identity import category_of, guessed_separator
from rubrika.products.parquet import Row, rows_of, values_of
from rubrika.products.product import Batch, Category, Product
from rubrika.products.reader import BATCH_ROWS, batches, type_of
from rubrika.products.row import plain_cell, product_of
from rubrika.products.text import RowError

DATA_FRAME = Path("DataFrame")  # in messages and rejects, where otherwise a file stands


def is_table(source: object) -> bool:
    """Whether `Frame.of` takes it."""
    if type(source).__module__.split(".")[0] == "pandas":
        return hasattr(source, "columns")
    return isinstance(source, pa.Table) or hasattr(source, "__arrow_c_stream__")


@dataclass(frozen=True)
class Frame:
    """Products of a table with the columns of a file of products, as `Products`.

    A cell of `text_fields` may be a dictionary as well as its notation in a string; else see `Reader`.
    """

    frame: Any  # a pandas DataFrame or a pyarrow Table
    labelled: bool
    group_by: str | None = None
    batch_rows: int = BATCH_ROWS
    columns: Columns = field(default_factory=Columns)

    @classmethod
    def of(cls, source: Any, labelled: bool, group_by: str | None = None, columns: Columns | None = None) -> "Frame":  # noqa: ANN401
        """A DataFrame of pandas, or a table of pyarrow, Polars, DuckDB and the like; ids may be in its index."""
        if not hasattr(source, "iloc"):
            # Polars and DuckDB give a stream once.
            table = source if isinstance(source, pa.Table) else pa.RecordBatchReader.from_stream(source).read_all()
            return cls(table, labelled, group_by, columns=columns or Columns())
        inside = [name for name in source.index.names if name is not None and name not in source.columns]
        return cls(
            source.reset_index(level=inside) if inside else source, labelled, group_by, columns=columns or Columns()
        )

    @property
    def files(self) -> Sequence[Path]:
        """None: nothing can be read again once the table is gone."""
        return ()

    def __len__(self) -> int:
        """How many rows there are, good and bad."""
        return len(self.frame)

    def check(self) -> None:
        """Fail, with an InputError, when a column is missing, there twice, or cannot hold what it should."""
        self._layout()

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rows in order, `batch_rows` at a time; fails as `check` does."""
        layout = replace(self._layout(), separator=self.separator)

        def product(row: Row, number: int) -> Product:
            try:
                return product_of(row, number, layout)
            except RowError:
                raise
            except Exception as error:  # A cell may be any object, and raise whatever it likes.
                raise RowError(f"a cell cannot be read ({type(error).__name__})") from None

        return batches(layout, self._rows(layout.columns), product, self.batch_rows)

    @property
    def pictured(self) -> bool:
        """Whether rows hold pictures."""
        return self._layout().pictured

    def labels(self) -> Counter[Category]:
        """How many rows have each label."""
        counts = Counter[Category]()
        for cells in self._label_cells():
            with suppress(Exception):  # A cell may be any object, and raise whatever it likes.
                counts[category_of(cells, self.separator, self.columns.known)] += 1
        return counts

    @cached_property
    def separator(self) -> str | None:
        """What stands between the levels of a category's path."""
        if self.columns.separator or not self.labelled:
            return self.columns.separator
        return guessed_separator(sorted({cell for *_, cell in self._label_cells() if isinstance(cell, str) and cell}))

    def _label_cells(self) -> Iterator[list[object]]:
        *numbers, name = self._layout().label
        for row in self._rows([*numbers, name]):
            yield [*(row[number] for number in numbers), _as_label(row[name])]

    def _rows(self, columns: Sequence[str]) -> Iterator[Row]:
        for start in range(0, len(self.frame), self.batch_rows):
            if isinstance(self.frame, pa.Table):
                part = self.frame.slice(start, self.batch_rows)
                yield from rows_of(columns, [values_of(part.column(name)) for name in columns])
            else:
                part = self.frame.iloc[start : start + self.batch_rows]
                cells = [[plain_cell(cell) for cell in part[name].astype(object).tolist()] for name in columns]
                yield from rows_of(columns, cells)

    def _layout(self) -> Layout:
        is_arrow = isinstance(self.frame, pa.Table)
        names = self.frame.column_names if is_arrow else [str(name) for name in self.frame.columns]
        kind = (lambda name: type_of(self.frame.schema.field(name).type)) if is_arrow else self._pandas_type
        return self.columns.layout(DATA_FRAME, names, kind, self.labelled, self.group_by)

    def _pandas_type(self, name: str) -> ColumnType:
        import pandas as pd
        from pandas.api import types

        kind = self.frame[name].dtype
        if isinstance(kind, pd.ArrowDtype):
            return type_of(kind.pyarrow_dtype)
        if isinstance(kind, pd.CategoricalDtype):
            kind = kind.categories.dtype
        # In a column of Python objects, every cell is judged by itself.
        if types.is_object_dtype(kind) or not len(self.frame):
            return ColumnType(kind, "anything")
        if types.is_numeric_dtype(kind) and not types.is_bool_dtype(kind):
            exact = {"float16": 2**11, "float32": 2**24}.get(str(kind).lower(), 2**53)
            return ColumnType(kind, "number", exact)
        return ColumnType(kind, "text" if types.is_string_dtype(kind) else "other")


def _as_label(cell: object) -> object:
    return str(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else cell
