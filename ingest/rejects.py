"""Keeps the rows that were set aside in a parquet file, each with its place and its reason."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rubrika.products.product import Reject

_SCHEMA = pa.schema([("file", pa.string()), ("row", pa.int64()), ("product_id", pa.string()), ("reason", pa.string())])


def write_rejects(rejects: Iterable[Reject], path: Path) -> None:
    """Write one row a reject."""
    rows = [{"file": str(r.file), "row": r.row, "product_id": r.product_id, "reason": r.reason} for r in rejects]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), path)
