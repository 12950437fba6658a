"""Finds the labelled products most like a given one: by its id, when it is stored, by a title, or by a picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rubrika.errors import RubrikaError
from rubrika.index.index import Index
from rubrika.products.pictures import PictureError
from rubrika.store.store import FloatArray


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
    """The `top_k` products most like a title, best first.

    Raises:
        RubrikaError: the vector is one that a title alone does not have.
    """
    query = index.encoders.encode_title(title, _known(index, vector))
    if not query.any():
        raise RubrikaError(f"a title has no {vector} vector; ask with --image FILE, or by another --vector")
    return _search(index, query, vector, top_k)


def neighbours_of_picture(index: Index, picture: Path, vector: str, top_k: int) -> list[Neighbour]:
    """The `top_k` products that look most like a picture, best first.

    Raises:
        RubrikaError: the picture cannot be used.
    """
    try:
        query = index.encoders.encode_picture(picture, _known(index, vector))
    except PictureError as error:
        raise RubrikaError(f"{picture} {error}; give a JPEG, PNG or WEBP picture") from None
    return _search(index, query, vector, top_k)


def neighbours_of_product(index: Index, product_id: int, vector: str, top_k: int) -> list[Neighbour]:
    """The `top_k` products most like a stored one, best first, itself left out.

    Raises:
        RubrikaError: no such product is stored.
    """
    point = index.store.fetch([product_id], vectors=True).get(product_id)
    if point is None:
        raise RubrikaError(f"product {product_id} is not in {index.folder}; ask by --title instead")
    if _known(index, vector) not in point.vectors:
        raise RubrikaError(
            f"product {product_id} has no vector {vector}; ask with --vector {next(iter(point.vectors))}"
        )
    found = _search(index, point.vectors[vector], vector, top_k + 1)
    return [neighbour for neighbour in found if neighbour.product_id != product_id][:top_k]


def _known(index: Index, vector: str) -> str:
    names = index.manifest.vectors
    if vector not in names:
        raise RubrikaError(f"{index.folder} has no vector {vector}; it has {', '.join(names)}")
    return vector


def _search(index: Index, query: FloatArray, vector: str, top_k: int) -> list[Neighbour]:
    hits = index.store.search(vector, query[None], top_k)
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
