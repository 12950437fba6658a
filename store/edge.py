"""Qdrant Edge: the engine in this process, its points in a folder; the only file that imports qdrant_edge."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import qdrant_edge as edge

from rubrika.errors import StoreError
from rubrika.store.base import (
    FloatArray,
    Hit,
    Hits,
    Payload,
    Point,
    counts_of,
    hit_of,
    nearest,
    nothing,
    pages_of,
    point_of,
)
from rubrika.store.card import card_of, keys_in_store
from rubrika.store.connection import GRAPH_EFFORT, GRAPH_FROM, QUANTILE, Recall
from rubrika.store.recall import measure
from rubrika.store.shared import hold, open_copy, publish, withdraw

Result = TypeVar("Result")

QUERY_BATCH, SCROLL_BATCH = 256, 4_096
FACET_LIMIT = 1_000_000
# Scanning 8-bit vectors and rescoring the best by the full ones takes half the time of an exact scan, with nothing to
# build; `optimise` measures what it finds. A graph gets lost among near duplicates, see docs/encoder.md, so it comes
# only where a scan takes too long, and is then searched far and wide: docs/performance.md has the figures behind this.
SEGMENTS = 2
_GRAPH = edge.HnswIndexConfig(m=12, ef_construct=64, full_scan_threshold=10)
_SCAN = edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=10)

_CONFIG = "edge_config.json"
# Nobody asks for more here; the payload indexes that a server has for its web UI would be a sixth of the folder.
_FACET = "category_id"


class EdgeStore:
    """A Qdrant Edge shard in a folder, as a `Store`."""

    streams = 1

    def __init__(
        self,
        shard: edge.EdgeShard,
        folder: Path,
        graph_from: int = GRAPH_FROM,
        recall: Mapping[str, Recall] | None = None,
        shared: bool = False,
        lock: int | None = None,
    ) -> None:
        self._shard, self._folder, self._graph_from = shard, folder, graph_from
        self._process, self._shared, self._lock = os.getpid(), shared, lock
        if not shared:
            _open.add(folder.resolve())
        self.recall, self.exact = dict(recall or {}), False
        self.wrote, self.on_write = False, nothing
        self.remarks = list[str]()

    @classmethod
    def create(cls, folder: Path, sizes: Mapping[str, int], graph_from: int = GRAPH_FROM) -> "EdgeStore":
        """Make an empty store with one named vector for each entry of `sizes`; `graph_from` as in `open`."""
        folder.mkdir(parents=True, exist_ok=True)
        store = cls(_call(folder, edge.EdgeShard.create, str(folder), _config(sizes, _SCAN)), folder, graph_from)
        store._update(edge.UpdateOperation.create_field_index(_FACET, edge.PayloadSchemaType.Integer))
        return store

    @classmethod
    def open(
        cls,
        folder: Path,
        graph_from: int = GRAPH_FROM,
        recall: Mapping[str, Recall] | None = None,
        shared: bool = False,
    ) -> "EdgeStore":
        """Open an existing store, for a change by this process alone, or `shared`, to be read by any number.

        `graph_from`: with how many points `optimise` builds a graph; below half as many it drops the graph again.
        `recall` is how each named vector is searched until then.
        """
        if not folder.is_dir():
            raise StoreError(f"{folder}: no store here; run `rubrika ingest` first")
        if shared:
            shard = open_copy(folder, lambda copy: _call(folder, edge.EdgeShard.load, str(copy)))
            return cls(shard, folder, graph_from, recall, shared)
        publish(folder)
        lock = hold(folder)
        if lock is None:
            raise _held(folder)
        try:
            shard = _call(folder, edge.EdgeShard.load, str(folder))
        except StoreError:
            os.close(lock)
            raise
        return cls(shard, folder, graph_from, recall, lock=lock)

    def upsert(self, points: Sequence[Point]) -> None:  # noqa: D102 - as in Store
        plain = ({name: row.tolist() for name, row in point.vectors.items()} for point in points)
        new = [edge.Point(it.id, vectors, card_of(it.payload)) for it, vectors in zip(points, plain, strict=True)]
        self._update(edge.UpdateOperation.upsert_points(new))

    def delete(self, ids: Sequence[int]) -> None:  # noqa: D102
        self._update(edge.UpdateOperation.delete_points(list(ids)))

    def replace_payloads(self, payloads: Mapping[int, Payload]) -> None:  # noqa: D102
        # The engine has no operation for many payloads; one a point takes about as long as writing the points again.
        for id, payload in payloads.items():
            self._update(edge.UpdateOperation.overwrite_payload([id], card_of(payload)))

    def search(self, vector: str, queries: FloatArray, top_k: int, exact: bool = False) -> Hits:  # noqa: D102
        how, exact = self.recall.get(vector, Recall()), exact or self.exact
        quantised = edge.QuantizationSearchParams(exact or how.oversampling is None, True, how.oversampling)

        def ask(rows: list[list[float]], limit: int) -> list[list[Hit]]:
            params = edge.SearchParams(max(how.hnsw_ef or GRAPH_EFFORT, limit), exact, quantised)
            request = partial(edge.QueryRequest, limit, with_payload=["category_id"], params=params)
            requests = [request(query=edge.Query.Nearest(row, using=vector)) for row in rows]
            batch = self._do(self._shard.query_batch, edge.QueryBatchRequest(requests))
            return [[hit_of(hit) for hit in hits] for hits in batch]

        return nearest(ask, queries, top_k, QUERY_BATCH)

    def fetch(self, ids: Sequence[int], payload: bool = True, vectors: bool = False) -> dict[int, Point]:  # noqa: D102
        records = self._do(self._shard.retrieve, list(ids), payload, vectors)
        return {point.id: point for point in map(point_of, records)}

    def scroll(self, payload: Sequence[str] | bool = True, vectors: bool = False) -> Iterator[list[Point]]:  # noqa: D102
        keys = payload if isinstance(payload, bool) else keys_in_store(payload)
        request = partial(edge.ScrollRequest, limit=SCROLL_BATCH, with_payload=keys, with_vector=vectors)
        return pages_of(lambda offset: self._do(self._shard.scroll, request(offset)))

    def in_category(self, category: int, limit: int) -> list[Point]:  # noqa: D102
        wanted = edge.Filter(must=[edge.FieldCondition("category_id", match=edge.MatchValue(category))])
        request = edge.ScrollRequest(limit=limit, filter=wanted, with_payload=True)
        return [point_of(record) for record in self._do(self._shard.scroll, request)[0]]

    def count(self) -> int:  # noqa: D102
        return self._do(self._shard.count, edge.CountRequest(exact=True))

    def facet(self, key: str) -> dict[str | int, int]:  # noqa: D102
        return counts_of(self._do(self._shard.facet, edge.FacetRequest(key, FACET_LIMIT, exact=True)).hits)

    def optimise(self) -> None:  # noqa: D102
        self._check_writable()
        # What an optimisation that was killed has left there; the engine would never remove it.
        shutil.rmtree(self._folder / "temp_segments", ignore_errors=True)
        has_graph = self._choose_layout()
        self._do(self._shard.optimize)
        measure(self, Recall(GRAPH_EFFORT if has_graph else None))

    def flush(self) -> None:
        """Return when everything written is on the disk.

        A process that is killed loses nothing that a method had returned from: it is in the shard's log, and done again
        at the next opening. Only a machine that stops can lose what was not flushed.
        """
        self._do(self._shard.flush)

    def close(self) -> None:  # noqa: D102
        self._shard.close()
        if not self._shared:
            _open.discard(self._folder.resolve())
        if self._lock is not None:
            withdraw(self._folder)
            os.close(self._lock)
            self._lock = None

    def _choose_layout(self) -> bool:
        """Have `optimise` build a graph, or drop it, by how many points there are; whether there will be one."""
        try:
            kept = json.loads((self._folder / _CONFIG).read_text(encoding="utf-8"))
            sizes = {name: int(vector["size"]) for name, vector in kept["vectors"].items()}
            has_graph = kept["hnsw_config"]["m"] > 0
        # Another version of the engine may keep it elsewhere: then the layout stays as it is.
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        wants_graph = self.count() >= (self._graph_from // 2 if has_graph else self._graph_from)
        if wants_graph != has_graph:
            self._shard.close()
            config = _config(sizes, _GRAPH if wants_graph else _SCAN)
            self._shard = self._do(edge.EdgeShard.load, str(self._folder), config)
        return wants_graph

    def _update(self, operation: edge.UpdateOperation) -> None:
        self._check_writable()
        self.on_write()
        self.wrote = True
        self._do(self._shard.update, operation)

    def _check_writable(self) -> None:
        if self._shared:
            raise StoreError(f"{self._folder}: open for reading; what is written to a copy would be lost")

    def _do(self, method: Callable[..., Result], *arguments: object) -> Result:
        if self._process != os.getpid():
            # The engine's threads stay in the other process, and waiting for them would never end.
            raise StoreError(f"{self._folder}: opened in another process; open the index anew in this one")
        return _call(self._folder, method, *arguments)


def _config(sizes: Mapping[str, int], layout: edge.HnswIndexConfig) -> edge.EdgeConfig:
    # What the engine is to keep in memory it copies there at every opening, which takes seconds with a million points;
    # mapped from the disk, a scan is half as slow again, and a graph is not.
    mapped = layout is _GRAPH
    return edge.EdgeConfig(
        vectors={name: edge.EdgeVectorParams(size, edge.Distance.Dot, on_disk=mapped) for name, size in sizes.items()},
        hnsw_config=layout,
        quantization_config=edge.ScalarQuantizationConfig(edge.ScalarType.Int8, QUANTILE, always_ram=False),
        # Segments are searched side by side, one a core.
        optimizers=edge.EdgeOptimizersConfig(default_segment_number=SEGMENTS),
    )


# What this process has open: the engine says of it, too, that somebody else has.
_open: set[Path] = set()


def _held(folder: Path) -> StoreError:
    if folder.resolve() in _open:
        return StoreError(f"{folder}: this process has it open already; close that one first")
    return StoreError(f"{folder}: another process is changing this index; wait for it to end")


def _call(folder: Path, method: Callable[..., Result], *arguments: object) -> Result:
    try:
        return method(*arguments)
    # The engine raises bare Exception for every failure.
    except Exception as error:
        if "WouldBlock" in str(error):
            raise _held(folder) from None
        raise StoreError(f"{folder}: the store failed ({' '.join(str(error).split())})") from None
