"""Decides anew over a saved details.parquet, for another part of errors; nothing is searched again."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rubrika.errors import InputError
from rubrika.index.calibration import least_confidence
from rubrika.retrieve.decide import NEW, rethreshold
from rubrika.retrieve.output import RISK
from rubrika.retrieve.unfinished import parquet


def redecide(details: Path, output: Path, max_error: float) -> Counter[str]:
    """Write the same table with other decisions; return how many there are of each.

    What looks like no known category stays `new`, and a row without a prediction stays for `review`.

    Args:
        details: what `classify --details` wrote.
        output: where it goes; may be the same file.
        max_error: the part of automatic answers that may be wrong.

    Raises:
        InputError: it is no such file.
        RubrikaError: the output cannot be written.
    """
    counts = Counter[str]()
    # Asked first, because opening a pipe would wait for ever.
    if details.exists() and not details.is_file():
        raise InputError(f"{details}: not a file; name one that `rubrika classify --details` wrote")
    try:
        schema = pq.read_schema(details)
        auto_from = least_confidence(json.loads((schema.metadata or {})[RISK.encode()]), max_error)
        place = schema.get_field_index("decision")
        # The source is closed before the output, which may take its place.
        with parquet(output, schema) as target, pq.ParquetFile(details) as source:
            for group in range(source.num_row_groups):
                table = source.read_row_group(group)
                decisions = _decide(table, auto_from)
                counts.update(decisions)
                target.write_table(table.set_column(place, schema.field(place), pa.array(decisions)))
    except FileNotFoundError:
        raise InputError(f"{details}: no such file; make one with `rubrika classify --details {details}`") from None
    except (pa.ArrowException, OSError, KeyError, ValueError):
        raise InputError(f"{details}: not written by `rubrika classify --details`; make it again") from None
    return counts


def _decide(table: pa.Table, auto_from: float) -> list[str]:
    # Rows that could not be read have no confidence.
    confidences = np.nan_to_num(table.column("confidence").to_numpy(zero_copy_only=False), nan=0.0)
    unlike = np.asarray(table.column("decision").to_pylist()) == NEW
    decisions: list[str] = rethreshold(confidences.astype(np.float32), unlike, auto_from).tolist()
    return decisions
