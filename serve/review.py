"""What `rubrika review` does before the desk opens, and without it: fill queues, and write what was decided."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from rubrika.api import Index
from rubrika.errors import ParameterError
from rubrika.files import check_outputs, check_table, table_file
from rubrika.inputs import columns_of, paths_of
from rubrika.products.reader import Reader
from rubrika.serve.queues import fill
from rubrika.serve.reviews import QUEUES, Decision, Reviews

if TYPE_CHECKING:
    from rubrika.inputs import ColumnNames

# What is written of a decision.
TABLE = ("product_id", "title", "action", "category_id", "category_name", "by", "at", "queue", "state", "reason")


def open_reviews(
    index: Index, file: Path | None, products: Sequence[Path] | None = None, columns: "ColumnNames" = None
) -> dict[str, int]:
    """Let the products of a file wait; return how many wait in each queue that has any."""
    opened = index.opened()
    reviews = Reviews(opened.folder)
    if file is None and products:
        raise ParameterError("`products` are those of a FILE that `classify --details` wrote; give it too")
    if file is not None:
        reader = None
        if products:
            reader = Reader(paths_of(list(products)), labelled=False, columns=columns_of(columns, None, opened.folder))
            reader.check()
        fill(opened, reviews, file, reader)
    found = (reviews.queue(name) for name in QUEUES)
    return {queue.name: queue.waiting for queue in found if queue.waiting}


def write_reviews(index: Index, output: Path) -> int:
    """Write the decisions that stand to a table; return how many."""
    check_outputs([], index.at.folder, output)
    check_table(output)
    return write_decisions(Reviews(index.opened().folder).decisions(), output)


def write_decisions(decisions: Sequence[Decision], path: Path) -> int:
    """Write decisions to a table, in the format of the name's end, the latest first; return how many."""
    schema = pa.schema([(name, pa.string()) for name in TABLE])
    rows = []
    for each in decisions:
        values = {name: getattr(each, name) for name in TABLE if name != "category_name"}
        values |= {"category_name": each.category}
        rows.append({name: None if value is None else str(value) for name, value in values.items()})
    with table_file(path, schema) as target:
        target.write_table(pa.Table.from_pylist(rows, schema))
    return len(rows)
