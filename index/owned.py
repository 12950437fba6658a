"""Turns the numbers by which a store knows products and categories into the ids and labels of their owner."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rubrika.index.categories import Labels, read_labels
from rubrika.index.folder import Index
from rubrika.store.base import Store

BATCH = 1_000
PRODUCT, CATEGORY = "product_id", "category_id"


@dataclass(frozen=True)
class Owned:
    """What is called otherwise than its number, in an index; where nothing is, all stays as it is."""

    store: Store
    text_ids: bool
    labels: Labels

    @classmethod
    def of(cls, index: Index) -> "Owned":
        """Of an index that is open."""
        return cls(index.store, index.manifest.tables.text_ids, read_labels(index.folder))

    def products(self, ids: Iterable[int]) -> dict[int, int | str]:
        """The ids of products by their numbers; one that is not stored, or has no other id, keeps its number."""
        numbers = list(dict.fromkeys(ids))
        found: dict[int, int | str] = {id: id for id in numbers}
        for start in range(0, len(numbers) if self.text_ids else 0, BATCH):
            for id, point in self.store.fetch(numbers[start : start + BATCH]).items():
                found[id] = point.own_id
        return found

    def category(self, number: int | str) -> int | str:
        """What a category is called by its owner."""
        return self.labels.get(number, number) if isinstance(number, int) else number

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """A schema in which columns and fields named `…product_id` and `…category_id` are texts, where some are."""
        return pa.schema([pa.field(it.name, self._type(it.name, it.type)) for it in schema], schema.metadata)

    def table(self, table: pa.Table) -> pa.Table:
        """A table of that schema, from one with numbers."""
        if not (self.text_ids or self.labels):
            return table
        arrays = [self._array(it.name, table.column(it.name).combine_chunks()) for it in table.schema]
        return pa.table(arrays, schema=self.schema(table.schema))

    def _type(self, name: str, kind: pa.DataType) -> pa.DataType:
        if pa.types.is_list(kind):
            return pa.list_(self._type(name, kind.value_type))
        if pa.types.is_struct(kind):
            return pa.struct([(it.name, self._type(it.name, it.type)) for it in kind])
        return pa.string() if pa.types.is_integer(kind) and self._names(name) else kind

    def _names(self, name: str) -> bool:
        return (name.endswith(PRODUCT) and self.text_ids) or (name.endswith(CATEGORY) and bool(self.labels))

    def _array(self, name: str, array: Any) -> Any:  # noqa: ANN401 - an Arrow array
        kind = array.type
        if pa.types.is_list(kind):
            return pa.ListArray.from_arrays(array.offsets, self._array(name, array.values), mask=_nulls(array))
        if pa.types.is_struct(kind):
            parts = [self._array(it.name, child) for it, child in zip(kind, array.flatten(), strict=True)]
            return pa.StructArray.from_arrays(parts, fields=list(self._type(name, kind)))
        if not (pa.types.is_integer(kind) and self._names(name)):
            return array
        numbers = pc.unique(array)
        ids = [id for id in numbers.to_pylist() if id is not None]
        called = self.products(ids) if name.endswith(PRODUCT) else {id: self.category(id) for id in ids}
        texts = pa.array([str(called[id]) if id is not None else None for id in numbers.to_pylist()], pa.string())
        return texts.take(pc.index_in(array, numbers))


def _nulls(array: Any) -> Any:  # noqa: ANN401
    return pc.is_null(array) if array.null_count else None
