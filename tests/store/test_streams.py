"""Several requests at once: the answers are those of one after another, in their order, and not more are under way."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_client import EdgeClient
from points import SIZE, shelf, unit
from qdrant_grpc import serve_grpc
from qdrant_http import serve

from rubrika.store.connection import Connection, ServerOptions
from rubrika.store.edge import EdgeStore
from rubrika.store.server import STREAMS, ServerStore
from rubrika.store.streams import ahead, in_order

SIZES = {"text": SIZE}


def test_results_come_in_the_order_of_the_items_however_long_each_takes() -> None:
    def slow(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    for streams in (1, 4):
        assert list(in_order(slow, range(12), streams)) == [item * item for item in range(12)]
        assert list(ahead(iter(range(12)), streams)) == list(range(12))


def test_no_more_items_are_taken_than_are_under_way() -> None:
    taken = list[int]()

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = in_order(lambda item: item, items(), 3)
    assert [next(results), next(results)] == [0, 1]
    assert len(taken) <= 2 + 3


def test_a_failure_is_raised_and_what_waits_is_not_begun() -> None:
    begun = list[int]()

    def work(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise ValueError("broken")
        return item

    with pytest.raises(ValueError, match="broken"):
        list(in_order(work, range(100), 4))
    assert len(begun) < 10
    with pytest.raises(ZeroDivisionError):
        list(ahead((1 // item for item in (1, 0, 1)), 2))


class Watched(ServerStore):
    """Counts how many requests are under way."""

    under_way = most = 0
    guard = threading.Lock()

    def _do(self, method: object, **arguments: object) -> object:
        return super()._do(self._counted(method), **arguments)

    def _counted(self, method: object) -> object:
        def call(*given: object, **named: object) -> object:
            with self.guard:
                self.under_way += 1
                self.most = max(self.most, self.under_way)
            try:
                return method(*given, **named)
            finally:
                with self.guard:
                    self.under_way -= 1

        return call


@pytest.fixture(params=["http", "grpc"])
def far(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A server whose answers take ten milliseconds."""
    client = EdgeClient()
    with serve(client=client) as http:
        if request.param == "http":
            http.seconds = 0.01
            yield Connection(http.url, "shelf")
        else:
            with serve_grpc(client=client) as (grpc, port):
                grpc.seconds = 0.01
                yield Connection(http.url, "shelf", grpc_port=port)


def test_a_far_server_is_asked_several_things_at_once_and_answers_as_a_folder(far: Connection, tmp_path: Path) -> None:
    points, queries = shelf(1_500), unit(600, seed=1)
    edge = EdgeStore.create(tmp_path / "edge", SIZES)
    edge.upsert(points)
    store = Watched(far, SIZES, create=ServerOptions())
    store.upsert(points)
    assert store.most == STREAMS
    store.most = 0
    found, expected = (each.search("text", queries, 10) for each in (store, edge))
    for name in ("ids", "scores", "categories"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes()
    assert store.most == STREAMS
    read = [point for page in store.scroll(vectors=True) for point in page]
    assert [point.id for point in read] == [point.id for point in points]
    assert [point.payload for point in read] == [point.payload for point in points]
    assert [page[0].payload for page in store.scroll(["title"])] == [{"title": points[0].payload["title"]}]
    store.close()
    edge.close()


def test_pages_of_ids_stay_within_the_limit_of_a_server() -> None:
    with serve() as server:
        store = ServerStore(Connection(server.url, "shelf"), SIZES, create=ServerOptions())
        store.upsert(shelf(30))
        store.close()
        server.strict = {"max_query_limit": 7}
        strict = ServerStore(Connection(server.url, "shelf"), SIZES)
        assert [len(page) for page in strict.scroll(payload=False)] == [7, 7, 7, 7, 2]
        strict.close()
