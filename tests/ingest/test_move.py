"""Moving an index to a server and back: everything arrives, an interrupted move goes on, nothing is doubled."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge
from points import SIZE, product, shelf, unit
from qdrant_http import QdrantOverHttp, gone_after_upserts, serve

from rubrika.errors import StoreError
from rubrika.index.location import Location
from rubrika.index.manifest import Manifest, VectorSpec
from rubrika.ingest.move import Moved, move_index, push
from rubrika.store.base import Point, Store
from rubrika.store.connection import Connection, SearchOptions, ServerOptions
from rubrika.store.edge import EdgeStore
from rubrika.store.faults import RetryPolicy
from rubrika.store.server import ServerStore

SIZES = {"text": SIZE}
BRIEF = RetryPolicy(tries=3, first_wait=0.01)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EdgeStore]:
    store = EdgeStore.create(tmp_path / "edge", SIZES)
    store.upsert(shelf(1_200))
    yield store
    store.close()


@pytest.fixture
def served() -> Iterator[tuple[QdrantOverHttp, ServerStore]]:
    with serve() as server:
        store = ServerStore(Connection(server.url, "products"), SIZES, policy=BRIEF, create=ServerOptions())
        yield server, store
        store.close()


def assert_equal(one: Store, other: Store) -> None:
    ours = [point for batch in one.scroll(vectors=True) for point in batch]
    theirs = [point for batch in other.scroll(vectors=True) for point in batch]
    assert [(point.id, point.payload) for point in ours] == [(point.id, point.payload) for point in theirs]
    rows = [np.array([point.vectors["text"] for point in points]) for points in (ours, theirs)]
    assert np.abs(rows[0] - rows[1]).max() < 1e-6


def test_an_index_goes_to_a_server_and_back(
    embedded: EdgeStore, served: tuple[QdrantOverHttp, ServerStore], tmp_path: Path
) -> None:
    _, store = served
    assert push(embedded, store) == Moved(copied=1_200, skipped=0, total=1_200)
    assert_equal(embedded, store)
    back = EdgeStore.create(tmp_path / "back", SIZES)
    assert push(store, back) == Moved(copied=1_200, skipped=0, total=1_200)
    assert_equal(embedded, back)
    queries = unit(20, seed=3)
    assert np.array_equal(back.search("text", queries, 5).ids, store.search("text", queries, 5).ids)
    back.close()


def test_moving_again_copies_only_what_changed(embedded: EdgeStore, served: tuple[QdrantOverHttp, ServerStore]) -> None:
    _, store = served
    push(embedded, store)
    assert push(embedded, store) == Moved(copied=0, skipped=1_200, total=1_200)
    embedded.upsert([product(7, unit(1, seed=5)[0], written="2026-11-23T10:00:00Z")])
    assert push(embedded, store) == Moved(copied=1, skipped=1_199, total=1_200)
    assert_equal(embedded, store)


class Interrupted(EdgeStore):
    """A real store whose disk is full after some writes."""

    writes_left = 2

    def upsert(self, points: Sequence[Point]) -> None:
        if self.writes_left == 0:
            raise StoreError("no space left on device")
        self.writes_left -= 1
        super().upsert(points)


def test_an_interrupted_move_goes_on_where_it_was(
    embedded: EdgeStore, served: tuple[QdrantOverHttp, ServerStore], tmp_path: Path
) -> None:
    _, store = served
    push(embedded, store)
    back = Interrupted.create(tmp_path / "back", SIZES)
    interrupted = Interrupted(back._shard, tmp_path / "back")
    with pytest.raises(StoreError, match="no space left"):
        push(store, interrupted)
    there = interrupted.count()
    assert 0 < there < 1_200
    interrupted.writes_left = 1_000
    assert push(store, interrupted) == Moved(copied=1_200 - there, skipped=there, total=1_200)
    assert_equal(embedded, interrupted)
    interrupted.close()


@pytest.mark.parametrize("begun", ["nothing", "a folder", "a store without its payload indexes"])
def test_what_is_of_no_use_of_a_killed_pull_is_made_anew(
    served: tuple[QdrantOverHttp, ServerStore], tmp_path: Path, begun: str
) -> None:
    server, store = served
    store.upsert(shelf(20))
    spec = VectorSpec("learned", SIZE, "ab" * 32)
    Manifest({"text": spec}).at(Connection(server.url, "products")).write(tmp_path)
    if begun != "nothing":
        (tmp_path / "edge").mkdir()
    if begun.startswith("a store"):
        vectors = {"text": qdrant_edge.EdgeVectorParams(SIZE, qdrant_edge.Distance.Dot)}
        qdrant_edge.EdgeShard.create(str(tmp_path / "edge"), qdrant_edge.EdgeConfig(vectors=vectors)).close()
    assert move_index(Location(tmp_path)) == Moved(copied=20, skipped=0, total=20)
    back = EdgeStore.open(tmp_path / "edge")
    assert back.facet("category_id") == {kind: 4 for kind in range(5)}
    back.close()


def test_a_server_that_goes_away_in_the_middle_loses_and_doubles_nothing(
    embedded: EdgeStore, served: tuple[QdrantOverHttp, ServerStore]
) -> None:
    server, store = served

    with gone_after_upserts(server, 1), pytest.raises(StoreError, match="no server answers"):
        push(embedded, store)
    there = store.count()
    assert 0 < there < 1_200
    server.dropped = 2
    assert push(embedded, store) == Moved(copied=1_200 - there, skipped=there, total=1_200)
    assert_equal(embedded, store)


def test_a_point_that_does_not_say_when_it_was_written_is_always_copied(tmp_path: Path) -> None:
    source, target = (EdgeStore.create(tmp_path / name, SIZES) for name in ("source", "target"))
    target.upsert([Point(1, {"text": unit(1, seed=1)[0]}, {"category_id": 3})])
    source.upsert([Point(1, {"text": unit(1, seed=2)[0]}, {"category_id": 3})])
    assert push(source, target).copied == 1
    assert_equal(source, target)
    source.close()
    target.close()


def test_an_older_index_that_says_nothing_of_searching_opens(tmp_path: Path) -> None:
    server = Connection("http://127.0.0.1:6333", "products")
    written = Manifest({"text": VectorSpec("learned", SIZE, "ab" * 32)}).at(server, SearchOptions(64, 4.0))
    written.write(tmp_path)
    assert Manifest.read(tmp_path) == written
    path = tmp_path / "index.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "search"}))
    assert Manifest.read(tmp_path) == written.at(server)


def test_products_of_another_index_in_the_target_are_said(embedded: EdgeStore, tmp_path: Path) -> None:
    target = EdgeStore.create(tmp_path / "target", SIZES)
    target.upsert([product(10_000, unit(1)[0])])
    with pytest.raises(StoreError, match="holds 1 products that the source has not"):
        push(embedded, target)
    target.close()
