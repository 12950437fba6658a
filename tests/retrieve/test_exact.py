"""Exact search: what a plain scan finds, whatever comes in which pages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubrika.retrieve import exact
from rubrika.retrieve.exact import NO_GROUP, ExactSearch, exact_hits

small = st.integers(1, 40)


def unit(random: np.random.Generator, count: int, size: int = 8) -> np.ndarray:
    vectors = random.normal(size=(count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(small, small, st.integers(1, 6), st.integers(1, 9), st.randoms())
def test_pages_in_any_order_find_what_a_plain_scan_finds(
    points: int, queries: int, top_k: int, page: int, random: object
) -> None:
    draw = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    vectors, asked = unit(draw, points), unit(draw, queries)
    vectors[draw.random(points) < 0.3] = vectors[0]  # duplicates, whose ties go by id
    ids, labels = draw.permutation(1_000)[:points].astype(np.uint64), draw.integers(0, 5, points)
    groups, own = draw.integers(0, 4, points), draw.integers(-1, 4, queries)
    search = ExactSearch(asked, top_k, own)
    order = draw.permutation(points)
    for start in range(0, points, page):
        rows = order[start : start + page]
        search.add(ids[rows], vectors[rows], labels[rows], groups[rows])
    hits = search.hits()
    scores = (asked.astype(np.float64) @ vectors.T.astype(np.float64)).astype(np.float32)
    for row in range(queries):
        allowed = [point for point in range(points) if own[row] == NO_GROUP or groups[point] != own[row]]
        best = sorted(allowed, key=lambda point: (-scores[row, point], ids[point]))[:top_k]
        found = np.isfinite(hits.scores[row])
        assert hits.scores[row, found] == pytest.approx(scores[row, best], abs=1e-6)
        assert sorted(hits.scores[row, found], reverse=True) == hits.scores[row, found].tolist()
        assert found.sum() == len(best)
        assert set(hits.categories[row, ~found].tolist()) <= {-1}


def test_equal_vectors_are_ranked_by_id() -> None:
    same = np.tile(np.eye(4, dtype=np.float32)[0], (50, 1))
    search = ExactSearch(same[:1], 5)
    ids = np.random.default_rng(0).permutation(50).astype(np.uint64)
    for start in range(0, 50, 7):
        search.add(ids[start : start + 7], same[start : start + 7], np.zeros(len(ids[start : start + 7]), np.int64))
    assert search.hits().ids.tolist() == [[0, 1, 2, 3, 4]]


def test_many_queries_and_points_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    vectors, asked = unit(random, 300), unit(random, 70)
    whole = exact_hits(vectors, np.arange(300), asked, 10)
    monkeypatch.setattr(exact, "QUERIES", 16)
    monkeypatch.setattr(exact, "POINTS", 32)
    parts = exact_hits(vectors, np.arange(300), asked, 10)
    assert np.array_equal(whole.ids, parts.ids)
    assert np.array_equal(whole.scores, parts.scores)
