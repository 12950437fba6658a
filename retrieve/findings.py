"""Writes what an audit found as parquet: suspects with the neighbours that contradict them, and near duplicates."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from rubrika.retrieve.audit import Suspects
from rubrika.retrieve.cells import NEIGHBOUR, neighbour_cells
from rubrika.retrieve.duplicates import Duplicates
from rubrika.store.store import Store

Paths = Mapping[int, str]

ROWS = 2_048

SUSPECTS = pa.schema(
    [
        ("product_id", pa.uint64()),
        ("title", pa.string()),
        ("category_id", pa.int64()),
        ("category_name", pa.string()),
        ("suggested_category_id", pa.int64()),
        ("suggested_category_name", pa.string()),
        ("confidence", pa.float32()),
        ("neighbours", pa.list_(NEIGHBOUR)),
    ]
)
_HALVES = ("", "other_")
DUPLICATES = pa.schema(
    [
        *(
            (half + name, kind)
            for half in _HALVES
            for name, kind in (
                ("product_id", pa.uint64()),
                ("title", pa.string()),
                ("category_id", pa.int64()),
                ("category_name", pa.string()),
            )
        ),
        ("similarity", pa.float32()),
    ]
)


def suspect_tables(store: Store, suspects: Suspects, paths: Paths) -> Iterator[pa.Table]:
    """The suspects in their order, some at a time, with the columns of `SUSPECTS`; titles come from the store."""
    for start in range(0, len(suspects), ROWS):
        yield _suspects(store, suspects.take(slice(start, start + ROWS)), paths)


def duplicate_tables(store: Store, pairs: Duplicates, paths: Paths) -> Iterator[pa.Table]:
    """The pairs in their order, some at a time, with the columns of `DUPLICATES`; titles come from the store."""
    for start in range(0, len(pairs), ROWS):
        yield _duplicates(store, pairs.take(slice(start, start + ROWS)), paths)


def _suspects(store: Store, suspects: Suspects, paths: Paths) -> pa.Table:
    titles = _titles(store, suspects.ids.tolist())
    columns = [
        suspects.ids,
        [titles.get(id) for id in suspects.ids.tolist()],
        suspects.categories,
        [paths[category] for category in suspects.categories.tolist()],
        suspects.suggested,
        [paths[category] for category in suspects.suggested.tolist()],
        suspects.confidence,
        neighbour_cells(suspects.hits),
    ]
    return pa.table(columns, schema=SUSPECTS)


def _duplicates(store: Store, pairs: Duplicates, paths: Paths) -> pa.Table:
    titles = _titles(store, np.unique(pairs.ids).tolist())
    columns: list[object] = []
    for half in range(len(_HALVES)):
        ids, categories = pairs.ids[:, half], pairs.categories[:, half]
        columns += [
            ids,
            [titles.get(id) for id in ids.tolist()],
            categories,
            [paths[one] for one in categories.tolist()],
        ]
    return pa.table([*columns, pairs.similarity], schema=DUPLICATES)


def _titles(store: Store, ids: list[int]) -> dict[int, str]:
    return {id: point.shown("title") for id, point in store.fetch(ids).items()}
