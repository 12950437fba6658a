"""Writes predictions as parquet: one row an input row, in its order, a batch at a time."""

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from rubrika.index.calibration import Calibration
from rubrika.products.product import Reject
from rubrika.retrieve.cells import NEIGHBOUR, list_cells, neighbour_cells
from rubrika.retrieve.classify import Classified
from rubrika.retrieve.decide import REVIEW
from rubrika.retrieve.tree import NO_NODE
from rubrika.retrieve.unfinished import Target, parquet

# In the metadata of details.parquet: how often predictions of each confidence are wrong.
RISK = "rubrika.risk"


class Output:
    """result.parquet and, when asked for, details.parquet; they appear under their names only when complete.

    A row that could not be read has no prediction: its predicted_category_id is null and its decision `review`.

    Args:
        result: where the two columns product_id and predicted_category_id go.
        details: where the rest goes, if anywhere.
        id_type: the type of product_id in the input, which the output keeps.
        calibration: of the index, which the details keep for `redecide`.
    """

    def __init__(
        self,
        result: Path,
        details: Path | None,
        id_type: pa.DataType,
        calibration: Calibration,
    ) -> None:
        self._id_type, self._calibration = id_type, calibration
        self._paths = [path for path in (result, details) if path is not None]
        self._targets: list[Target] = []
        self._stack = ExitStack()

    def __enter__(self) -> "Output":
        """Open the files under passing names.

        Raises:
            RubrikaError: one cannot be written there, or both are the same.
        """
        with ExitStack() as stack:
            for path, schema in zip(self._paths, self._schemas(), strict=False):
                self._targets.append(stack.enter_context(parquet(path, schema)))
            self._stack = stack.pop_all()
        return self

    def write(self, classified: Classified) -> None:
        """Append one batch."""
        rejects = classified.batch.rejects
        readable, unreadable = self._readable(classified), self._unreadable(rejects)
        rows = [product.row for product in classified.batch.products] + [reject.row for reject in rejects]
        table = pa.concat_tables([readable, unreadable]).take(np.argsort(rows))
        for target in self._targets:
            target.write_table(table.select(target.schema.names))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the files their names, or remove what an error left."""
        self._stack.__exit__(kind, error, trace)

    def _schemas(self) -> tuple[pa.Schema, pa.Schema]:
        level = pa.struct([("path", pa.string()), ("share", pa.float32()), ("confidence", pa.float32())])
        alternative = pa.struct([("category_id", pa.int64()), ("share", pa.float32())])
        result = pa.schema([("product_id", self._id_type), ("predicted_category_id", pa.int64())])
        details = [
            *result,
            pa.field("predicted_category_name", pa.string()),
            pa.field("confidence", pa.float32()),
            pa.field("decision", pa.string()),
            pa.field("levels", pa.list_(level)),
            pa.field("alternatives", pa.list_(alternative)),
            pa.field("neighbours", pa.list_(NEIGHBOUR)),
        ]
        return result, pa.schema(details, {RISK: json.dumps(self._calibration.risk)})

    def _readable(self, classified: Classified) -> pa.Table:
        votes, decided, tree, levels = classified.votes, classified.decided, classified.tree, classified.levels
        reached = levels.nodes != NO_NODE
        names = tree.names(levels.nodes[reached])
        along = [
            pa.array(names, pa.string()),
            *(pa.array(each[reached]) for each in (levels.shares, levels.confidences)),
        ]
        winners = pa.array(votes.winners, mask=votes.shares[:, 0] <= 0)
        voted = votes.shares > 0
        alternatives = [pa.array(votes.categories[voted]), pa.array(votes.shares[voted])]
        return pa.table(
            [
                pa.array([product.id for product in classified.batch.products], self._id_type),
                winners,
                pa.array([tree.path(id) for id in votes.winners.tolist()], pa.string()),
                pa.array(decided.confidences),
                pa.array(decided.decisions.tolist(), pa.string()),
                list_cells(reached, along, ["path", "share", "confidence"]),
                list_cells(voted, alternatives, ["category_id", "share"]),
                neighbour_cells(classified.hits),
            ],
            schema=self._schemas()[1],
        )

    def _unreadable(self, rejects: list[Reject]) -> pa.Table:
        empty: list[None] = [None] * len(rejects)
        columns = {name: empty for name in self._schemas()[1].names}
        ids = [_id(reject.product_id, self._id_type) for reject in rejects]
        return pa.table(columns | {"product_id": ids, "decision": [REVIEW] * len(rejects)}, schema=self._schemas()[1])


def _id(text: str, kind: pa.DataType) -> int | None:
    """The id of an unreadable row, where it has one that the column can hold."""
    try:
        return int(pa.scalar(int(text), kind).as_py())
    except (ValueError, OverflowError, pa.ArrowException):
        return None
