"""Cells of parquet that hold lists: ragged rows as arrays, and the neighbours behind a prediction."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubrika.store.store import Hits

NEIGHBOUR = pa.struct(
    [("product_id", pa.uint64()), ("category_id", pa.int64()), ("score", pa.float32()), ("vector", pa.string())]
)


def neighbour_cells(hits: Mapping[str, Hits]) -> pa.Array:
    """The hits of all vectors that voted, a list of `NEIGHBOUR` for each product, the main vector's first."""
    ids, categories, scores = (
        np.concatenate([getattr(found, name) for found in hits.values()], axis=1)
        for name in ("ids", "categories", "scores")
    )
    vectors = np.concatenate([np.full(found.ids.shape, name) for name, found in hits.items()], axis=1)
    found = np.isfinite(scores)
    return list_cells(found, [pa.array(each[found]) for each in (ids, categories, scores, vectors)], NEIGHBOUR.names)


def list_cells(filled: NDArray[np.bool_], values: list[pa.Array], names: list[str]) -> pa.Array:
    """Ragged rows of structs.

    Args:
        filled: where there is something, (n, k).
        values: what stands there, row after row, an array for each field.
        names: of the fields.
    """
    offsets = np.concatenate([[0], np.cumsum(filled.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(values, names))
