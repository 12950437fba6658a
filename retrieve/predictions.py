"""Predictions: in memory, in the files result.parquet and details.parquet, and decided again at another error rate."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rubrika.errors import InputError, ParameterError, RubrikaError
from rubrika.files import STDOUT, check_folder, check_log, check_outputs, check_table, table_file
from rubrika.index.folder import Index
from rubrika.index.manifest import BUILT_IN, Calibration, Fit, VoteSettings
from rubrika.index.owned import Owned
from rubrika.products.identity import MAX_SIGNED
from rubrika.products.images import PictureFolder
from rubrika.products.product import Product, Products, Reject
from rubrika.products.reader import Reader
from rubrika.products.rejects import default_reject_path, remove_stale, write_rejects
from rubrika.progress import Progress, Silent
from rubrika.retrieve.classify import Classified, classify
from rubrika.retrieve.confidence import NEW, REVIEW, nearest, rethreshold
from rubrika.retrieve.guarantee import DEFAULT, Policy, advice, threshold
from rubrika.retrieve.monitor import Figures, Tally
from rubrika.retrieve.tree import NO_NODE
from rubrika.store.base import FloatArray, Hits
from rubrika.vote import NO_CATEGORY, Votes, vote_over

if TYPE_CHECKING:
    import pandas as pd

LEVEL = pa.struct([("path", pa.string()), ("share", pa.float32()), ("confidence", pa.float32())])
ALTERNATIVE = pa.struct([("category_id", pa.int64()), ("share", pa.float32())])
NEIGHBOUR = pa.struct(
    [("product_id", pa.uint64()), ("category_id", pa.int64()), ("score", pa.float32()), ("vector", pa.string())]
)
RESULT = ("product_id", "predicted_category_id")
# The columns of details.parquet after product_id, which has the input's type.
DETAILS = {
    "predicted_category_id": pa.int64(),
    "predicted_category_name": pa.string(),
    "confidence": pa.float32(),
    "decision": pa.string(),
    # The deepest path that is sure enough; of a new product, the nearest name of a category without products.
    "sure": pa.string(),
    "suggestion": pa.string(),
    "levels": pa.list_(LEVEL),
    "alternatives": pa.list_(ALTERNATIVE),
    "neighbours": pa.list_(NEIGHBOUR),
}
# In the metadata of details.parquet: how often predictions of each confidence are wrong.
RISK = "rubrika.risk"


def struct_lists(kind: pa.StructType, present: NDArray[np.bool_], *values: NDArray[Any]) -> pa.Array:
    """Lists of structs, one list a row, of the entries marked in `present`, (n, k), as are the values of each field."""
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
    fields = [pa.array(each[present], kind.field(place).type) for place, each in enumerate(values)]
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(fields, fields=list(kind)))


def neighbour_lists(hits: Mapping[str, Hits]) -> pa.Array:
    """The hits of all vectors that voted, a list of `NEIGHBOUR` for each product, the main vector's first."""
    columns = [(each.ids, each.categories, each.scores, np.full(each.ids.shape, name)) for name, each in hits.items()]
    ids, categories, scores, vectors = (np.concatenate(column, axis=1) for column in zip(*columns, strict=True))
    return struct_lists(NEIGHBOUR, np.isfinite(scores), ids, categories, scores, vectors)


@dataclass(frozen=True, slots=True)
class ClassifyReport:
    """How many rows were classified, good and bad, which could not be read, and where and what the predictions are."""

    rows: int
    rejects: tuple[Reject, ...]
    seconds: float
    output: Path
    figures: Figures  # of the products that could be read
    advice: str | None = None  # why nothing is automatic, and what would change that
    unusable_pictures: Mapping[str, int] | None = None  # by reason; None when there was no folder of pictures
    rejects_output: Path | None = None
    rejected: int = 0  # how many rows could not be read

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `classify --json` prints them."""
        counts = {"rows": self.rows, "rejected": self.rejected, "seconds": self.seconds, "output": str(self.output)}
        found: dict[str, Any] = counts | asdict(self.figures) | {"advice": self.advice}
        unusable = self.unusable_pictures
        return found if unusable is None else found | {"unusable_pictures": dict(unusable)}


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where predictions go: files, or folders of what actors write."""

    output: Path
    details: Path | None
    rejects: Path
    runs: Path | None
    are_folders: bool = False
    stale: bool = False  # whether rejects of an earlier run go

    @classmethod
    def of(
        cls,
        output: str | Path,
        details: str | Path | None = None,
        rejects: str | Path | None = None,
        runs: str | Path | None = None,
        are_folders: bool = False,
    ) -> "Outputs":
        """As a caller names them; rejects go beside the output by default."""
        name = "result" if Path(output) == STDOUT else Path(output).stem
        other = default_reject_path(Path(output).parent / name)
        other = other.with_suffix("") if are_folders else other
        wanted = [None if path is None else Path(path) for path in (details, runs)]
        where = Path(rejects) if rejects else other
        return cls(Path(output), wanted[0], where, wanted[1], are_folders, rejects is None)

    def check(self, inputs: Sequence[Path], index: Path, otherwise: bool = False) -> None:
        """Refuse, before the work, what cannot be written, or `otherwise` than the index votes has no worth."""
        if self.runs and otherwise:
            reason = "runs are compared with the calibration, of leaves, as the index votes"
            raise ParameterError(f"`monitor`: {reason}; leave out `level`, `top_k` and `include_self`")
        check_outputs(inputs, index, self.output, self.details, self.rejects, self.runs)
        for path in (self.output, self.details, self.rejects):
            if path and self.are_folders:
                check_folder(path)
            elif path:
                check_table(path)
        if self.runs:
            check_log(self.runs)


def classify_to_files(
    index: Index,
    products: Reader,
    to: Outputs,
    pictures: PictureFolder | None = None,
    top_k: int | None = None,
    policy: Policy = DEFAULT,
    level: int | None = None,
    include_self: bool = False,
    progress: Progress | None = None,
) -> ClassifyReport:
    """Write result.parquet and, if wanted, details.parquet, a row an input row; they appear only when complete.

    A row that could not be read has no category and is for `review`; other arguments are those of `classify`.
    """
    started, rows, rejects, unusable, tally = time.monotonic(), 0, list[Reject](), Counter[str](), Tally()
    schema = details_schema(index, products.id_type(), level)
    with ExitStack() as stack:
        targets = [stack.enter_context(table_file(to.output, short_schema(schema)))]
        if to.details:
            targets.append(stack.enter_context(table_file(to.details, schema)))
        advance = stack.enter_context((progress or Silent()).stage("classifying", len(products)))
        ways = pictures, top_k, policy, level, include_self
        for one, table in tables_of(index, products, targets[-1].schema, tally, ways):
            for target in targets:
                target.write_table(table.select(target.schema.names))
            rejects += one.batch.rejects
            unusable.update(one.failures)
            rows += one.batch.rows
            advance(one.batch.rows)
    seconds = round(time.monotonic() - started, 3)
    said, unused = advice_of(index, policy, level), None if pictures is None else unusable
    if rejects:
        write_rejects(rejects, to.rejects)
    elif to.stale:
        remove_stale(to.rejects)
    aside = to.rejects if rejects else None
    return ClassifyReport(rows, tuple(rejects), seconds, to.output, tally.figures(), said, unused, aside, len(rejects))


def details_schema(index: Index, id_type: pa.DataType, level: int | None) -> pa.Schema:
    """The columns of details.parquet, with the curve for `redecide`."""
    fit = _fit(index, level)
    risk = {RISK: json.dumps([fit.design, fit.curve])}
    return Owned.of(index).schema(pa.schema({"product_id": id_type} | DETAILS, risk))


def short_schema(details: pa.Schema) -> pa.Schema:
    """Those of result.parquet."""
    return pa.schema([details.field(name) for name in RESULT])


def tables_of(
    index: Index, products: Products, schema: pa.Schema, tally: Tally, ways: tuple[Any, ...]
) -> Iterator[tuple[Classified, pa.Table]]:
    """Every batch with its rows of this schema, and counted; `ways` are the other arguments of `classify`."""
    owned = Owned.of(index)
    for one in classify(index, products, *ways):
        tally.add(one.decided, nearest(one.hits), index.encoders.unseen_words(one.batch.products))
        yield one, owned.table(_table(one, schema))


def advice_of(index: Index, policy: Policy, level: int | None) -> str | None:
    """Why nothing is automatic, and what would change that."""
    return advice(replace(index.manifest.calibration, leaf=_fit(index, level)), policy)


def _fit(index: Index, level: int | None) -> Fit:
    calibration = index.manifest.calibration
    return calibration.leaf if level is None else calibration.level(level)


def details_of(one: Classified, owned: Owned) -> list[dict[str, Any]]:
    """The rows of details.parquet of a batch without rejects, as plain values, but for the ids of its products."""
    schema = owned.schema(pa.schema({"product_id": pa.uint64()} | DETAILS))
    rows: list[dict[str, Any]] = owned.table(_table(one, schema)).drop_columns("product_id").to_pylist()
    return rows


def _table(one: Classified, wanted: pa.Schema) -> pa.Table:
    """The rows of a batch, in their order; all but their own ids are numbers still."""
    own = pa.schema({"product_id": wanted.field("product_id").type} | DETAILS, wanted.metadata)
    schema = pa.schema([own.field(name) for name in wanted.names], wanted.metadata)
    products, rejects, winners = one.batch.products, one.batch.rejects, one.votes.winners
    id_type = schema.field("product_id").type
    columns: dict[str, Any] = {
        "product_id": pa.array(own_ids(products, id_type), id_type),
        "predicted_category_id": pa.array(winners, mask=winners == NO_CATEGORY),
    }
    if "levels" in schema.names:
        levels, votes = one.levels(), one.votes
        paths, decisions = one.tree.names(levels.nodes), one.decided.decisions.tolist()
        columns |= {
            "predicted_category_name": [one.tree.path(id) for id in winners.tolist()],
            "confidence": one.decided.confidences,
            "decision": decisions,
            "sure": [row[depth - 1] if depth else None for row, depth in zip(paths, levels.sure.tolist(), strict=True)],
            "suggestion": [name if it == NEW else None for it, name in zip(decisions, one.suggestions(), strict=True)],
            "levels": struct_lists(LEVEL, levels.nodes != NO_NODE, paths, levels.shares, levels.confidences),
            "alternatives": struct_lists(ALTERNATIVE, votes.shares > 0, votes.categories, votes.shares),
            "neighbours": neighbour_lists(one.hits),
        }
    unread: dict[str, Any] = {name: [None] * len(rejects) for name in schema.names}
    unread |= {"product_id": [_reject_id(one, id_type) for one in rejects], "decision": [REVIEW] * len(rejects)}
    rows = [product.row for product in products] + [reject.row for reject in rejects]
    return pa.concat_tables([pa.table(part, schema) for part in (columns, unread)]).take(np.argsort(rows))


def own_ids(products: Sequence[Product], kind: pa.DataType) -> list[int] | list[str]:
    """The ids of products as their owner writes them."""
    if pa.types.is_string(kind):
        return [product.key or str(product.id) for product in products]
    return [product.id for product in products]


def _reject_id(reject: Reject, kind: pa.DataType) -> int | str | None:
    """The id of a row that could not be read, if it has one that a column of this type can hold."""
    if pa.types.is_string(kind):
        return reject.product_id or None
    try:
        return int(pa.scalar(int(reject.product_id), kind).as_py())
    except (ValueError, OverflowError, pa.ArrowException):
        return None


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for n products that could be read, in their order; rows that could not are in `rejects`."""

    product_ids: NDArray[Any]  # as their owner writes them: uint64, or str where some are texts, (n,)
    categories: NDArray[np.int64]  # the predicted category ids, (n,); -1 where the index found nothing
    labels: Mapping[int, str]  # what their owner calls categories whose id is not their name
    names: NDArray[np.object_]  # the paths of these categories, str (n,); None where there is none
    confidences: FloatArray  # how likely each prediction is right, (n,)
    decisions: NDArray[np.str_]  # `auto`, `review` or `new`, (n,)
    rejects: tuple[Reject, ...]  # rows that are no products, with their reasons
    places: NDArray[np.int64] = field(repr=False)  # of each product among all rows, good and bad, from 0, (n,)
    votes: Votes = field(repr=False)  # every category that was voted for, and its share, (n, k)
    hits: Mapping[str, Hits] = field(repr=False)  # the neighbours that voted, (n, top_k), by named vector
    unusable: Mapping[str, int]  # how many pictures could not be used, by reason
    calibration: Calibration = field(repr=False)  # of the index
    own_ids: Mapping[int, int | str] = field(default_factory=dict, repr=False)  # of hits, where they are no numbers

    def decide(self, max_error: float, confidence: float = Policy.certainty) -> "Predictions":
        """The same predictions, decided again without a search; arguments are as for `classify`."""
        auto_from = threshold(self.calibration.leaf, policy_of(max_error, confidence))
        return replace(self, decisions=rethreshold(self.confidences, self.decisions == NEW, auto_from))

    def to_frame(self, details: bool = False) -> "pd.DataFrame":
        """A row an input row, in its order; one that could not be read has no prediction and is for `review`.

        With `details` the columns `alternatives` and `neighbours` hold what details.parquet has, as lists.
        """
        import pandas as pd

        count, missing = len(self.product_ids) + len(self.rejects), [None] * len(self.rejects)
        rows = np.argsort(np.concatenate([self.places, np.setdiff1d(np.arange(count), self.places)]))
        is_text = self.product_ids.dtype == object
        ids = [*self.product_ids.tolist(), *((it.product_id or None) if is_text else it.id for it in self.rejects)]
        known = [None if id == NO_CATEGORY else self.labels.get(id, id) for id in self.categories.tolist()]
        large = not is_text and max(filter(None, ids), default=0) > MAX_SIGNED
        kind: Any = "object" if is_text else "UInt64" if large else "Int64"
        label_kind: Any = "object" if self.labels else "Int64"
        columns = {
            "product_id": pd.array(np.array(ids, object), kind),
            "predicted_category_id": pd.array(np.array([*known, *missing], object), label_kind),
            "predicted_category_name": np.array([*self.names, *missing], object),
            "confidence": np.pad(self.confidences, (0, len(missing)), constant_values=np.nan),
            "decision": np.array([*self.decisions.tolist(), *(REVIEW for _ in missing)], object),
        }
        if details:
            columns["alternatives"] = pd.Series([*self._alternatives(), *missing], dtype=object)
            columns["neighbours"] = pd.Series([*self._neighbours(), *missing], dtype=object)
        return pd.DataFrame(columns).take(rows).reset_index(drop=True)

    def _alternatives(self) -> list[list[dict[str, Any]]]:
        found = struct_lists(ALTERNATIVE, self.votes.shares > 0, self.votes.categories, self.votes.shares).to_pylist()
        return [[each | {"category_id": self._label(each["category_id"])} for each in row] for row in found]

    def _neighbours(self) -> list[list[dict[str, Any]]]:
        def called(each: dict[str, Any]) -> dict[str, Any]:
            own = self.own_ids.get(each["product_id"], each["product_id"])
            return each | {"product_id": own, "category_id": self._label(each["category_id"])}

        return [[called(each) for each in row] for row in neighbour_lists(self.hits).to_pylist()]

    def _label(self, category: int) -> int | str:
        return self.labels.get(category, category)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the rows of `to_frame`, with None for what is missing, and what could not be used."""
        frame = self.to_frame().astype(object)
        rows = frame.where(frame.notna(), None).to_dict("records")
        return {"predictions": rows, "rejected": len(self.rejects), "unusable_pictures": dict(self.unusable)}


def policy_of(
    max_error: float = Policy.max_error, confidence: float = Policy.certainty, new_rate: float = Policy.new_rate
) -> Policy:
    """What decisions promise; a RubrikaError refuses a rate that is none."""
    rates = {"max_error": max_error, "confidence": confidence, "new_rate": new_rate}
    for name, rate in rates.items():
        if not isinstance(rate, Real) or not 0 <= rate <= 1 or (name == "confidence" and rate == 1):
            raise RubrikaError(f"{name} is a rate from 0 to 1, not {rate}")
    return Policy(max_error, confidence, new_rate)


def collect(
    batches: Iterable[Classified], calibration: Calibration, vote: VoteSettings, labels: Mapping[int, str] | None = None
) -> Predictions:
    """All batches of a run as one, with the calibration of the index, the settings of its vote, and its labels."""
    hits = {name: [Hits.none(0, vote.top_k)] for name in vote.weights}
    none = vote_over({name: parts[0] for name, parts in hits.items()}, vote)
    rows_of = np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, object)
    nothing = (*rows_of, np.zeros(0, np.float32), np.zeros(0, "U6"), none.categories, none.shares)
    parts = list[tuple[NDArray[Any], ...]]()
    rejects, rows, unusable = list[Reject](), 0, Counter[str]()
    for one in batches:
        numbers = [product.row for product in one.batch.products]
        order = np.sort(numbers + [reject.row for reject in one.batch.rejects])
        if any(product.key for product in one.batch.products):
            ids = np.array([product.key or str(product.id) for product in one.batch.products], object)
        else:
            ids = np.array([product.id for product in one.batch.products], np.uint64)
        names = np.array([one.tree.path(id) for id in one.votes.winners.tolist()], object)
        judged = one.decided.confidences, one.decided.decisions, one.votes.categories, one.votes.shares
        parts.append((ids, rows + np.searchsorted(order, numbers), names, *judged))
        for name, found in hits.items():
            found.append(one.hits[name])
        rejects += one.batch.rejects
        unusable.update(one.failures)
        rows += one.batch.rows
    # A vote is wider than its hits where categories that were not learned vote too.
    columns = map(np.concatenate, zip(*(parts or [nothing]), strict=True))
    product_ids, places, paths, confidences, decisions, categories, shares = columns
    if product_ids.dtype == object:
        product_ids = np.array([str(id) for id in product_ids], object)
    return Predictions(
        product_ids=product_ids,
        categories=categories[:, 0].copy(),
        labels=labels or {},
        names=paths,
        confidences=confidences,
        decisions=decisions,
        rejects=tuple(rejects),
        places=places,
        votes=Votes(categories, shares),
        hits={name: Hits.joined(found) for name, found in hits.items()},
        unusable=unusable,
        calibration=calibration,
    )


def redecide(details: Path, output: Path, policy: Policy) -> Counter[str]:
    """Write the same table decided by another policy; return how many decisions there are of each.

    What is flagged as a possible new category stays `new`, and a row without a prediction stays for `review`. The
    output may take the place of the details.
    """
    counts = Counter[str]()
    # Checked first, because opening a pipe would wait for ever.
    if os.path.exists(details) and not os.path.isfile(details):
        raise InputError(f"{details}: not a file; name one that `rubrika classify --details` wrote")
    try:
        schema = pq.read_schema(details)
        design, curve = json.loads((schema.metadata or {})[RISK.encode()])
        auto_from = threshold(replace(BUILT_IN, curve=tuple(map(tuple, curve)), design=design), policy)
        place = schema.get_field_index("decision")
        # The source is closed before the output, which may take its place.
        with table_file(output, schema) as target, pq.ParquetFile(details) as source:
            for group in range(source.num_row_groups):
                table = source.read_row_group(group)
                # A row that could not be read has no confidence.
                confidences = np.nan_to_num(table.column("confidence").to_numpy().astype(np.float32), nan=0.0)
                unlike = np.asarray(table.column("decision").to_pylist()) == NEW
                decisions = rethreshold(confidences, unlike, auto_from).tolist()
                counts.update(decisions)
                target.write_table(table.set_column(place, schema.field(place), pa.array(decisions)))
    except FileNotFoundError:
        raise InputError(f"{details}: no such file; make one with `rubrika classify --details {details}`") from None
    except (pa.ArrowException, OSError, KeyError, ValueError):
        raise InputError(f"{details}: not written by `rubrika classify --details`; make it again") from None
    return counts
