"""One suite for every store: Edge, the client's memory mode, the client over HTTP, and a real server at QDRANT_URL."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from points import SIZE, nearest, product, shelf, unit
from qdrant_client import QdrantClient
from qdrant_http import serve

from rubrika.errors import StoreError
from rubrika.store.base import Point, Store
from rubrika.store.connection import Connection, Recall, ServerOptions
from rubrika.store.edge import EdgeStore
from rubrika.store.server import ServerStore, delete_collection

SIZES = {"text": SIZE, "image": 4}


def edge(folder: Path) -> Iterator[Store]:
    store = EdgeStore.create(folder / "edge", SIZES)
    yield store
    store.close()


def memory(folder: Path) -> Iterator[Store]:
    client = QdrantClient(":memory:")
    yield ServerStore(Connection("http://127.0.0.1:6333", "товары"), SIZES, client=client, create=ServerOptions())
    client.close()


def over_http(folder: Path) -> Iterator[Store]:
    with serve() as server:
        store = ServerStore(Connection(server.url, "products"), SIZES, create=ServerOptions())
        yield store
        store.close()


def real(folder: Path) -> Iterator[Store]:
    url = os.environ.get("QDRANT_URL")
    if not url:
        pytest.skip("no server: QDRANT_URL is not set")
    name = f"rubrika-test-{uuid.uuid4().hex}"
    connection = Connection(url, name, os.environ.get("QDRANT_API_KEY"))
    # A collection that was there before is somebody's.
    with pytest.raises(StoreError, match="no collection"):
        ServerStore(connection)
    store = ServerStore(connection, SIZES, create=ServerOptions())
    try:
        yield store
    finally:
        store.close()
        delete_collection(connection)


@pytest.fixture(
    params=[edge, memory, over_http, pytest.param(real, marks=pytest.mark.server)], ids=lambda kind: kind.__name__
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    kind: Callable[[Path], Iterator[Store]] = request.param
    yield from kind(tmp_path)


def test_the_same_points_give_the_same_hits_as_an_exact_search(store: Store) -> None:
    points = shelf(600)
    store.upsert(points)
    store.optimise()
    queries = unit(150, seed=1)
    hits = store.search("text", queries, 7)
    ids, scores = nearest(points, queries, 7)
    assert np.array_equal(hits.ids, ids)
    assert np.abs(hits.scores - scores).max() < 1e-5
    assert np.array_equal(hits.categories, hits.ids % 5)


def test_equal_products_come_in_the_order_of_their_ids(store: Store) -> None:
    same = unit(1)[0]
    store.upsert([product(id, same) for id in (9, 2, 5)])
    assert store.search("text", same[None], 3).ids.tolist() == [[2, 5, 9]]


def test_of_equal_products_at_the_last_place_the_smallest_ids_are_found_whatever_was_written_first(
    store: Store,
) -> None:
    rows = unit(3)
    shelves = zip(([9, 99], range(20, 80), range(100, 130)), rows, strict=True)
    near, equal, far = ([product(id, row) for id in ids] for ids, row in shelves)
    points = [*near, *equal, *far]
    store.upsert([points[at] for at in np.random.default_rng(7).permutation(len(points))])
    # Nearest to the first, then to the second.
    query = (rows[0] + 0.5 * rows[1])[None]
    for _ in range(2):
        assert store.search("text", np.repeat(query, 2, axis=0), 6).ids.tolist() == [[9, 99, 20, 21, 22, 23]] * 2
        assert store.search("text", query, 62).ids.tolist() == [[9, 99, *range(20, 80)]]
        store.optimise()


def test_what_a_search_finds_is_measured_at_the_end_of_optimise(store: Store) -> None:
    store.upsert(shelf(250))
    assert store.recall == {}
    store.optimise()
    assert store.recall == {"text": Recall(hnsw_ef=None, oversampling=32.0, reached=1.0, products=200)}
    store.upsert(pictured(50))
    store.delete(range(51, 251))
    store.optimise()
    assert store.recall == dict.fromkeys(SIZES, Recall(reached=1.0, products=50))


def test_fewer_products_than_asked_for_leave_places_empty(store: Store) -> None:
    store.upsert(shelf(2))
    hits = store.search("text", unit(1), 4)
    assert np.isfinite(hits.scores).tolist() == [[True, True, False, False]]
    assert hits.categories[0, 2:].tolist() == [-1, -1]


def test_an_empty_store_finds_nothing(store: Store) -> None:
    assert not np.isfinite(store.search("text", unit(2), 3).scores).any()
    assert (store.count(), list(store.scroll()), store.fetch([1]), store.fetch([])) == (0, [], {}, {})


def test_no_queries_give_no_hits(store: Store) -> None:
    assert store.search("text", unit(0), 3).ids.shape == (0, 3)


def test_writing_a_product_again_replaces_all_of_it(store: Store) -> None:
    store.upsert([Point(1, {"text": unit(1)[0], "image": unit(1, size=4)[0]}, {"category_id": 3, "title": "чайник"})])
    store.upsert([Point(1, {"text": unit(1, seed=9)[0]}, {"category_id": 7})])
    point = store.fetch([1], vectors=True)[1]
    assert store.count() == 1
    assert point.payload == {"category_id": 7}
    assert list(point.vectors) == ["text"]


def pictured(count: int) -> list[Point]:
    """The shelf's products, each with a picture."""
    rows = unit(count, seed=4, size=4)
    return [Point(point.id, {**point.vectors, "image": rows[i]}, point.payload) for i, point in enumerate(shelf(count))]


def same_vectors(point: Point, expected: Point) -> bool:
    return point.vectors.keys() == expected.vectors.keys() and all(
        np.abs(row - expected.vectors[name]).max() < 1e-6 for name, row in point.vectors.items()
    )


def test_deleted_products_are_found_no_more_and_unknown_ids_are_no_error(store: Store) -> None:
    points = shelf(400)
    store.upsert(points)
    store.delete([*range(1, 301), 10**6])
    store.delete([])
    assert store.count() == 100
    assert store.fetch([300, 301]).keys() == {301}
    queries = unit(20, seed=1)
    assert np.array_equal(store.search("text", queries, 5).ids, nearest(points[300:], queries, 5)[0])


def test_another_payload_replaces_the_whole_one_and_leaves_the_vectors(store: Store) -> None:
    points = pictured(400)
    store.upsert(points)
    store.optimise()
    store.replace_payloads({id: {"category_id": 99, "title": f"ваза {id}"} for id in range(2, 301)})
    store.replace_payloads({})
    found = store.fetch([1, 2, 300, 301], vectors=True)
    assert found[1].payload == points[0].payload
    assert found[2].payload == {"category_id": 99, "title": "ваза 2"}
    assert found[300].payload["title"] == "ваза 300"
    assert all(same_vectors(point, points[id - 1]) for id, point in found.items())
    assert (store.count(), store.facet("category_id")[99]) == (400, 299)
    assert store.search("text", points[1].vectors["text"][None], 1).categories.tolist() == [[99]]


def test_a_product_that_is_not_there_is_not_changed(store: Store) -> None:
    store.upsert(shelf(2))
    with pytest.raises(StoreError):
        store.replace_payloads({9: {"category_id": 1}})
    assert store.count() == 2


def test_a_product_without_a_picture_is_found_by_its_text_only(store: Store) -> None:
    row, picture = unit(1)[0], unit(1, size=4)[0]
    store.upsert([Point(1, {"text": row}, {"category_id": 1})])
    store.upsert([Point(2, {"text": row, "image": picture}, {"category_id": 2})])
    assert store.search("image", picture[None], 2).categories.tolist() == [[2, -1]]
    assert store.search("text", row[None], 2).categories.tolist() == [[1, 2]]


def test_products_are_fetched_whole_and_unknown_ids_left_out(store: Store) -> None:
    points = shelf(3)
    store.upsert(points)
    found = store.fetch([2, 999], vectors=True)
    assert list(found) == [2]
    assert found[2].payload == points[1].payload
    assert np.abs(found[2].vectors["text"] - points[1].vectors["text"]).max() < 1e-6
    assert store.fetch([2], payload=False)[2] == Point(2)


def test_scrolling_meets_every_product_once_in_the_order_of_ids(store: Store) -> None:
    store.upsert(shelf(2_100)[::-1])
    batches = list(store.scroll(["title"]))
    assert [point.id for batch in batches for point in batch] == list(range(1, 2_101))
    assert batches[0][0].payload == {"title": "чайник стеклянный 1"}


def test_scrolling_brings_vectors_along(store: Store) -> None:
    points = shelf(20)
    store.upsert(points)
    found = [point for batch in store.scroll(payload=False, vectors=True) for point in batch]
    assert np.abs(np.array([p.vectors["text"] for p in found]) - unit(20)).max() < 1e-6
    assert found[0].payload == {}


def test_products_of_a_category_come_by_id(store: Store) -> None:
    store.upsert(shelf(12))
    wanted = [point.id for page in store.scroll() for point in page if point.category_id == 2]
    assert [point.id for point in store.in_category(2, 10)] == wanted
    assert [point.payload["category_id"] for point in store.in_category(2, 2)] == [2, 2]
    assert store.in_category(99, 10) == []


def test_categories_are_counted_most_frequent_first(store: Store) -> None:
    store.upsert(shelf(7))
    assert list(store.facet("category_id").items()) == [(1, 2), (2, 2), (0, 1), (3, 1), (4, 1)]


def test_the_largest_id_fits(store: Store) -> None:
    store.upsert([product(1, unit(1)[0]), Point(2**64 - 1, {"text": unit(1)[0]}, {"category_id": 1})])
    assert store.search("text", unit(1), 2).ids.tolist() == [[1, 2**64 - 1]]
    assert list(store.fetch([2**64 - 1])) == [2**64 - 1]
    assert [point.id for batch in store.scroll() for point in batch] == [1, 2**64 - 1]


def test_a_vector_of_the_wrong_size_is_refused_and_nothing_written(store: Store) -> None:
    with pytest.raises(StoreError):
        store.upsert([*shelf(2), Point(3, {"text": np.ones(3, np.float32)}, {"category_id": 1})])
    assert 3 not in store.fetch([3])


def test_a_query_of_the_wrong_size_is_refused(store: Store) -> None:
    store.upsert(shelf(2))
    with pytest.raises(StoreError):
        store.search("text", np.ones((1, 3), np.float32), 1)


def test_an_unknown_vector_is_refused(store: Store) -> None:
    store.upsert(shelf(2))
    with pytest.raises(StoreError):
        store.search("joint", unit(1), 1)
