"""A collection on a Qdrant server: its schema, how it is made, and its alias."""

import math
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import grpc  # type: ignore[import-untyped]
from qdrant_client import QdrantClient, models

from rubrika.errors import StoreError
from rubrika.store.base import INDEXED
from rubrika.store.connection import Connection, SearchOptions, ServerOptions
from rubrika.store.faults import NoCollectionError, RetryingClient, RetryPolicy

# Long enough for a far server to accept; where nothing listens, most say so at once.
PROBE_SECONDS = 1.0


def connect(connection: Connection) -> QdrantClient:
    """Make a client for a server; nothing is asked of it yet but whether gRPC answers."""
    if connection.grpc_address is not None and _listens(connection.grpc_address):
        client = _client(connection, connection.grpc_address[1])
        try:
            client.info()
        except (grpc.RpcError, RuntimeError):
            client.close()
        else:
            return client
    return _client(connection, None)


def is_local(client: QdrantClient) -> bool:
    """Whether this is the client's own memory or folder mode rather than a server."""
    return client.init_options.get("location") == ":memory:" or client.init_options.get("path") is not None


def _client(connection: Connection, grpc_port: int | None) -> QdrantClient:
    with warnings.catch_warnings():
        # A key over plain HTTP: Connection allows it to this machine only.
        warnings.filterwarnings("ignore", "Api key is used with an insecure connection", UserWarning)
        return QdrantClient(
            url=connection.url,
            api_key=connection.api_key,
            timeout=math.ceil(connection.timeout),
            prefer_grpc=grpc_port is not None,
            grpc_port=grpc_port or 0,
            grpc_options={"grpc.enable_http_proxy": 0} if connection.is_loopback else {},
            # Asks in a thread of its own, and warns where nobody reads it.
            check_compatibility=False,
            trust_env=not connection.is_loopback,
        )


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    return True


# Written into a collection's metadata, so that Rubrika never writes into one that it did not make.
MARK = "rubrika"
METADATA: dict[str, Any] = {MARK: {"layout": 1}}

# A segment past so many kilobytes of vectors is quantised, and given its graph; the server's own default.
INDEXING_THRESHOLD = 10_000
# While loading, nothing is built that the next points would make obsolete.
NO_INDEXING = 0


def layout(sizes: Mapping[str, int], options: ServerOptions) -> dict[str, Any]:
    """The arguments of `create_collection` for named vectors of these sizes.

    `on_disk` and `always_ram` are the names that servers before 1.19 know too.
    """
    return {
        "vectors_config": {
            # Vectors have unit length: their dot product is their cosine, without another division.
            name: models.VectorParams(size=size, distance=models.Distance.DOT, on_disk=options.on_disk)
            for name, size in sizes.items()
        },
        "hnsw_config": models.HnswConfigDiff(m=options.graph_links, ef_construct=options.graph_effort),
        "quantization_config": _quantisation(options),
        "optimizers_config": models.OptimizersConfigDiff(indexing_threshold=NO_INDEXING),
        "shard_number": options.shards,
        "replication_factor": options.replicas,
        "write_consistency_factor": options.write_consistency,
        "metadata": METADATA,
    }


def search_params(options: SearchOptions) -> models.SearchParams:
    """How a query looks: rescored by the full vectors, where there are others."""
    rescored = models.QuantizationSearchParams(rescore=True, oversampling=options.oversampling)
    return models.SearchParams(hnsw_ef=options.search_effort, quantization=rescored)


def sizes_of(info: models.CollectionInfo) -> dict[str, int]:
    """The sizes of a collection's named vectors; a vector without a name is called «»."""
    return {name: params.size for name, params in _vectors(info).items()}


def difference(info: models.CollectionInfo, sizes: Mapping[str, int]) -> str | None:
    """Say how a collection differs from what an index needs, or None."""
    vectors = _vectors(info)
    found = {name: f"{params.size} × {params.distance.value}" for name, params in vectors.items()}
    wanted = {name: f"{size} × {models.Distance.DOT.value}" for name, size in sizes.items()}
    return None if found == wanted else f"it holds {_listed(found)}, the index {_listed(wanted)}"


def is_ours(info: models.CollectionInfo) -> bool:
    """Whether Rubrika made a collection: by its mark, or, from a server that keeps none, by its payload indexes."""
    if MARK in (info.config.metadata or {}):
        return True
    kinds = {key: index.data_type.value for key, index in info.payload_schema.items()}
    return kinds.items() >= INDEXED.items()


def _vectors(info: models.CollectionInfo) -> dict[str, models.VectorParams]:
    vectors = info.config.params.vectors
    return {"": vectors} if isinstance(vectors, models.VectorParams) else dict(vectors or {})


def _listed(vectors: Mapping[str, str]) -> str:
    return ", ".join(f"«{name}» ({shape})" for name, shape in sorted(vectors.items())) or "no vectors"


def _quantisation(options: ServerOptions) -> models.ScalarQuantization | models.TurboQuantization | None:
    match options.quantisation:
        case "int8":
            return models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
            )
        case "turbo":
            return models.TurboQuantization(
                turbo=models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4, always_ram=True)
            )
        case "none":
            return None


Result = TypeVar("Result")


class Collection:
    """A collection that every request goes to through `do`; made by `create` or `open`.

    Attributes:
        client: what makes the requests.
        sizes: the width of each named vector.
        is_ours: whether Rubrika made it; any other is only read.
    """

    def __init__(self, connection: Connection, client: QdrantClient | None) -> None:
        self._connection = connection
        self._lent = client is not None
        self.client = client or connect(connection)
        # Until it is open, one try: whoever mistyped the url should not wait.
        self._call = RetryingClient(connection, RetryPolicy(tries=1))
        self.sizes: dict[str, int] = {}
        self.is_ours = False

    @classmethod
    def create(
        cls,
        connection: Connection,
        sizes: Mapping[str, int],
        options: ServerOptions,
        client: QdrantClient | None = None,
        policy: RetryPolicy | None = None,
    ) -> "Collection":
        """Make a collection, or take up the one made before; arguments and errors as of `ServerStore.create`."""
        with cls(connection, client)._opening(policy) as collection:
            try:
                info = collection.info()
            except NoCollectionError:
                collection.do(collection.client.create_collection, **layout(sizes, options))
                info = collection.info()
            collection._take(info, sizes)
            collection._own()
            collection._make_payload_indexes()
        return collection

    @classmethod
    def open(
        cls,
        connection: Connection,
        sizes: Mapping[str, int] | None = None,
        client: QdrantClient | None = None,
        policy: RetryPolicy | None = None,
    ) -> "Collection":
        """Open an existing collection; arguments and errors as of `ServerStore.open`."""
        with cls(connection, client)._opening(policy) as collection:
            collection._take(collection.info(), sizes)
        return collection

    def do(self, method: Callable[..., Result], **arguments: Any) -> Result:  # noqa: ANN401 - whatever it takes
        """Call a method of the client on this collection, again when it fails in passing.

        Raises:
            StoreError: it failed for good.
        """
        return self._call(partial(method, self._connection.collection, **arguments))

    def info(self) -> models.CollectionInfo:
        """What the server says of it."""
        return self.do(self.client.get_collection)

    def count(self) -> int:
        """How many points it holds."""
        return self.do(self.client.count, exact=True).count

    def aliases(self) -> set[str]:
        """The aliases of all collections on its server."""
        return {alias.alias_name for alias in self._call(self.client.get_aliases).aliases}

    def check_ours(self) -> None:
        """Refuse to change what Rubrika did not make."""
        if not self.is_ours:
            raise self.error("it was not made by Rubrika, so nothing is written to it; choose another --collection")

    def switch(self, alias: str) -> None:
        """Let `alias` name this collection from one request to the next."""
        named = models.CreateAlias(collection_name=self._connection.collection, alias_name=alias)
        forget = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
        both: list[models.AliasOperations] = [forget, models.CreateAliasOperation(create_alias=named)]
        self._call(lambda: self.client.update_collection_aliases(both))

    def error(self, what: str) -> StoreError:
        """A failure of this collection, said in one sentence."""
        return StoreError(f"collection «{self._connection.collection}» on {self._connection.server}: {what}")

    def close(self) -> None:
        """Give up the connection; a client that was lent is its owner's to close."""
        if not self._lent:
            self.client.close()

    @contextmanager
    def _opening(self, policy: RetryPolicy | None) -> Iterator["Collection"]:
        try:
            yield self
        except BaseException:
            self.close()
            raise
        self._call = RetryingClient(self._connection, policy or RetryPolicy())

    def _take(self, info: models.CollectionInfo, sizes: Mapping[str, int] | None) -> None:
        differs = difference(info, sizes) if sizes is not None else None
        if differs:
            raise self.error(f"its vectors are not the index's: {differs}; choose another --collection")
        self.sizes, self.is_ours = sizes_of(info), is_ours(info)

    def _own(self) -> None:
        if self.is_ours:
            return
        if self.count():
            raise self.error("it holds points that Rubrika did not write; choose another --collection")
        self.do(self.client.update_collection, metadata=METADATA)
        self.is_ours = True

    def _make_payload_indexes(self) -> None:
        """Index the payload before there are points, which is quicker than after, and needed for facets."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Payload indexes have no effect", UserWarning)
            for key, kind in INDEXED.items():
                schema = models.PayloadSchemaType(kind)
                self.do(self.client.create_payload_index, field_name=key, field_schema=schema, wait=True)


def delete_collection(connection: Connection) -> None:
    """Delete a collection with all its points; one that does not exist is no error.

    Raises:
        StoreError: the server cannot be reached, or Rubrika did not make the collection.
    """
    try:
        collection = Collection.open(connection)
    except NoCollectionError:
        return
    try:
        collection.check_ours()
        collection.do(collection.client.delete_collection)
    finally:
        collection.close()


def check_alias(connection: Connection, alias: str) -> None:
    """Say, before hours of work, whether `alias` can name the collection of `connection`.

    Raises:
        StoreError: it names a collection, or is an alias of one that Rubrika did not make.
    """
    if alias == connection.collection:
        raise StoreError(f"{connection.server}: an alias cannot be called as its collection; choose another --alias")
    try:
        collection = Collection.open(replace(connection, collection=alias))
    except NoCollectionError:
        return
    try:
        if alias not in collection.aliases():
            raise collection.error("it is a collection, so it cannot be an alias; choose another --alias")
        if not collection.is_ours:
            raise collection.error("it is an alias of a collection that Rubrika did not make; choose another --alias")
    finally:
        collection.close()


def switch_alias(connection: Connection, alias: str) -> None:
    """Let `alias` name the collection of `connection` from one request to the next.

    Raises:
        StoreError: the collection does not exist or is not ours, or `check_alias` refuses the alias.
    """
    check_alias(connection, alias)
    collection = Collection.open(connection)
    try:
        collection.check_ours()
        collection.switch(alias)
    finally:
        collection.close()
