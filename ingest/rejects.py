"""Keeps the rows that were set aside in a parquet file, each with its place and its reason."""

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from rubrika.products.product import Reject
from rubrika.retrieve.unfinished import parquet

_SCHEMA = pa.schema([("file", pa.string()), ("row", pa.int64()), ("product_id", pa.string()), ("reason", pa.string())])


def beside(place: Path) -> Path:
    """Where rows set aside go when nobody says: next to `place`, which may be `.` or end in `..`."""
    whole = Path(os.path.abspath(place))
    return whole.parent / f"{whole.name}.rejects.parquet"


def write_rejects(rejects: Iterable[Reject], path: Path) -> None:
    """Write one row a reject.

    Raises:
        RubrikaError: it cannot be written there.
    """
    rows = [{"file": str(r.file), "row": r.row, "product_id": r.product_id, "reason": r.reason} for r in rejects]
    with parquet(path, _SCHEMA) as target:
        target.write_table(pa.Table.from_pylist(rows, _SCHEMA))
