"""Finds the labelled products most like a given one: by its id, when it is stored, or by a title."""

from dataclasses import dataclass

import numpy as np
from rubrika.errors import RubrikaError
from rubrika.index.index import Index


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A product that is like the one asked for; similarity is a cosine, at most 1."""

    similarity: float
    product_id: int
    category_id: int
    category: str
    category_path: str
    title: str


def neighbours_of_title(index: Index, title: str, vector: str, top_k: int) -> list[Neighbour]:
    """The `top_k` products most like a title, best first."""
    return _search(index, index.encoders[vector].encode([title]), vector, top_k)


def neighbours_of_product(index: Index, product_id: int, vector: str, top_k: int) -> list[Neighbour]:
    """The `top_k` products most like a stored one, best first, itself left out.

    Raises:
        RubrikaError: no such product is stored.
    """
    point = index.store.fetch([product_id], vectors=True).get(product_id)
    if point is None:
        raise RubrikaError(f"product {product_id} is not in {index.folder}; ask by --title instead")
    if vector not in point.vectors:
        raise RubrikaError(
            f"product {product_id} has no vector {vector}; ask with --vector {next(iter(point.vectors))}"
        )
    found = _search(index, point.vectors[vector][None], vector, top_k + 1)
    return [neighbour for neighbour in found if neighbour.product_id != product_id][:top_k]


def _search(
    index: Index, query: np.ndarray[tuple[int, ...], np.dtype[np.float32]], vector: str, top_k: int
) -> list[Neighbour]:
    hits = index.store.search(vector, query, top_k)
    found = [(int(i), float(s)) for i, s in zip(hits.ids[0], hits.scores[0], strict=True) if np.isfinite(s)]
    payloads = {id: point.payload for id, point in index.store.fetch([id for id, _ in found]).items()}
    return [
        Neighbour(
            similarity=score,
            product_id=id,
            category_id=payloads[id]["category_id"],
            category=payloads[id]["category"],
            category_path=payloads[id]["category_path"],
            title=payloads[id]["title"],
        )
        for id, score in found
    ]
