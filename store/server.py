"""The store on a Qdrant server."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
from qdrant_client import QdrantClient, models

from rubrika.store.base import FloatArray, Hits, Payload, Point, category_of, own_id
from rubrika.store.collection import INDEXING_THRESHOLD, Collection, is_local, search_params
from rubrika.store.connection import Connection, SearchOptions, ServerOptions
from rubrika.store.faults import RetryPolicy

Item = TypeVar("Item")

WRITE_BATCH = 128
STREAMS = 3
QUERY_BATCH = 128
# A page of vectors is some megabytes of JSON; payloads alone are light.
SCROLL_BATCH = 2_048
SCROLL_VECTORS_BATCH = 512
FACET_LIMIT = 1_000_000
OPTIMISE_SECONDS = 1_800.0
OPTIMISE_POLL_SECONDS = 0.2


class ServerStore:
    """A collection on a Qdrant server, as a `Store`; made by `create` or `open`.

    A request that fails in passing is made again with growing waits: each is safe to repeat, points having ids of ours.
    """

    def __init__(self, collection: Collection, search: SearchOptions) -> None:
        self._collection, self._client = collection, collection.client
        self._do, self._error = collection.do, collection.error
        # The client's memory mode bears one thread, and says at a search that it has no use for these.
        local = is_local(self._client)
        self._streams = 1 if local else STREAMS
        self._params = None if local else search_params(search)

    @classmethod
    def create(
        cls,
        connection: Connection,
        sizes: Mapping[str, int],
        options: ServerOptions | None = None,
        *,
        client: QdrantClient | None = None,
        policy: RetryPolicy | None = None,
    ) -> "ServerStore":
        """Make a collection with one named vector for each entry of `sizes`, or take up the one made before.

        Args:
            connection: server and name of the collection.
            sizes: the width of each named vector.
            options: how it is laid out and searched; one that exists keeps its layout.
            client: a client to use instead of connecting, such as one in memory; it stays open.
            policy: how often a passing fault is tried again.

        Raises:
            StoreError: it cannot be reached, exists with other vectors, or holds points that Rubrika did not write.
        """
        options = options or ServerOptions()
        return cls(Collection.create(connection, sizes, options, client, policy), options.search)

    @classmethod
    def open(
        cls,
        connection: Connection,
        sizes: Mapping[str, int] | None = None,
        search: SearchOptions | None = None,
        *,
        client: QdrantClient | None = None,
        policy: RetryPolicy | None = None,
    ) -> "ServerStore":
        """Open an existing collection, to be searched as `search` says; with `sizes`, only when its vectors are these.

        Raises:
            StoreError: it cannot be reached, does not exist, or has other vectors.
        """
        return cls(Collection.open(connection, sizes, client, policy), search or SearchOptions())

    @property
    def sizes(self) -> dict[str, int]:
        """The width of each named vector."""
        return dict(self._collection.sizes)

    def upsert(self, points: Sequence[Point]) -> None:  # noqa: D102 - as in Store
        structs = [
            models.PointStruct(id=point.id, vector=self._plain(point), payload=point.payload) for point in points
        ]
        self._write(structs, lambda batch: self._do(self._client.upsert, points=batch, wait=True))

    def delete(self, ids: Sequence[int]) -> None:  # noqa: D102
        self._write(ids, lambda batch: self._do(self._client.delete, points_selector=list(batch), wait=True))

    def replace_payloads(self, payloads: Mapping[int, Payload]) -> None:  # noqa: D102
        operations = [
            models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload=payload, points=[id]))
            for id, payload in payloads.items()
        ]
        update = self._client.batch_update_points
        self._write(operations, lambda batch: self._do(update, update_operations=batch, wait=True))

    def search(self, vector: str, queries: FloatArray, top_k: int) -> Hits:  # noqa: D102
        self._check_size(vector, queries.shape[1], "a query")
        found: list[list[tuple[int, float, int]]] = []
        for start in range(0, len(queries), QUERY_BATCH):
            requests = [
                models.QueryRequest(
                    query=row, using=vector, limit=top_k, with_payload=["category_id"], params=self._params
                )
                for row in queries[start : start + QUERY_BATCH].tolist()
            ]
            answers = self._do(self._client.query_batch_points, requests=requests)
            found += [[_hit(hit) for hit in answer.points] for answer in answers]
        return Hits.of(found, top_k)

    def fetch(self, ids: Sequence[int], payload: bool = True, vectors: bool = False) -> dict[int, Point]:  # noqa: D102
        if not ids:
            return {}
        records = self._do(self._client.retrieve, ids=list(ids), with_payload=payload, with_vectors=vectors)
        return {point.id: point for point in map(_point, records)}

    def scroll(self, payload: Sequence[str] | bool = True, vectors: bool = False) -> Iterator[list[Point]]:  # noqa: D102
        wanted = payload if isinstance(payload, bool) else list(payload)
        page = partial(
            self._client.scroll,
            limit=SCROLL_VECTORS_BATCH if vectors else SCROLL_BATCH,
            with_payload=wanted,
            with_vectors=vectors,
        )
        offset: Any = None
        while True:
            records, offset = self._do(page, offset=offset)
            if records:
                yield [_point(record) for record in records]
            if offset is None:
                return

    def count(self) -> int:  # noqa: D102
        return self._collection.count()

    def facet(self, key: str) -> dict[str | int, int]:  # noqa: D102
        hits = self._do(self._client.facet, key=key, limit=FACET_LIMIT, exact=True).hits
        return {hit.value: hit.count for hit in sorted(hits, key=lambda hit: (-hit.count, str(hit.value)))}

    def optimise(self) -> None:
        """Let the server quantise and index what was loaded, and wait for it.

        Past half an hour it goes on by itself: searching stays right meanwhile, only slower.
        """
        threshold = models.OptimizersConfigDiff(indexing_threshold=INDEXING_THRESHOLD)
        self._do(self._client.update_collection, optimizers_config=threshold)
        end = time.monotonic() + OPTIMISE_SECONDS
        while time.monotonic() < end:
            # First a moment, in which the server sees that there is something to do.
            time.sleep(OPTIMISE_POLL_SECONDS)
            info = self._collection.info()
            if info.status == models.CollectionStatus.GREEN:
                return
            if info.status == models.CollectionStatus.RED:
                raise self._error("the server failed to optimise it; see the server's log")

    def flush(self) -> None:
        """Nothing to do: what the server has acknowledged is in its log on disk."""

    def close(self) -> None:  # noqa: D102
        self._collection.close()

    def _write(self, items: Sequence[Item], send: Callable[[Sequence[Item]], object]) -> None:
        """Send items in batches, some at a time; `send` waits: what is not waited for may be dropped in silence."""
        self._collection.check_ours()
        batches = [items[start : start + WRITE_BATCH] for start in range(0, len(items), WRITE_BATCH)]
        if self._streams == 1 or len(batches) < 2:
            for batch in batches:
                send(batch)
            return
        pool = ThreadPoolExecutor(self._streams)
        try:
            for _ in pool.map(send, batches):
                pass
        finally:
            # After a failure the batches still waiting would only be tried in vain, one after another.
            pool.shutdown(cancel_futures=True)

    def _plain(self, point: Point) -> Any:  # noqa: ANN401 - of the client's unions of vectors
        for name, row in point.vectors.items():
            self._check_size(name, len(row), f"product {point.id}")
            if not np.isfinite(row).all():
                raise self._error(f"product {point.id} has a «{name}» vector with numbers that are not finite")
        return {name: row.tolist() for name, row in point.vectors.items()}

    def _check_size(self, vector: str, size: int, whose: str) -> None:
        if vector not in self._collection.sizes:
            raise self._error(f"it has no «{vector}» vector; it has {', '.join(self._collection.sizes) or 'none'}")
        wanted = self._collection.sizes[vector]
        if size != wanted:
            raise self._error(f"{whose} has {size} numbers in «{vector}», the collection {wanted}")


def _hit(hit: models.ScoredPoint) -> tuple[int, float, int]:
    id = own_id(hit.id)
    return id, hit.score, category_of(id, hit.payload)


def _point(record: models.Record) -> Point:
    vectors = record.vector if isinstance(record.vector, dict) else {}
    return Point(
        own_id(record.id), {name: np.asarray(row, np.float32) for name, row in vectors.items()}, record.payload or {}
    )
