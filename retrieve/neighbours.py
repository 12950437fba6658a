"""Finds the labelled products most like a given one: by its id, when it is stored, by a title, or by a picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rubrika.errors import RubrikaError
from rubrika.index.index import Index
from rubrika.index.manifest import IMAGE, TEXT, VoteSettings
from rubrika.products.pictures import PictureError
from rubrika.products.text import one_line
from rubrika.retrieve.query import Query
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


def neighbours(
    index: Index,
    asked: int | str | Path,
    vector: str | None = None,
    top_k: int = 10,
) -> list[Neighbour]:
    """The `top_k` products most like one, best first, a stored product itself left out.

    Args:
        index: an open index.
        asked: the id of a stored product, a title, or the path of a picture.
        vector: the named vector to go by; by default `image` for a picture, else `text`.
        top_k: how many.

    Raises:
        RubrikaError: the product is not stored, the title has no text, the picture cannot be used, or there is no such
            vector.
    """
    vector = vector or (IMAGE if isinstance(asked, Path) else TEXT)
    names = index.manifest.vectors
    if vector not in names:
        raise RubrikaError(f"{index.folder} has no vector {vector}; it has {', '.join(names)}")
    if isinstance(asked, Path):
        return _search(index, _of_picture(index, asked, vector), vector, top_k)
    if isinstance(asked, str):
        return _search(index, _of_title(index, asked, vector), vector, top_k)
    return _search(index, _of_product(index, asked, vector), vector, top_k, asked)


def _of_title(index: Index, title: str, vector: str) -> FloatArray:
    title = one_line(title)
    if not title:
        raise RubrikaError("the title has no text; give a --title with words, or --image FILE")
    found = index.encoders.encode_title(title, vector)
    if not found.any():
        raise RubrikaError(f"a title has no {vector} vector; ask with --image FILE, or by another --vector")
    return found


def _of_picture(index: Index, picture: Path, vector: str) -> FloatArray:
    try:
        return index.encoders.encode_picture(picture, vector)
    except PictureError as error:
        raise RubrikaError(f"{picture} {error}; give a JPEG, PNG or WEBP picture") from None


def _of_product(index: Index, product_id: int, vector: str) -> FloatArray:
    point = index.store.fetch([product_id], vectors=True).get(product_id)
    if point is None:
        raise RubrikaError(f"product {product_id} is not in {index.folder}; ask by --title instead")
    if vector not in point.vectors:
        others = next(iter(point.vectors))
        raise RubrikaError(f"product {product_id} has no vector {vector}; ask with --vector {others}")
    return point.vectors[vector]


def _search(index: Index, vector: FloatArray, name: str, top_k: int, product_id: int | None = None) -> list[Neighbour]:
    asked = Query("", {name: vector[None]}, product_id=product_id)
    hits = asked.find(index.store, asked.vectors, VoteSettings({name: 1.0}, top_k))[name]
    found = [(id, score) for id, score in zip(hits.ids[0].tolist(), hits.scores[0].tolist(), strict=True)]
    points = index.store.fetch([id for id, score in found if np.isfinite(score)])
    return [
        Neighbour(
            similarity=score,
            product_id=id,
            category_id=points[id].category_id,
            category=points[id].shown("category"),
            category_path=points[id].shown("category_path"),
            title=points[id].shown("title"),
        )
        for id, score in found
        # On a server, a hit may be deleted by another process in between.
        if np.isfinite(score) and id in points
    ]
