"""What other tools take from an index: its text encoder as a model, and its products as a table of vectors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rubrika.encode.base import FloatArray
from rubrika.errors import ParameterError, RubrikaError
from rubrika.files import check_outputs, check_place, table_file, writable
from rubrika.index.folder import Index
from rubrika.index.manifest import MAX_TOP_K
from rubrika.index.model import write_encoder
from rubrika.index.owned import Owned
from rubrika.progress import Advance, Progress
from rubrika.retrieve.exact import POINTS, ExactSearch
from rubrika.store.base import Hits, Point

# Products whose neighbours are found at once: for each such block all vectors are read again.
BLOCK = 16_384
SCHEMA = pa.schema(
    [
        *(("product_id", pa.uint64()), ("title", pa.string())),
        *(("category_id", pa.int64()), ("category_path", pa.string())),
    ]
)
# As Embedding Atlas reads them: ids are numbers of rows, from 0.
NEIGHBOURS = pa.field("neighbors", pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float32()))]))


@dataclass(frozen=True)
class Exported:
    """Where an encoder and a table of vectors are, and how many products the table has; None was not asked for."""

    encoder: Path | None = None
    embeddings: Path | None = None
    products: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `rubrika export --json` prints them."""
        places = {"encoder": self.encoder, "embeddings": self.embeddings}
        return {name: path and str(path) for name, path in places.items()} | {"products": self.products}

    def describe(self) -> str:
        """A line for each of them."""
        encoder = [f"{self.encoder}: the text encoder"] if self.encoder else []
        return "\n".join([*encoder, *([f"{self.embeddings}: {self.products:,} products"] if self.embeddings else [])])


def export(
    index: Index,
    encoder: str | Path | None,
    embeddings: str | Path | None,
    vector: str | Sequence[str],
    neighbours: int,
    progress: Progress,
) -> Exported:
    """Write the text encoder into the folder `encoder`, each named `vector` into the file `embeddings`, or both."""
    if encoder is None and embeddings is None:
        raise ParameterError("give `encoder`, `embeddings` or both")
    if not 0 <= neighbours <= MAX_TOP_K:
        raise ParameterError(f"`neighbours` is from 0 to {MAX_TOP_K:,}, not {neighbours}")
    vectors = tuple(dict.fromkeys([vector] if isinstance(vector, str) else vector))
    if not vectors:
        raise ParameterError("`vector` names one at least")
    for name in vectors:
        if name not in index.manifest.vectors:
            raise RubrikaError(f"{index.folder} has no vector {name}; it has {', '.join(index.manifest.vectors)}")
    encoder, embeddings = (None if place is None else Path(place) for place in (encoder, embeddings))
    # All is refused before anything is written.
    check_outputs((), index.folder, encoder and encoder / "README.md", embeddings)
    if embeddings is not None:
        check_place(embeddings)
        if embeddings.suffix.lower() != ".parquet":
            raise RubrikaError(f"{embeddings}: vectors are written as parquet; end its name with .parquet")
    if encoder is not None:
        write_encoder(index, encoder)
    products = None
    if embeddings is not None:
        products = write_embeddings(index, embeddings, vectors, neighbours, progress)
    return Exported(encoder, embeddings, products)


def write_embeddings(index: Index, path: Path, vectors: Sequence[str], neighbours: int, progress: Progress) -> int:
    """Write a row a product, in the order of their ids: its named vectors, and its nearest by the first of these.

    Memory is bounded by blocks of products; with `neighbours` the table is on the disk twice meanwhile.
    """
    with progress.stage("export", index.store.count() * (2 if neighbours else 1)) as advance:
        if not neighbours:
            return _write_products(index, path, vectors, advance)
        with writable(path):
            folder = TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent)
        with folder as name:
            plain = Path(name) / path.name
            count = _write_products(index, plain, vectors, advance)
            _write_neighbours(plain, path, neighbours, advance)
            return count


def _write_products(index: Index, path: Path, vectors: Sequence[str], advance: Advance) -> int:
    owned, count = Owned.of(index), 0
    columns = [pa.field(_column(name), pa.list_(pa.float32())) for name in vectors]
    schema = owned.schema(pa.schema([*SCHEMA, *columns]))
    text_ids, labels = (pa.types.is_string(schema.field(name).type) for name in ("product_id", "category_id"))
    with table_file(path, schema) as target:
        for page in index.store.scroll(SCHEMA.names, vectors=True):
            categories = [owned.category(point.category_id) for point in page]
            rows = [
                [str(point.own_id) if text_ids else point.id for point in page],
                [point.text("title") for point in page],
                [str(category) if labels else category for category in categories],
                [point.text("category_path") for point in page],
            ]
            arrays = [pa.array(values, it.type) for values, it in zip(rows, schema, strict=False)]
            arrays += [_vectors_of(page, name) for name in vectors]
            target.write_table(pa.table(arrays, schema=schema))
            count += len(page)
            advance(len(page))
    return count


def _column(vector: str) -> str:
    return f"{vector}_vector"


def _vectors_of(points: Sequence[Point], name: str) -> pa.Array:
    """One named vector of n points, as a list each; null where a point lacks it."""
    found = [point.vectors.get(name) for point in points]
    values = [np.zeros(0, np.float32) if vector is None else vector for vector in found]
    offsets = np.cumsum([0, *map(len, values)], dtype=np.int32)
    lacking = pa.array([vector is None for vector in found])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(values), pa.float32()), mask=lacking)


def _write_neighbours(plain: Path, path: Path, top_k: int, advance: Advance) -> None:
    """Write the table again with the neighbours of every row, block by block."""
    schema = pq.read_schema(plain)
    column, start = schema.names[len(SCHEMA)], 0
    with pq.ParquetFile(plain) as table, table_file(path, schema.append(NEIGHBOURS)) as target:
        for block in table.iter_batches(BLOCK):
            rows, queries = _matrix(block.column(column), start)
            search = ExactSearch(queries, top_k, groups=rows)
            for ids, points in _points(plain, column):
                # A row is its own group, so that it is no neighbour of itself; categories have no say.
                search.add(ids.astype(np.uint64), points, ids, groups=ids)
            found = _neighbours_of(search.hits(), rows - start, len(block))
            target.write_table(pa.Table.from_batches([block]).append_column(NEIGHBOURS, found))
            start += len(block)
            advance(len(block))


def _points(path: Path, column: str) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
    """The rows of a table that have a vector, and these."""
    start = 0
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(POINTS, columns=[column]):
            yield _matrix(batch.column(0), start)
            start += len(batch)


def _matrix(column: pa.ListArray, start: int) -> tuple[NDArray[np.int64], FloatArray]:
    """Which rows of a column have a vector, counted from `start`, and these as (n, size)."""
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    values = column.flatten().to_numpy()
    return rows + start, values.reshape(len(rows), -1) if len(rows) else np.zeros((0, 1), np.float32)


def _neighbours_of(hits: Hits, rows: NDArray[np.int64], count: int) -> pa.StructArray:
    """The hits of some of `count` rows as the table has them; null for the other rows."""
    there = np.isfinite(hits.scores)
    counts = np.zeros(count, np.int64)
    counts[rows] = there.sum(1)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    # A cosine may be above 1 by rounding.
    values = hits.ids[there].astype(np.int64), np.maximum(1 - hits.scores[there], np.float32(0))
    lists = [pa.ListArray.from_arrays(offsets, pa.array(each)) for each in values]
    lacking = np.ones(count, bool)
    lacking[rows] = False
    return pa.StructArray.from_arrays(lists, fields=list(NEIGHBOURS.type), mask=pa.array(lacking))
