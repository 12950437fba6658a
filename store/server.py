"""A collection on a Qdrant server or cluster as a store; it, client.py, faults.py, schema.py import qdrant_client."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from qdrant_client import QdrantClient, models

from rubrika.errors import StoreError
from rubrika.store.client import connect, is_local
from rubrika.store.connection import Connection, ServerOptions
from rubrika.store.faults import Caller, NoCollectionError, Patience
from rubrika.store.schema import INDEXING_THRESHOLD, METADATA, difference, is_ours, layout, search_params, sizes_of
from rubrika.store.store import INDEXED, FloatArray, Hits, Point

Result = TypeVar("Result")

UPSERT_BATCH = 128
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

    def __init__(self, connection: Connection, options: ServerOptions | None, client: QdrantClient | None) -> None:
        self._connection, self._options = connection, options or ServerOptions()
        self._lent = client is not None
        self._client = client or connect(connection)
        # The client's memory mode bears one thread, and says at a search that it has no use for these.
        local = is_local(self._client)
        self._streams = 1 if local else STREAMS
        self._params = None if local else search_params(self._options)
        # Until it is open, one try: whoever mistyped the url should not wait.
        self._call = Caller(connection, Patience(tries=1))
        self._sizes: dict[str, int] = {}
        self._ours = False

    @classmethod
    def create(
        cls,
        connection: Connection,
        sizes: Mapping[str, int],
        options: ServerOptions | None = None,
        *,
        client: QdrantClient | None = None,
        patience: Patience | None = None,
    ) -> "ServerStore":
        """Make a collection with one named vector for each entry of `sizes`, or take up the one made before.

        Args:
            connection: server and name of the collection.
            sizes: the width of each named vector.
            options: how it is laid out; one that exists keeps its layout.
            client: a client to use instead of connecting, such as one in memory; it stays open.
            patience: how often a passing fault is tried again.

        Raises:
            StoreError: it cannot be reached, exists with other vectors, or holds points that Rubrika did not write.
        """
        with cls(connection, options, client)._opening(patience) as store:
            try:
                info = store._info()
            except NoCollectionError:
                store._do(store._client.create_collection, **layout(sizes, store._options))
                info = store._info()
            store._take(info, sizes)
            store._own()
            store._make_payload_indexes()
        return store

    @classmethod
    def open(
        cls,
        connection: Connection,
        sizes: Mapping[str, int] | None = None,
        options: ServerOptions | None = None,
        *,
        client: QdrantClient | None = None,
        patience: Patience | None = None,
    ) -> "ServerStore":
        """Open an existing collection; with `sizes`, only when its vectors are these.

        Raises:
            StoreError: it cannot be reached, does not exist, or has other vectors.
        """
        with cls(connection, options, client)._opening(patience) as store:
            store._take(store._info(), sizes)
        return store

    @property
    def sizes(self) -> dict[str, int]:
        """The width of each named vector."""
        return dict(self._sizes)

    def upsert(self, points: Sequence[Point]) -> None:  # noqa: D102 - as in Store
        if not self._ours:
            raise self._error("it was not made by Rubrika, so nothing is written to it; choose another --collection")
        structs = [self._struct(point) for point in points]
        batches = [structs[start : start + UPSERT_BATCH] for start in range(0, len(structs), UPSERT_BATCH)]
        if self._streams == 1 or len(batches) < 2:
            for batch in batches:
                self._send(batch)
            return
        pool = ThreadPoolExecutor(self._streams)
        try:
            for _ in pool.map(self._send, batches):
                pass
        finally:
            # After a failure the batches still waiting would only be tried in vain, one after another.
            pool.shutdown(cancel_futures=True)

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
            found += [[self._hit(hit) for hit in answer.points] for answer in answers]
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
        return self._do(self._client.count, exact=True).count

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
            info = self._info()
            if info.status == models.CollectionStatus.GREEN:
                return
            if info.status == models.CollectionStatus.RED:
                raise self._error("the server failed to optimise it; see the server's log")

    def flush(self) -> None:
        """Nothing to do: what the server has acknowledged is in its log on disk."""

    def close(self) -> None:  # noqa: D102
        # A client that was lent is its owner's to close.
        if not self._lent:
            self._client.close()

    @contextmanager
    def _opening(self, patience: Patience | None) -> Iterator["ServerStore"]:
        try:
            yield self
        except BaseException:
            self.close()
            raise
        self._call = Caller(self._connection, patience or Patience())

    def _send(self, batch: list[models.PointStruct]) -> None:
        # Waiting for each: a server that was not waited for drops in silence what it cannot apply.
        self._do(self._client.upsert, points=batch, wait=True)

    def _do(self, method: Callable[..., Result], **arguments: Any) -> Result:  # noqa: ANN401 - whatever it takes
        return self._call(partial(method, self._connection.collection, **arguments))

    def _struct(self, point: Point) -> models.PointStruct:
        for name, row in point.vectors.items():
            self._check_size(name, len(row), f"product {point.id}")
            if not np.isfinite(row).all():
                raise self._error(f"product {point.id} has a «{name}» vector with numbers that are not finite")
        vectors: Any = {name: row.tolist() for name, row in point.vectors.items()}
        return models.PointStruct(id=point.id, vector=vectors, payload=point.payload)

    def _hit(self, hit: models.ScoredPoint) -> tuple[int, float, int]:
        try:
            return int(hit.id), hit.score, int((hit.payload or {})["category_id"])
        except (KeyError, TypeError, ValueError):
            raise self._error(f"point {hit.id} is not a product with a category_id; choose another one") from None

    def _check_size(self, vector: str, size: int, whose: str) -> None:
        if vector not in self._sizes:
            raise self._error(f"it has no «{vector}» vector; it has {', '.join(self._sizes) or 'none'}")
        if size != self._sizes[vector]:
            raise self._error(f"{whose} has {size} numbers in «{vector}», the collection {self._sizes[vector]}")

    def _info(self) -> models.CollectionInfo:
        return self._do(self._client.get_collection)

    def _take(self, info: models.CollectionInfo, sizes: Mapping[str, int] | None) -> None:
        differs = difference(info, sizes) if sizes is not None else None
        if differs:
            raise self._error(f"its vectors are not the index's: {differs}; choose another --collection")
        self._sizes, self._ours = sizes_of(info), is_ours(info)

    def _own(self) -> None:
        if self._ours:
            return
        if self.count():
            raise self._error("it holds points that Rubrika did not write; choose another --collection")
        self._do(self._client.update_collection, metadata=METADATA)
        self._ours = True

    def _make_payload_indexes(self) -> None:
        """Index the payload before there are points, which is quicker than after, and needed for facets."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Payload indexes have no effect", UserWarning)
            for key, kind in INDEXED.items():
                schema = models.PayloadSchemaType(kind)
                self._do(self._client.create_payload_index, field_name=key, field_schema=schema, wait=True)

    def _error(self, what: str) -> StoreError:
        return StoreError(f"collection «{self._connection.collection}» on {self._connection.server}: {what}")


def switch_alias(connection: Connection, alias: str, collection: str, *, client: QdrantClient | None = None) -> None:
    """Let `alias` name another collection from one request to the next, such as one encoded anew.

    Raises:
        StoreError: the collection does not exist, or the alias is the name of a collection.
    """
    store = ServerStore.open(replace(connection, collection=collection), client=client)
    forget = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
    name = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias))
    try:
        store._call(partial(store._client.update_collection_aliases, [forget, name]))
    finally:
        store.close()


def _point(record: models.Record) -> Point:
    vectors = record.vector if isinstance(record.vector, dict) else {}
    return Point(
        int(record.id), {name: np.asarray(row, np.float32) for name, row in vectors.items()}, record.payload or {}
    )
