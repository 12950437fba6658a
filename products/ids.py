"""Reads the ids alone from a parquet file of products."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rubrika.errors import InputError


def read_ids(file: Path) -> list[int]:
    """The product_id of every row that has one.

    Raises:
        InputError: the file cannot be read, or has no such column of whole numbers.
    """
    try:
        ids = pq.read_table(file, columns=["product_id"]).column("product_id")
        return [int(id) for id in pc.drop_null(ids).cast(pa.uint64()).to_pylist()]
    except FileNotFoundError:
        raise InputError(f"{file}: no such file, and not a product's id either; check the path") from None
    except (pa.ArrowException, OSError, KeyError) as error:
        reason = (str(error).splitlines() or ["damaged"])[0].rstrip(".")
        raise InputError(f"{file}: no product_id can be read ({reason}); give a parquet file that has them") from None
