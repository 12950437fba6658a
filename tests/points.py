"""A few made-up products as points, and what an exact search over them finds."""

import numpy as np

from rubrika.store.base import FloatArray, Point

SIZE = 8
WORDS = ["платье летнее", "чайник стеклянный", "кабель зарядный", "крем для рук", "носки шерстяные"]
CATEGORIES = ["Платья", "Чайники", "Кабели", "Кремы", "Носки"]


def unit(count: int, seed: int = 0, size: int = SIZE) -> FloatArray:
    """Random vectors of length one."""
    rows = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def shelf(count: int, seed: int = 0) -> list[Point]:
    """Products 1…count with a text vector each, the way ingest writes them."""
    rows = unit(count, seed)
    return [product(id, rows[id - 1]) for id in range(1, count + 1)]


def product(id: int, row: FloatArray, written: str = "2026-11-22T10:00:00Z") -> Point:
    kind = id % len(WORDS)
    payload = {
        "product_id": id,
        "title": f"{WORDS[kind]} {id}",
        "category_id": kind,
        "category": CATEGORIES[kind],
        "category_levels": ["Все категории", CATEGORIES[kind]],
        "shop_id": id % 3,
        "rating": 4.5,
        "text_hash": f"{id:016x}",
        "ingested_at": written,
    }
    return Point(id, {"text": row}, payload)


def nearest(points: list[Point], queries: FloatArray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and scores by plain numpy, ties in the order of ids."""
    rows = np.array([point.vectors["text"] for point in points])
    ids = np.array([point.id for point in points], np.uint64)
    scores = queries @ rows.T
    order = np.lexsort((np.broadcast_to(ids, scores.shape), -scores), axis=1)[:, :top_k]
    return ids[order], np.take_along_axis(scores, order, axis=1)
