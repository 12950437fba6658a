"""Predictions: in memory, as result and details files, and decided anew at another bound."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rubrika.errors import InputError, RubrikaError
from rubrika.files import Target, parquet
from rubrika.index.manifest import Calibration, VoteSettings, min_confidence
from rubrika.products.product import Reject
from rubrika.retrieve.classify import Classified
from rubrika.retrieve.confidence import NEW, REVIEW, rethreshold
from rubrika.retrieve.tree import NO_NODE
from rubrika.store.base import FloatArray, Hits
from rubrika.vote import NO_CATEGORY, Votes

if TYPE_CHECKING:
    import pandas as pd

NEIGHBOUR = pa.struct(
    [("product_id", pa.uint64()), ("category_id", pa.int64()), ("score", pa.float32()), ("vector", pa.string())]
)


def neighbour_array(hits: Mapping[str, Hits]) -> pa.Array:
    """The hits of all vectors that voted, a list of `NEIGHBOUR` for each product, the main vector's first."""
    ids, categories, scores = (
        np.concatenate([getattr(found, name) for found in hits.values()], axis=1)
        for name in ("ids", "categories", "scores")
    )
    vectors = np.concatenate([np.full(found.ids.shape, name) for name, found in hits.items()], axis=1)
    found = np.isfinite(scores)
    return list_array(found, [pa.array(each[found]) for each in (ids, categories, scores, vectors)], NEIGHBOUR.names)


def list_array(filled: NDArray[np.bool_], values: list[pa.Array], names: list[str]) -> pa.Array:
    """Ragged rows of structs.

    Args:
        filled: where there is something, (n, k).
        values: what stands there, row after row, an array for each field.
        names: of the fields.
    """
    offsets = np.concatenate([[0], np.cumsum(filled.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(values, names))


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
                list_array(reached, along, ["path", "share", "confidence"]),
                list_array(voted, alternatives, ["category_id", "share"]),
                neighbour_array(classified.hits),
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


MAX_SIGNED = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was found for n products that could be read, in their order; rows that could not are in `rejects`.

    Args:
        product_ids: uint64 (n,).
        categories: the predicted category ids, int64 (n,); -1 where the index found nothing.
        names: the paths of these categories, str (n,); None where there is none.
        confidences: how likely each prediction is right, float32 (n,).
        decisions: `auto`, `review` or `new`, str (n,).
        rejects: rows that are no products, with their reasons.
        places: where each product stands among all rows, good and bad, from 0, int64 (n,).
        votes: every category that was voted for, and its share, (n, k).
        hits: the neighbours that voted, (n, top_k), by named vector.
        unusable: how many pictures could not be used, by reason.
        calibration: of the index.
    """

    product_ids: NDArray[np.uint64]
    categories: NDArray[np.int64]
    names: NDArray[np.object_]
    confidences: FloatArray
    decisions: NDArray[np.str_]
    rejects: tuple[Reject, ...]
    places: NDArray[np.int64] = field(repr=False)
    votes: Votes = field(repr=False)
    hits: Mapping[str, Hits] = field(repr=False)
    unusable: Mapping[str, int]
    calibration: Calibration = field(repr=False)

    def decide(self, max_error: float) -> "Predictions":
        """The same predictions, decided anew; nothing is searched again.

        Args:
            max_error: the part of automatic answers that may be wrong, 0 … 1.

        Raises:
            RubrikaError: it is no such part.
        """
        auto_from = self.calibration.auto_from(checked(max_error))
        return replace(self, decisions=rethreshold(self.confidences, self.decisions == NEW, auto_from))

    def to_frame(self) -> "pd.DataFrame":
        """A row an input row, in its order; one that could not be read has no prediction and is for `review`.

        Its columns are those of details.parquet that hold one value: product_id, predicted_category_id,
        predicted_category_name, confidence, decision.
        """
        import pandas as pd

        count = len(self.product_ids) + len(self.rejects)
        ids, categories, names = (np.full(count, None, object) for _ in range(3))
        confidences, decisions = np.full(count, np.nan, np.float32), np.full(count, REVIEW, object)
        known = self.categories != NO_CATEGORY
        ids[self.places] = self.product_ids
        ids[np.setdiff1d(np.arange(count), self.places)] = [reject.numeric_id for reject in self.rejects]
        categories[self.places[known]] = self.categories[known]
        names[self.places], confidences[self.places] = self.names, self.confidences
        decisions[self.places] = self.decisions
        large = any(id is not None and id > MAX_SIGNED for id in ids)
        return pd.DataFrame(
            {
                "product_id": pd.array(ids, "UInt64" if large else "Int64"),
                "predicted_category_id": pd.array(categories, "Int64"),
                "predicted_category_name": names,
                "confidence": confidences,
                "decision": decisions,
            }
        )


def checked(max_error: float) -> float:
    """A part of errors that can be asked for.

    Raises:
        RubrikaError: it is none.
    """
    if not isinstance(max_error, Real) or not 0 <= max_error <= 1:
        raise RubrikaError(f"max_error is a part of the answers, from 0 to 1, not {max_error}")
    return max_error


def collect(batches: Iterable[Classified], calibration: Calibration, vote: VoteSettings) -> Predictions:
    """All batches of a run as one.

    Args:
        batches: as `classify` yields them.
        calibration: of the index.
        vote: what they were voted by.
    """
    parts, rows = list[Predictions](), 0
    for one in batches:
        parts.append(_part(one, rows, calibration))
        rows += one.batch.rows
    return _joined(parts) if parts else _none(calibration, vote)


def _part(one: Classified, start: int, calibration: Calibration) -> Predictions:
    """One batch, `start` rows having come before it."""
    products, rejects, votes = one.batch.products, one.batch.rejects, one.votes
    numbers = [product.row for product in products]
    winners = np.where(votes.shares[:, 0] > 0, votes.winners, NO_CATEGORY)
    return Predictions(
        product_ids=np.array([product.id for product in products], np.uint64),
        categories=winners,
        names=np.array([one.tree.path(id) for id in winners.tolist()], object),
        confidences=one.decided.confidences,
        decisions=one.decided.decisions,
        rejects=tuple(rejects),
        places=start + np.searchsorted(np.sort(numbers + [reject.row for reject in rejects]), numbers),
        votes=votes,
        hits=one.hits,
        unusable=one.failures,
        calibration=calibration,
    )


def _joined(parts: Sequence[Predictions]) -> Predictions:
    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    return Predictions(
        product_ids=joined("product_ids"),
        categories=joined("categories"),
        names=joined("names"),
        confidences=joined("confidences"),
        decisions=joined("decisions"),
        rejects=tuple(reject for part in parts for reject in part.rejects),
        places=joined("places"),
        votes=Votes(
            np.concatenate([part.votes.categories for part in parts]),
            np.concatenate([part.votes.shares for part in parts]),
        ),
        hits={name: Hits.joined([part.hits[name] for part in parts]) for name in parts[0].hits},
        unusable=sum((Counter(part.unusable) for part in parts), Counter[str]()),
        calibration=parts[0].calibration,
    )


def _none(calibration: Calibration, vote: VoteSettings) -> Predictions:
    """Of no rows at all."""
    whole, real = np.zeros(0, np.int64), np.zeros(0, np.float32)
    votes = Votes(np.zeros((0, 1), np.int64), np.zeros((0, 1), np.float32))
    ids, names, decisions = whole.astype(np.uint64), whole.astype(object), whole.astype("U6")
    hits = {name: Hits.none(0, vote.top_k) for name in vote.weights}
    return Predictions(ids, whole, names, real, decisions, (), whole, votes, hits, {}, calibration)


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
        auto_from = min_confidence(json.loads((schema.metadata or {})[RISK.encode()]), max_error)
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
