"""Reads the ids alone from a parquet file of products."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rubrika.errors import InputError
from rubrika.products.parquet import open_parquet
from rubrika.products.text import first_line


def read_ids(file: Path) -> list[int]:
    """The different product_ids of the rows that have one, in their order.

    Raises:
        InputError: the file cannot be read, or has no such column of whole numbers.
    """
    if not file.exists():
        raise InputError(f"{file}: no such file, and not a product's id either; check the path")
    ids: dict[int, None] = {}
    with open_parquet(file) as parquet:
        try:
            for table in parquet.iter_batches(columns=["product_id"], use_threads=False):
                column = pc.drop_null(table.column("product_id")).cast(pa.uint64())
                ids.update(dict.fromkeys(pc.unique(column).to_pylist()))
        # Arrow's own, and what turning damaged names into Python's comes to.
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            reason = first_line(str(error))
            raise InputError(
                f"{file}: no product_id can be read ({reason}); give a parquet file that has them"
            ) from None
    return list(ids)
