"""Rows that were set aside, as a table: which, and why."""

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from rubrika.files import table_file, writable
from rubrika.products.product import Reject

REJECT_SCHEMA = pa.schema({"file": "string", "row": "int64", "product_id": "string", "reason": "string"})


def default_reject_path(path: Path, what: str = "rejects") -> Path:
    """Where rejects, or `what` else, go by default: next to `path`, which may be `.` or end in `..`."""
    absolute = Path(os.path.abspath(path))
    return absolute.parent / f"{absolute.name}.{what}.parquet"


def write_rejects(rejects: Iterable[Reject], path: Path) -> None:
    """Write one row for each reject."""
    write_rows(rejects, path, REJECT_SCHEMA)


def remove_stale(path: Path) -> None:
    """Remove what an earlier run set aside, which is no news."""
    with writable(path, "remove this file of an earlier run"):
        path.unlink(missing_ok=True)


def write_rows(found: Iterable[Any], path: Path, schema: pa.Schema) -> None:
    """Write dataclasses that name their file, such as rejects, as a table of this schema."""
    rows = [asdict(one) | {"file": str(one.file)} for one in found]
    if any(isinstance(row["product_id"], str) for row in rows):
        schema = schema.set(schema.get_field_index("product_id"), pa.field("product_id", pa.string()))
        rows = [row | {"product_id": str(row["product_id"])} for row in rows]
    with table_file(path, schema) as target:
        target.write_table(pa.Table.from_pylist(rows, schema))
