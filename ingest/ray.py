"""Ingests on Ray: actors that have the encoders open compare and encode parts of files, and a sink writes points."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ray.data import Datasink
from ray.data.block import BlockAccessor

from rubrika.errors import StoreError
from rubrika.files import PART, clear_parts
from rubrika.index.categories import Labels, Names
from rubrika.index.folder import Index
from rubrika.ingest.write import IngestReport, Planned, Writer
from rubrika.products.images import PictureFolder
from rubrika.products.parts import Part, PartReader, parts_of, repeated_ids
from rubrika.products.product import Batch, Filtered, Products
from rubrika.products.reader import Reader
from rubrika.products.rejects import write_rejects
from rubrika.progress import Progress
from rubrika.retrieve.ray import Ray, opened, with_key, without_key
from rubrika.store.connection import Connection
from rubrika.store.open import open_store

# So many writers at once; each has several requests under way, and waits for the server more than it works.
WRITERS = 2
# Of rows of one id in several parts, which this process writes at the end.
REPEATED = "part-repeated.parquet"


@dataclass(frozen=True)
class IngestWork:
    """What an actor must know to make points of parts."""

    folder: Path
    server: Connection
    cache: Path
    reader: Reader
    parts: Sequence[Part]
    repeated: frozenset[int]  # ids that several rows have: which row counts, one process decides
    pictures: PictureFolder | None
    # Of the `Writer`.
    names: Names
    options: Mapping[str, Any]


# Where Ray says that no column of Arrow holds it, it would write out all vectors.
@dataclass(frozen=True, repr=False)
class Made:
    """What is to be written of a part, and what became of its rows."""

    part: int
    planned: Sequence[Planned]
    report: IngestReport
    names: Names  # of categories that only these rows have named
    labels: Labels
    text_ids: bool


class PointMaker:
    """Has the encoders of an index open, and makes points of the rows that are new or changed."""

    def __init__(self, work: IngestWork) -> None:
        self._work, self._index = work, opened(work.folder, work.server, work.cache)

    def __call__(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        """What becomes of parts, by their numbers."""
        made = np.empty(len(numbers["item"]), object)
        for place, number in enumerate(numbers["item"]):
            made[place] = self._made(int(number))
        return {"made": made}

    def _made(self, number: int) -> Made:
        work = self._work
        writer = Writer(self._index, work.pictures, names=dict(work.names), **work.options)
        planned = [writer.plan(self._alone(batch)) for batch in PartReader(work.reader, [work.parts[number]])]
        fresh = {id: writer.names[id] for id in writer.names.keys() - work.names.keys()}
        return Made(number, planned, writer.report, fresh, writer.labels, writer.text_ids)

    def _alone(self, batch: Batch) -> Batch:
        return replace(batch, products=[it for it in batch.products if it.id not in self._work.repeated])


class PointSink(Datasink):  # type: ignore[misc]
    """Writes whole points, again where a request fails in passing: points have our ids, so twice is as good as once."""

    def __init__(self, server: Connection, sizes: Mapping[str, int], rejects: Path) -> None:
        self._server, self._sizes, self._rejects = server, dict(sizes), rejects
        self.made = list[Made]()

    def on_write_start(self, schema: object = None) -> None:
        """Forget what an earlier run has set aside; the collection is there, and its indexing is off if it is new."""
        clear_parts(self._rejects)

    def write(self, blocks: Iterable[Any], ctx: object) -> list[Made]:
        """Bring the points of some parts into the collection, and the rows that were set aside into files."""
        written = list[Made]()
        with closing(open_store(with_key(self._server), self._sizes)) as store:
            for block in blocks:
                for row in BlockAccessor.for_block(block).iter_rows(public_row_format=True):
                    made: Made = row["made"]
                    for planned in made.planned:
                        planned.write(store)
                    if made.report.rejects:
                        write_rejects(made.report.rejects, self._rejects / PART.format(made.part))
                    # Of a hundred million rows the first process has the counts alone.
                    written.append(replace(made, planned=(), report=replace(made.report, rejects=[])))
        return written

    def on_write_complete(self, write_result: Any) -> None:  # noqa: ANN401 - Ray's
        """Keep what became of all rows; who began the run has the collection optimised and compares its count."""
        self.made = [made for written in write_result.write_returns for made in written]


@dataclass(frozen=True)
class Spread:
    """Writes products by Ray's actors, for `ingest`."""

    ray: Ray
    reader: Reader
    rejects: Path  # a folder for the rows that are set aside

    def write(self, index: Index, writer: Writer, products: Products, strict: bool, progress: Progress) -> None:
        """Write all products, and count them in the report of `writer`, which decides where several rows have an id."""
        assert index.server is not None  # noqa: S101 - `ingest` has checked it
        parts, _ = parts_of(self.reader, self.ray.part_rows), self.reader.separator
        repeated, having = repeated_ids(self.reader, parts)
        work = IngestWork(
            index.folder.absolute(),
            without_key(index.server),
            index.cache.absolute(),
            self.reader,
            parts,
            repeated,
            writer.pictures,
            dict(writer.names),
            writer.options,
        )
        sink, before = PointSink(work.server, index.manifest.sizes, self.rejects.absolute()), index.store.count()
        # From now on index.json says that a change is under way.
        index.store.on_write()
        index.store.wrote = True
        with progress.stage("writing products on Ray", len(self.reader)) as advance, self.ray.running():
            made = self.ray.spread(PointMaker, work, range(len(parts)))
            made.write_datasink(sink, ray_remote_args={"num_cpus": 0}, concurrency=WRITERS)
            for one in sorted(sink.made, key=lambda made: made.part):
                writer.report.add(one.report)
                writer.names |= one.names
                writer.labels |= one.labels
                writer.text_ids |= one.text_ids
                advance(one.report.read)
            for batch in Filtered(PartReader(self.reader, having), lambda product: product.id in repeated):
                writer.write(batch)
                advance(batch.rows)
        if writer.report.rejects:
            write_rejects(writer.report.rejects, self.rejects / REPEATED)
        there = index.store.count()
        if there < before + writer.report.added:
            lost = f"it has {there:,} products, {before + writer.report.added:,} were to be there"
            raise StoreError(f"collection «{index.server.collection}» on {index.server.server}: {lost}; ingest again")
