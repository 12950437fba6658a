"""Qdrant Edge as a store: what is written is found, kept, and not shared with a second process by accident."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rubrika.errors import StoreError
from rubrika.store.base import Point
from rubrika.store.connection import Recall
from rubrika.store.edge import EdgeStore

SIZE = 8


def unit(random: np.random.Generator, count: int) -> np.ndarray:
    rows = random.standard_normal((count, SIZE)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def points(count: int, seed: int = 0) -> list[Point]:
    rows = unit(np.random.default_rng(seed), count)
    return [Point(i, {"text": rows[i]}, {"category_id": i % 3, "title": f"товар {i}"}) for i in range(count)]


def vectors(store: EdgeStore) -> dict[int, bytes]:
    return {point.id: point.vectors["text"].tobytes() for batch in store.scroll(False, vectors=True) for point in batch}


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run lines in a process of their own, with what this module has and `folder`."""
    head = "import sys; sys.path.insert(0, sys.argv[2]); from test_edge import *; folder = Path(sys.argv[1])\n"
    command = [sys.executable, "-c", head + script, folder, Path(__file__).parent]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    opened = EdgeStore.create(tmp_path / "edge", {"text": SIZE})
    yield opened
    opened.close()


def test_the_nearest_points_come_first(store: EdgeStore) -> None:
    stored = points(500)
    store.upsert(stored)
    store.optimise()
    rows = np.array([point.vectors["text"] for point in stored])
    queries = unit(np.random.default_rng(1), 20)
    hits = store.search("text", queries, 5)
    similarity = queries @ rows.T
    assert np.array_equal(hits.ids, np.argsort(-similarity, axis=1)[:, :5])
    assert np.allclose(hits.scores, -np.sort(-similarity, axis=1)[:, :5], atol=1e-5)
    assert np.array_equal(hits.categories, hits.ids % 3)


def test_equal_scores_come_in_the_order_of_ids(store: EdgeStore) -> None:
    same = points(1)[0].vectors
    store.upsert([Point(id, same, {"category_id": 1}) for id in (9, 2, 5)])
    assert store.search("text", same["text"][None], 3).ids.tolist() == [[2, 5, 9]]


def test_fewer_points_than_asked_for_leave_places_empty(store: EdgeStore) -> None:
    store.upsert(points(2))
    hits = store.search("text", unit(np.random.default_rng(0), 1), 4)
    assert np.isfinite(hits.scores).tolist() == [[True, True, False, False]]


def test_writing_an_id_again_replaces_it(store: EdgeStore) -> None:
    store.upsert(points(3))
    store.upsert([Point(1, points(1, seed=9)[0].vectors, {"category_id": 77})])
    assert store.count() == 3
    assert store.fetch([1])[1].payload == {"category_id": 77}


def test_points_are_fetched_with_vectors_and_unknown_ids_left_out(store: EdgeStore) -> None:
    stored = points(3)
    store.upsert(stored)
    found = store.fetch([2, 999], vectors=True)
    assert list(found) == [2]
    assert np.allclose(found[2].vectors["text"], stored[2].vectors["text"], atol=1e-6)


def test_scrolling_meets_every_point_once_in_order(store: EdgeStore) -> None:
    store.upsert(points(5_000))
    ids = [point.id for batch in store.scroll(["title"]) for point in batch]
    assert ids == list(range(5_000))


def test_facets_count_values(store: EdgeStore) -> None:
    store.upsert(points(7))
    assert store.facet("category_id") == {0: 3, 1: 2, 2: 2}


def test_the_largest_id_fits(store: EdgeStore) -> None:
    store.upsert([Point(2**64 - 1, points(1)[0].vectors, {"category_id": 1, "product_id": 2**64 - 1})])
    assert store.search("text", points(1)[0].vectors["text"][None], 1).ids.tolist() == [[2**64 - 1]]
    assert store.fetch([2**64 - 1])[2**64 - 1].payload["product_id"] == 2**64 - 1


def test_points_outlive_the_process_that_wrote_them(tmp_path: Path) -> None:
    script = "store = EdgeStore.create(folder, {'text': SIZE}); store.upsert(points(50)); store.flush(); store.close()"
    assert run(script, tmp_path / "edge").returncode == 0
    again = EdgeStore.open(tmp_path / "edge")
    assert again.count() == 50
    again.close()


def test_another_payload_changes_no_byte_of_the_vectors_and_outlives_closing(store: EdgeStore, tmp_path: Path) -> None:
    store.upsert(points(2_000))
    store.optimise()
    before = vectors(store)
    store.replace_payloads({id: {"category_id": 8} for id in range(1_500)})
    assert vectors(store) == before
    store.close()
    again = EdgeStore.open(tmp_path / "edge")
    assert again.facet("category_id")[8] == 1_500
    again.optimise()
    assert vectors(again) == before
    again.close()


def test_a_killed_process_loses_nothing_it_had_written(tmp_path: Path) -> None:
    killed = run(
        "store = EdgeStore.create(folder, {'text': SIZE}); store.upsert(points(3_000))\n"
        "store.replace_payloads({id: {'category_id': 8} for id in range(1_000)})\n"
        "store.delete(range(2_000, 3_000)); store.upsert([Point(5), points(8, seed=9)[7]])\n"
        "signal.raise_signal(signal.SIGKILL)",
        tmp_path / "edge",
    )
    assert killed.returncode == -signal.SIGKILL
    again = EdgeStore.open(tmp_path / "edge")
    found = again.fetch([5, 6, 7], vectors=True)
    assert (again.count(), again.facet("category_id")[8]) == (2_000, 998)
    assert [list(point.vectors) for point in found.values()] == [[], ["text"], ["text"]]
    assert np.array_equal(found[7].vectors["text"], points(8, seed=9)[7].vectors["text"])
    again.close()


def test_a_folder_held_by_another_process_is_said_and_not_harmed(store: EdgeStore, tmp_path: Path) -> None:
    store.upsert(points(5))
    second = run("EdgeStore.open(folder)", tmp_path / "edge")
    assert "StoreError" in second.stderr
    assert second.stderr.endswith("another process is changing this index; wait for it to end\n")
    store.upsert(points(9))
    assert store.count() == 9
    store.close()
    assert run("assert EdgeStore.open(folder).count() == 9", tmp_path / "edge").returncode == 0


def test_a_folder_open_twice_in_one_process_is_said(store: EdgeStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="this process has it open already; close that one first"):
        EdgeStore.open(tmp_path / "edge")


def test_a_missing_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run `rubrika ingest` first"):
        EdgeStore.open(tmp_path / "nowhere")


def test_a_vector_of_the_wrong_size_is_refused(store: EdgeStore) -> None:
    with pytest.raises(StoreError):
        store.upsert([Point(1, {"text": np.ones(3, np.float32)}, {"category_id": 1})])


def test_what_a_killed_optimisation_left_is_cleared(store: EdgeStore, tmp_path: Path) -> None:
    store.upsert(points(5_000))
    left = tmp_path / "edge" / "temp_segments" / "half-made"
    left.mkdir(parents=True)
    store.optimise()
    store.optimise()
    assert not left.exists()
    assert store.count() == 5_000


def test_where_8_bits_cannot_tell_vectors_apart_the_full_ones_are_searched(tmp_path: Path) -> None:
    folder, random = tmp_path / "edge", np.random.default_rng(0)
    rows = random.standard_normal(1_024) + 0.05 * random.standard_normal((3_000, 1_024))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    store = EdgeStore.create(folder, {"text": 1_024})
    store.upsert([Point(i, {"text": row}, {"category_id": 1}) for i, row in enumerate(rows)])
    store.optimise()
    chosen, exact = store.recall, store.search("text", rows[:50], 10, exact=True)
    assert chosen == {"text": Recall(hnsw_ef=None, oversampling=None, reached=1.0, products=200)}
    store.close()
    for recall, finds_all in ((chosen, True), (None, False)):
        again = EdgeStore.open(folder, recall=recall)
        assert np.array_equal(again.search("text", rows[:50], 10).ids, exact.ids) == finds_all
        again.close()


def wide(count: int) -> np.ndarray:
    """Rows of the size from which the engine finds a graph worth building, in clusters as products are."""
    random = np.random.default_rng(5)
    rows = np.repeat(random.standard_normal((count // 20, 1_024)), 20, axis=0)
    rows = (rows + 0.3 * random.standard_normal(rows.shape)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def has_graph(folder: Path) -> bool:
    return any(file.stat().st_size > 100_000 for file in folder.rglob("links_compressed.bin"))


def test_with_many_points_there_is_a_graph_and_with_few_again_none(tmp_path: Path) -> None:
    folder, rows = tmp_path / "edge", wide(11_000)
    store = EdgeStore.create(folder, {"text": 1_024}, graph_from=10_000)
    store.upsert([Point(i, {"text": row}, {"category_id": i // 20}) for i, row in enumerate(rows)])
    store.optimise()
    hits = store.search("text", rows[:200:10], 10)
    store.close()
    assert has_graph(folder)
    assert np.array_equal(hits.ids[:, 0], np.arange(200)[::10])
    assert (hits.categories == hits.ids // 20).mean() > 0.99
    # It stays until there are half as many points as it came with.
    for gone, graph in ((range(5_000), True), (range(5_000, 6_500), False)):
        store = EdgeStore.open(folder, graph_from=10_000)
        store.delete(list(gone))
        store.optimise()
        assert store.search("text", rows[6_500:6_501], 1).ids == [[6_500]]
        store.close()
        assert has_graph(folder) == graph
