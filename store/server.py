"""The store on a Qdrant server: a collection made, opened, written, searched, deleted, and named by an alias."""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from threading import BoundedSemaphore
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
    nothing,
    pages_of,
    point_of,
    ranked,
)
from rubrika.store.batches import FRAME, Batches, payload_bytes, vectors_bytes
from rubrika.store.card import card_of, keys_in_store
from rubrika.store.client import connect, is_grpc
from rubrika.store.connection import GRAPH_EFFORT, Connection, Recall, SearchOptions, ServerOptions
from rubrika.store.faults import ForbiddenError, NoCollectionError, RefusedError, RetryingClient, RetryPolicy
from rubrika.store.recall import measure
from rubrika.store.streams import ahead, in_order

Item = TypeVar("Item")
Result = TypeVar("Result")

WRITE_BATCH, QUERY_BATCH, STREAMS = 128, 128, 4
# A page of vectors is some megabytes of JSON; payloads alone are light, ids more so.
IDS_PAGE, PAGE, VECTORS_PAGE = 8_192, 2_048, 512
FACET_LIMIT = 1_000_000
_RED = "its points are kept: see to that, then run the same command again"
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
        self.streams, self._is_grpc = 1 if self._local else STREAMS, is_grpc(self._client)
        # Calls at once may each have several requests; together they have no more under way than this.
        self._slots = BoundedSemaphore(STREAMS)
        self._search, self.recall = search or (create.search if create else SearchOptions()), dict(recall or {})
        self.exact, self.wrote, self.on_write = False, False, nothing
        self.kept, self.remarks = list[str](), list[str]()
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
            self._first = self._begin(info)
            # What a server states is kept from the first request on; what it does not state is found out.
            self._queries = Batches(min(QUERY_BATCH, limits.search_max_batchsize or QUERY_BATCH))
            self._writes = Batches(min(WRITE_BATCH, limits.upsert_max_batchsize or WRITE_BATCH))
            self._fetches, self._page = Batches(PAGE), limits.max_query_limit or IDS_PAGE
            if create is not None:
                if collection.forbids_scans(info):
                    self._refuse_scan(is_new)
                self._take_over(create)
                if not is_new:
                    self.arrange(create)
        except BaseException:
            self.close()
            raise

    def upsert(self, points: Sequence[Point]) -> None:  # noqa: D102 - as in Store
        cards = [card_of(point.payload) for point in points]
        structs = [
            models.PointStruct(id=it.id, vector=self._plain(it), payload=card)
            for it, card in zip(points, cards, strict=True)
        ]
        sizes = [
            payload_bytes(card) + vectors_bytes(it.vectors, self._is_grpc)
            for it, card in zip(points, cards, strict=True)
        ]
        self._write(structs, lambda batch: self._do(self._client.upsert, points=batch, wait=True), sizes)

    def delete(self, ids: Sequence[int]) -> None:  # noqa: D102
        self._write(ids, lambda batch: self._do(self._client.delete, points_selector=list(batch), wait=True))

    def replace_payloads(self, payloads: Mapping[int, Payload]) -> None:  # noqa: D102
        cards = {id: card_of(payload) for id, payload in payloads.items()}
        new = (models.SetPayload(payload=card, points=[id]) for id, card in cards.items())
        operations = [models.OverwritePayloadOperation(overwrite_payload=each) for each in new]
        update, sizes = self._client.batch_update_points, [payload_bytes(card) for card in cards.values()]
        self._write(operations, lambda batch: self._do(update, update_operations=batch, wait=True), sizes)

    def search(self, vector: str, queries: FloatArray, top_k: int, exact: bool = False) -> Hits:  # noqa: D102
        self._check_size(vector, queries.shape[1], "a query")
        exact = exact or self.exact
        if exact and self._limits.search_allow_exact is False:
            raise self.error("the server allows no exact search there; leave `exact` out")
        how = collection.within(self._limits, self.recall.get(vector, self._first))
        params, keys = None if self._local else collection.search_params(how, exact), ["category_id"]
        query = partial(models.QueryRequest, using=vector, with_payload=keys, params=params)
        size = vectors_bytes({vector: queries[0]}, self._is_grpc) + FRAME if len(queries) else 0

        def ask(rows: list[list[float]], limit: int) -> list[list[Hit]]:
            requests = [query(query=row, limit=limit) for row in rows]
            answers = self._queries.send(requests, self._ask, [size] * len(rows))
            return [[hit_of(hit) for hit in answer.points] for batch in answers for answer in batch]

        most = min(self._limits.max_query_limit or MAX_TIED, MAX_TIED)
        return nearest(ask, queries, top_k, QUERY_BATCH, most, self.streams)

    def fetch(self, ids: Sequence[int], payload: bool = True, vectors: bool = False) -> dict[int, Point]:  # noqa: D102
        return self._points(ids, payload, vectors) if ids else {}

    def scroll(self, payload: Sequence[str] | bool = True, vectors: bool = False) -> Iterator[list[Point]]:
        """As in Store: pages of ids, and their points in several streams; what is written meanwhile may be missing."""
        limit = min(IDS_PAGE, self._page)
        page = partial(self._client.scroll, limit=limit, with_payload=False, with_vectors=False)
        ids = ahead(pages_of(lambda offset: self._do(page, offset=offset)), self.streams)
        if payload is False and not vectors:
            return ids
        keys = payload if isinstance(payload, bool) else keys_in_store(payload)
        size = VECTORS_PAGE if vectors else PAGE
        parts = ([it.id for it in each[at : at + size]] for each in ids for at in range(0, len(each), size))
        read = in_order(lambda part: self._points(part, keys, vectors), parts, self.streams)
        return ([points[id] for id in sorted(points)] for points in read if points)

    def in_category(self, category: int, limit: int) -> list[Point]:  # noqa: D102
        wanted = models.FieldCondition(key="category_id", match=models.MatchValue(value=category))
        scroll = partial(self._client.scroll, scroll_filter=models.Filter(must=[wanted]))
        found = self._do(scroll, limit=min(limit, self._page), with_payload=True, with_vectors=False)
        return [point_of(record) for record in found[0]]

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
        return ranked(counts)

    def optimise(self) -> None:
        """Let the server quantise and index what was loaded, and wait half an hour; it may go on by itself after that.

        Until it is done, searching is right but slower. Whether there is a graph goes by the number of points.
        """
        info = self._do(self._client.get_collection)
        links = collection.links_for(info, self.count())
        changed = models.HnswConfigDiff(m=links) if links != info.config.hnsw_config.m else None
        # An earlier version indexed fewer keys.
        schema = info.payload_schema
        self._index_keys({key: kind for key, kind in collection.INDEXED.items() if schema and key not in schema})
        threshold = models.OptimizersConfigDiff(indexing_threshold=collection.INDEXING_THRESHOLD)
        try:
            self._do(self._client.update_collection, optimizers_config=threshold, hnsw_config=changed)
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
                raise self.error(f"the server failed to optimise it ({reason}); {_RED}")
        self.measure()

    def measure(self) -> None:
        """Measure anew how each vector is searched best, where exact search is allowed."""
        self._first = self._begin(self._do(self._client.get_collection))
        if self._limits.search_allow_exact is False:
            self.recall = dict.fromkeys(self.sizes, self._first)
            return
        measure(self, self._first)

    def layout(self) -> ServerOptions:
        """How it is laid out."""
        return collection.options_of(self._do(self._client.get_collection))

    def arrange(self, options: ServerOptions) -> None:
        """Have the next `optimise` make the graph that is asked for; what a collection keeps as it is is in `kept`."""
        info = self._do(self._client.get_collection)
        self.kept = collection.kept(info, options)
        if (options.hnsw_m, options.ef_construct, options.graph_from) == (None, None, None):
            return
        self._check_ours()
        graph, built = models.HnswConfigDiff(ef_construct=options.ef_construct), collection.graph_of(info)
        if options.hnsw_m is not None or options.graph_from is not None:
            built = options.graph
        update = partial(self._client.update_collection, metadata=collection.metadata(built))
        self._do(update, hnsw_config=graph if options.ef_construct else None)

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

    def aliases(self) -> dict[str, str]:
        """The aliases of all collections on its server, and what each stands for."""
        return {alias.alias_name: alias.collection_name for alias in self._call(self._client.get_aliases).aliases}

    def note(self, key: str, text: str) -> None:
        """Keep a text in the collection's metadata."""
        self._check_ours()
        self._do(self._client.update_collection, metadata={key: text})

    def noted(self, key: str) -> str | None:
        """A text that was kept there; None: none was."""
        found = (self._do(self._client.get_collection).config.metadata or {}).get(key)
        return found if isinstance(found, str) else None

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

    def _begin(self, info: models.CollectionInfo) -> Recall:
        """How it is searched until that is measured, and where measuring begins."""
        effort = (self._search.hnsw_ef or GRAPH_EFFORT) if info.config.hnsw_config.m and not self._local else None
        return collection.within(self._limits, Recall(effort, self._search.oversampling))

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

    def _take_over(self, options: ServerOptions) -> None:
        """Mark the collection as ours when it is empty, and have its payload indexes, which are a mark too."""
        if not self.is_ours:
            if self.count():
                raise self.error("it holds points that Rubrika did not write; choose another `collection`")
            try:
                self._do(self._client.update_collection, metadata=collection.metadata(options.graph))
            except ForbiddenError as error:
                if not self._connection.adopt:
                    unmarked = (
                        f"it is empty and not marked as an index's, and this API key may not do so ({error.reason})"
                    )
                    raise self.error(f"{unmarked}; give `adopt` if it was made for this index") from None
            self.is_ours = True
        # Before there are points they are made quicker than after; facets need them.
        self._index_keys(collection.INDEXED)

    def _index_keys(self, kinds: Mapping[str, str]) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Payload indexes have no effect", UserWarning)
            for key, kind in kinds.items():
                schema = models.PayloadSchemaType(kind)
                self._do(self._client.create_payload_index, field_name=key, field_schema=schema, wait=True)

    def _points(self, ids: Sequence[int], keys: Sequence[str] | bool, vectors: bool) -> dict[int, Point]:
        some_keys = keys if isinstance(keys, bool) else list(keys)
        read = partial(self._client.retrieve, with_payload=some_keys, with_vectors=vectors)
        pages = self._fetches.send(ids, lambda some: self._do(read, ids=list(some)))
        return {point.id: point for page in pages for point in map(point_of, page)}

    def _do(self, method: Callable[..., Result], **arguments: Any) -> Result:  # noqa: ANN401 - whatever it takes
        """Call a method of the client on this collection, again when it fails in passing."""
        with self._slots:
            return self._call(partial(method, self._connection.collection, **arguments))

    def _write(
        self, items: Sequence[Item], send: Callable[[Sequence[Item]], object], bytes_of: Sequence[int] | None = None
    ) -> None:
        """Send items in batches, some at a time; `send` must wait: a write not waited for may be dropped in silence."""
        self._check_ours()
        self.on_write()
        size = self._writes.most
        parts = [slice(start, start + size) for start in range(0, len(items), size)]

        def sent(batch: Sequence[Item]) -> None:
            try:
                send(batch)
                self.wrote = True
            except RefusedError:
                raise
            except StoreError:
                # It may have been written, the answer being lost.
                self.wrote = True
                raise

        def send_part(part: slice) -> None:
            for _ in self._writes.send(items[part], sent, bytes_of and bytes_of[part]):
                pass

        for _ in in_order(send_part, parts, min(self.streams, len(parts))):
            pass

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
