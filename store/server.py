"""The store on a Qdrant server: a collection made, opened, written, searched, deleted, and named by an alias."""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from qdrant_client import QdrantClient, models

from rubrika.errors import StoreError
from rubrika.store import collection
from rubrika.store.base import (
    MAX_TIED,
    FloatArray,
    Hit,
    Hits,
    Payload,
    Point,
    counts_of,
    hit_of,
    nearest,
    pages_of,
    point_of,
)
from rubrika.store.batches import FRAME, Batches, payload_bytes, vectors_bytes
from rubrika.store.client import connect, is_grpc
from rubrika.store.connection import Connection, Recall, SearchOptions, ServerOptions
from rubrika.store.faults import ForbiddenError, NoCollectionError, RetryingClient, RetryPolicy
from rubrika.store.recall import measure

Item = TypeVar("Item")
Result = TypeVar("Result")

WRITE_BATCH, QUERY_BATCH, STREAMS = 128, 128, 3
# A page of vectors is some megabytes of JSON; payloads alone are light.
PAGE, VECTORS_PAGE, FETCHED = 2_048, 512, 1_024
FACET_LIMIT = 1_000_000
OPTIMISE_SECONDS, OPTIMISE_POLL_SECONDS, RED_POLLS = 1_800.0, 0.2, 5


class ServerStore:
    """A collection on a Qdrant server, as a `Store`; one that Rubrika did not make is only read.

    A request that fails in passing is made again with growing waits: points have our ids, so each is safe to repeat.
    """

    def __init__(
        self,
        connection: Connection,
        sizes: Mapping[str, int] | None = None,
        search: SearchOptions | None = None,
        recall: Mapping[str, Recall] | None = None,
        *,
        create: ServerOptions | None = None,
        client: QdrantClient | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        """Open a collection, with `sizes` only one whose vectors are these; whatever fails closes the connection.

        Each vector is searched as `recall` says, when that was measured, else by `search`. With `create` a collection
        that is not there is made so; one that is there keeps its layout, and becomes ours if it has no points. A
        `client` that is lent, such as one in memory, stays open.
        """
        self._connection, self._lent = connection, client is not None
        self._client = client or connect(connection)
        # The client's memory mode takes one thread, and warns of search parameters, which it has no use for.
        self._local = self._client.init_options.get("location") == ":memory:"
        self._streams, self._is_grpc = 1 if self._local else STREAMS, is_grpc(self._client)
        self.remarks = list[str]()
        search = search or (create.search if create else SearchOptions())
        self._first, self.recall = Recall(search.hnsw_ef, search.oversampling), dict(recall or {})
        # Until it has answered, one try: whoever mistyped the url should not wait.
        self._call = RetryingClient(connection, RetryPolicy(tries=1))
        try:
            info, is_new = self._opened(sizes or {}, create)
            self._call = RetryingClient(connection, policy or RetryPolicy())
            differs = collection.difference(info, sizes) if sizes is not None else None
            if differs:
                raise self.error(f"its vectors are not the index's: {differs}; choose another `collection`")
            self.sizes = {name: params.size for name, params in collection.vectors_of(info).items()}
            self.is_ours = collection.is_ours(info)
            self._limits = limits = collection.limits_of(info)
            self._first = collection.within(limits, self._first)
            # What a server states is kept from the first request on; what it does not state is found out.
            self._queries = Batches(min(QUERY_BATCH, limits.search_max_batchsize or QUERY_BATCH))
            self._writes = Batches(min(WRITE_BATCH, limits.upsert_max_batchsize or WRITE_BATCH))
            self._fetches, self._page = Batches(FETCHED), limits.max_query_limit or PAGE
            if create is not None:
                if collection.forbids_scans(info):
                    self._refuse_scan(is_new)
                self._take_over()
        except BaseException:
            self.close()
            raise

    def upsert(self, points: Sequence[Point]) -> None:  # noqa: D102 - as in Store
        structs = [models.PointStruct(id=each.id, vector=self._plain(each), payload=each.payload) for each in points]
        sizes = [payload_bytes(each.payload) + vectors_bytes(each.vectors, self._is_grpc) for each in points]
        self._write(structs, lambda batch: self._do(self._client.upsert, points=batch, wait=True), sizes)

    def delete(self, ids: Sequence[int]) -> None:  # noqa: D102
        self._write(list(ids), lambda batch: self._do(self._client.delete, points_selector=list(batch), wait=True))

    def replace_payloads(self, payloads: Mapping[int, Payload]) -> None:  # noqa: D102
        new = (models.SetPayload(payload=payload, points=[id]) for id, payload in payloads.items())
        operations = [models.OverwritePayloadOperation(overwrite_payload=each) for each in new]
        update, sizes = self._client.batch_update_points, [payload_bytes(payload) for payload in payloads.values()]
        self._write(operations, lambda batch: self._do(update, update_operations=batch, wait=True), sizes)

    def search(self, vector: str, queries: FloatArray, top_k: int, exact: bool = False) -> Hits:  # noqa: D102
        self._check_size(vector, queries.shape[1], "a query")
        how = collection.within(self._limits, self.recall.get(vector, self._first))
        params, keys = None if self._local else collection.search_params(how, exact), ["category_id"]
        query = partial(models.QueryRequest, using=vector, with_payload=keys, params=params)
        size = vectors_bytes({vector: queries[0]}, self._is_grpc) + FRAME if len(queries) else 0

        def ask(rows: list[list[float]], limit: int) -> list[list[Hit]]:
            requests = [query(query=row, limit=limit) for row in rows]
            answers = self._queries.send(requests, self._ask, [size] * len(rows))
            return [[hit_of(hit) for hit in answer.points] for batch in answers for answer in batch]

        return nearest(ask, queries, top_k, QUERY_BATCH, min(self._limits.max_query_limit or MAX_TIED, MAX_TIED))

    def fetch(self, ids: Sequence[int], payload: bool = True, vectors: bool = False) -> dict[int, Point]:  # noqa: D102
        read = partial(self._client.retrieve, with_payload=payload, with_vectors=vectors)
        pages = self._fetches.send(ids, lambda some: self._do(read, ids=list(some)))
        return {point.id: point for page in pages for point in map(point_of, page)}

    def scroll(self, payload: Sequence[str] | bool = True, vectors: bool = False) -> Iterator[list[Point]]:  # noqa: D102
        keys = payload if isinstance(payload, bool) else list(payload)
        limit = min(VECTORS_PAGE if vectors else PAGE, self._page)
        page = partial(self._client.scroll, limit=limit, with_payload=keys, with_vectors=vectors)
        return pages_of(lambda offset: self._do(page, offset=offset))

    def count(self) -> int:  # noqa: D102
        if self._limits.search_allow_exact is False:
            # Counting exactly counts as exact search.
            return sum(len(page) for page in self.scroll(payload=False))
        return self._do(self._client.count, exact=True).count

    def facet(self, key: str) -> dict[str | int, int]:  # noqa: D102
        limit, exact = self._limits.max_query_limit or FACET_LIMIT, self._limits.search_allow_exact is not False
        if exact:
            hits = self._do(self._client.facet, key=key, limit=limit, exact=True).hits
            if len(hits) < limit:
                return counts_of(hits)
        # There may be more values than the server tells at once.
        values = (point.payload[key] for page in self.scroll([key]) for point in page if key in point.payload)
        counts = Counter[str | int](
            each for value in values for each in (value if isinstance(value, list) else [value])
        )
        return dict(sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))))

    def optimise(self) -> None:
        """Let the server quantise and index what was loaded, and wait half an hour; it may go on by itself after that.

        Until it is done, searching is right but slower.
        """
        threshold = models.OptimizersConfigDiff(indexing_threshold=collection.INDEXING_THRESHOLD)
        try:
            self._do(self._client.update_collection, optimizers_config=threshold)
        except ForbiddenError as error:
            self._remark(error.reason)
        end, red = time.monotonic() + OPTIMISE_SECONDS, 0
        while time.monotonic() < end:
            # The server needs a moment to see that there is something to do.
            time.sleep(OPTIMISE_POLL_SECONDS)
            info = self._do(self._client.get_collection)
            if info.status == models.CollectionStatus.GREEN:
                break
            reason = collection.failure(info)
            red = red + 1 if reason else 0
            # It may be red from before, until it has begun anew.
            if red == RED_POLLS:
                raise self.error(f"the server failed to optimise it ({reason}); see to that, then run it again")
        self.measure()

    def measure(self) -> None:
        """Measure anew how each vector is searched best, where exact search is allowed."""
        if self._limits.search_allow_exact is False:
            self.recall = dict.fromkeys(self.sizes, self._first)
            return
        graph = self._do(self._client.get_collection).config.hnsw_config
        measure(self, self._first, self._first.hnsw_ef or graph.ef_construct if graph.m else None)

    def flush(self) -> None:
        """Nothing to do: what the server has acknowledged is in its log on disk."""

    def close(self) -> None:
        """Close the connection; a client that was lent is its owner's to close."""
        if not self._lent:
            self._client.close()

    def drop(self) -> None:
        """Delete the collection itself."""
        self._check_ours()
        self._do(self._client.delete_collection)

    def aliases(self) -> set[str]:
        """The aliases of all collections on its server."""
        return {alias.alias_name for alias in self._call(self._client.get_aliases).aliases}

    def switch(self, alias: str) -> None:
        """Let `alias` name this collection from one request to the next."""
        self._check_ours()
        named = models.CreateAlias(collection_name=self._connection.collection, alias_name=alias)
        forget = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
        both: list[models.AliasOperations] = [forget, models.CreateAliasOperation(create_alias=named)]
        self._call(lambda: self._client.update_collection_aliases(both))

    def _check_ours(self) -> None:
        if not self.is_ours:
            raise self.error("it was not made by Rubrika, so nothing is written to it; choose another `collection`")

    def error(self, what: str) -> StoreError:
        """A failure of this collection in one sentence."""
        return StoreError(f"collection «{self._connection.collection}» on {self._connection.server}: {what}")

    def _opened(self, sizes: Mapping[str, int], create: ServerOptions | None) -> tuple[models.CollectionInfo, bool]:
        """What the server says of the collection, and whether it was made just now."""
        try:
            return self._do(self._client.get_collection), False
        except NoCollectionError:
            if create is None:
                raise
        try:
            self._do(self._client.create_collection, **collection.layout(sizes, create))
        except ForbiddenError as error:
            advice = f"have an empty one made with {collection.shapes(sizes)}, then run it again with `adopt`"
            raise self.error(f"this API key may not make it ({error.reason}); {advice}") from None
        return self._do(self._client.get_collection), True

    def _refuse_scan(self, is_new: bool) -> None:
        if is_new:
            self._do(self._client.delete_collection)
        forbids = "the server's limits forbid exact search, so products cannot be found without a graph"
        raise self.error(f"{forbids}; give `hnsw_m`, as 16, for a new collection, or have search_allow_exact set there")

    def _remark(self, reason: str) -> None:
        """Note that settings stay as they are, once."""
        config = self._do(self._client.get_collection).config.optimizer_config
        stays = "its settings stay as they are" if config.indexing_threshold else "its indexing stays off: have it set"
        remark = f"this API key may not change a collection ({reason}), so {stays}"
        if not self.remarks:
            self.remarks.append(str(self.error(remark)))

    def _ask(self, requests: Sequence[models.QueryRequest]) -> list[models.QueryResponse]:
        return self._do(self._client.query_batch_points, requests=list(requests))

    def _take_over(self) -> None:
        """Mark the collection as ours when it is empty, and have its payload indexes, which are a mark too."""
        if not self.is_ours:
            if self.count():
                raise self.error("it holds points that Rubrika did not write; choose another `collection`")
            try:
                self._do(self._client.update_collection, metadata=collection.METADATA)
            except ForbiddenError as error:
                if not self._connection.adopt:
                    cannot = (
                        f"it is empty and not marked as an index's, and this API key may not do so ({error.reason})"
                    )
                    raise self.error(f"{cannot}; give `adopt` if it was made for this index") from None
            self.is_ours = True
        # Before there are points they are made quicker than after; facets need them.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Payload indexes have no effect", UserWarning)
            for key, kind in collection.INDEXED.items():
                schema = models.PayloadSchemaType(kind)
                self._do(self._client.create_payload_index, field_name=key, field_schema=schema, wait=True)

    def _do(self, method: Callable[..., Result], **arguments: Any) -> Result:  # noqa: ANN401 - whatever it takes
        """Call a method of the client on this collection, again when it fails in passing."""
        return self._call(partial(method, self._connection.collection, **arguments))

    def _write(
        self, items: Sequence[Item], send: Callable[[Sequence[Item]], object], bytes_of: Sequence[int] | None = None
    ) -> None:
        """Send items in batches, some at a time; `send` must wait: a write not waited for may be dropped in silence."""
        self._check_ours()
        size = self._writes.most
        parts = [slice(start, start + size) for start in range(0, len(items), size)]
        pool = ThreadPoolExecutor(self._streams)

        def send_part(part: slice) -> None:
            for _ in self._writes.send(items[part], send, bytes_of and bytes_of[part]):
                pass

        try:
            list(pool.map(send_part, parts))
        finally:
            # After a failure the batches still waiting would fail too, one after another.
            pool.shutdown(cancel_futures=True)

    def _plain(self, point: Point) -> Any:  # noqa: ANN401 - of the client's unions of vectors
        for name, row in point.vectors.items():
            self._check_size(name, len(row), f"product {point.id}")
            if not np.isfinite(row).all():
                raise self.error(f"product {point.id} has a «{name}» vector with numbers that are not finite")
        return {name: row.tolist() for name, row in point.vectors.items()}

    def _check_size(self, vector: str, size: int, whose: str) -> None:
        if vector not in self.sizes:
            raise self.error(f"it has no «{vector}» vector; it has {', '.join(self.sizes) or 'none'}")
        if size != self.sizes[vector]:
            raise self.error(f"{whose} has {size} numbers in «{vector}», the collection {self.sizes[vector]}")


def delete_collection(connection: Connection) -> None:
    """Delete a collection with all its points: only one that Rubrika made, and one that does not exist is no error."""
    with suppress(NoCollectionError), closing(ServerStore(connection)) as store:
        store.drop()


def check_alias(connection: Connection, alias: str) -> None:
    """Refuse, before hours of work, an alias that is a collection, or names one that Rubrika did not make."""
    if alias == connection.collection:
        raise StoreError(f"{connection.server}: an alias cannot be called as its collection; choose another `alias`")
    with suppress(NoCollectionError), closing(ServerStore(replace(connection, collection=alias))) as store:
        if alias not in store.aliases():
            raise store.error("it is a collection, so it cannot be an alias; choose another `alias`")
        if not store.is_ours:
            raise store.error("it is an alias of a collection that Rubrika did not make; choose another `alias`")


def switch_alias(connection: Connection, alias: str) -> None:
    """Let `alias`, if `check_alias` allows it, name a collection of ours from one request to the next."""
    check_alias(connection, alias)
    with closing(ServerStore(connection)) as store:
        store.switch(alias)
