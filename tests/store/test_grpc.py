"""Over gRPC, which bulk loading uses where a server offers it, a store works and fails as over HTTP."""

from collections.abc import Iterator
from dataclasses import replace

import grpc
import numpy as np
import pytest
from points import SIZE, nearest, shelf, unit
from qdrant_grpc import QdrantOverGrpc, serve_grpc
from qdrant_http import serve

from rubrika.errors import StoreError
from rubrika.store.connection import Connection, Recall, ServerOptions
from rubrika.store.faults import RetryPolicy
from rubrika.store.open import stands_for
from rubrika.store.server import ServerStore, delete_collection, switch_alias

KEY = "tiN8-secret-oL3vq"
SIZES = {"text": SIZE}
BRIEF = RetryPolicy(tries=5, first_wait=0.01)


@pytest.fixture
def served() -> Iterator[tuple[QdrantOverGrpc, Connection]]:
    with serve_grpc(KEY) as (server, port):
        # Nothing answers over HTTP: what works here went over gRPC.
        yield server, Connection("http://127.0.0.1:1", "products", KEY, timeout=5, grpc_port=port)


def links(server: QdrantOverGrpc) -> dict[str, int]:
    return {name: layout["hnsw_config"]["m"] for name, layout in server.layouts.items()}


def test_products_are_written_found_and_fetched(served: tuple[QdrantOverGrpc, Connection]) -> None:
    store = ServerStore(served[1], SIZES, create=ServerOptions())
    points = shelf(300)
    store.upsert(points)
    assert store.count() == 300
    store.optimise()
    assert store.recall == {"text": Recall(reached=1.0, products=200)}
    queries = unit(20, seed=1)
    hits = store.search("text", queries, 5)
    ids, scores = nearest(points, queries, 5)
    assert np.array_equal(hits.ids, ids)
    assert np.abs(hits.scores - scores).max() < 1e-5
    assert store.fetch([7], vectors=True)[7].payload == points[6].payload
    store.close()


def test_products_are_changed_and_deleted(served: tuple[QdrantOverGrpc, Connection]) -> None:
    store = ServerStore(served[1], SIZES, create=ServerOptions())
    points = shelf(300)
    store.upsert(points)
    store.replace_payloads({id: {"category_id": 7, "title": f"ваза {id}"} for id in range(1, 201)})
    store.delete(range(4, 201))
    found = store.fetch([1, 300], vectors=True)
    assert store.count() == 103
    assert found[1].payload == {"category_id": 7, "title": "ваза 1"}
    assert np.abs(found[1].vectors["text"] - points[0].vectors["text"]).max() < 1e-6
    assert found[300].payload == points[299].payload
    store.close()


def test_a_server_that_is_away_for_a_moment_is_tried_again(served: tuple[QdrantOverGrpc, Connection]) -> None:
    server, connection = served
    store = ServerStore(connection, SIZES, policy=BRIEF, create=ServerOptions())
    server.failing = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL]
    store.upsert(shelf(300))
    assert (store.count(), server.failing) == (300, [])
    store.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (grpc.StatusCode.UNAVAILABLE, "no server answers (said the server)"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "no answer within 5 seconds"),
        (grpc.StatusCode.PERMISSION_DENIED, "this API key may not do that (said the server)"),
        (grpc.StatusCode.INVALID_ARGUMENT, "the server refused (said the server)"),
    ],
)
def test_what_goes_wrong_is_said(served: tuple[QdrantOverGrpc, Connection], code: grpc.StatusCode, said: str) -> None:
    server, connection = served
    store = ServerStore(connection, SIZES, policy=BRIEF, create=ServerOptions())
    server.failing = [code] * 9
    with pytest.raises(StoreError) as failure:
        store.count()
    assert said in str(failure.value)
    assert KEY not in str(failure.value)
    store.close()


def test_a_wrong_key_and_a_missing_collection_are_said(served: tuple[QdrantOverGrpc, Connection]) -> None:
    server, connection = served
    with pytest.raises(StoreError, match="no collection «products» here"):
        ServerStore(connection)
    server.api_key = "another"
    with pytest.raises(StoreError, match="refuses this API key"):
        ServerStore(connection)


def test_where_grpc_does_not_answer_http_is_used() -> None:
    with serve() as server:
        # This port answers, but speaks HTTP.
        connection = Connection(server.url, "products", timeout=2, grpc_port=server.http.server_address[1])
        store = ServerStore(connection, SIZES, create=ServerOptions())
        store.upsert(shelf(3))
        assert store.count() == 3
        store.close()


def test_a_graph_is_made_beyond_a_size(served: tuple[QdrantOverGrpc, Connection]) -> None:
    server, connection = served
    store = ServerStore(connection, SIZES, create=ServerOptions(graph_from=30))
    store.upsert(shelf(20))
    store.optimise()
    assert (links(server), store.recall["text"].hnsw_ef) == (
        {"products": 0},
        None,
    )
    store.upsert(shelf(40))
    store.optimise()
    assert (links(server), store.recall["text"].hnsw_ef) == (
        {"products": 16},
        1_024,
    )
    store.close()


def test_a_name_is_switched_from_one_collection_to_the_next(served: tuple[QdrantOverGrpc, Connection]) -> None:
    _, connection = served
    for number, count in ((1, 2), (2, 5)):
        numbered = replace(connection, collection=f"products-{number}")
        ServerStore(numbered, SIZES, create=ServerOptions()).upsert(shelf(count))
        switch_alias(numbered, "products")
        assert stands_for(connection) == f"products-{number}"
        assert ServerStore(connection).count() == count
    delete_collection(replace(connection, collection="products-2"))
    assert stands_for(connection) is None
