"""A collection on a Qdrant server: made, taken up when it is ours, given an alias, removed; and asked through `do`."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from qdrant_client import QdrantClient, models

from rubrika.errors import StoreError
from rubrika.store.client import connect
from rubrika.store.connection import Connection, ServerOptions
from rubrika.store.faults import Caller, NoCollectionError, Patience
from rubrika.store.schema import METADATA, difference, is_ours, layout, sizes_of
from rubrika.store.store import INDEXED

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
        self._call = Caller(connection, Patience(tries=1))
        self.sizes: dict[str, int] = {}
        self.is_ours = False

    @classmethod
    def create(
        cls,
        connection: Connection,
        sizes: Mapping[str, int],
        options: ServerOptions,
        client: QdrantClient | None = None,
        patience: Patience | None = None,
    ) -> "Collection":
        """Make a collection, or take up the one made before; arguments and errors as of `ServerStore.create`."""
        with cls(connection, client)._opening(patience) as collection:
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
        patience: Patience | None = None,
    ) -> "Collection":
        """Open an existing collection; arguments and errors as of `ServerStore.open`."""
        with cls(connection, client)._opening(patience) as collection:
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
    def _opening(self, patience: Patience | None) -> Iterator["Collection"]:
        try:
            yield self
        except BaseException:
            self.close()
            raise
        self._call = Caller(self._connection, patience or Patience())

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
