"""An alias: a name that readers use, switched from one collection to another between two requests."""

from dataclasses import replace

from rubrika.errors import StoreError
from rubrika.store.collection import Collection
from rubrika.store.connection import Connection
from rubrika.store.faults import NoCollectionError


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
