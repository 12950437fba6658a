"""Queries: what is asked, which hits come back, and the nearest neighbours of one product."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import RubrikaError
from rubrika.index.folder import Index
from rubrika.index.manifest import IMAGE, TEXT, VoteSettings
from rubrika.products.images import PictureError, PictureFolder
from rubrika.products.product import Batch, Product, Products
from rubrika.products.row import MAX_TITLE
from rubrika.products.text import one_line, shortened
from rubrika.store.base import FloatArray, Hits, Store


def best_hits(scores: FloatArray, labels: NDArray[np.int64], top_k: int) -> Hits:
    """The products with the best scores, ties by their place, which is their id here.

    Args:
        scores: of m known products for each of n asked ones, (n, m); -inf is no hit.
        labels: of the known ones (m,).
        top_k: how many to find.
    """
    width = min(top_k, scores.shape[1])
    place, none = best_positions(scores, width), top_k - width
    hits = Hits(place.astype(np.uint64), np.take_along_axis(scores, place, axis=1), labels[place])
    if not none:
        return hits
    empty = Hits.none(len(scores), none)
    both: Mapping[str, NDArray[np.generic]] = {
        name: np.concatenate([getattr(hits, name), getattr(empty, name)], axis=1)
        for name in ("ids", "scores", "categories")
    }
    return Hits(**both)  # type: ignore[arg-type]


def best_positions(scores: NDArray[np.floating], width: int) -> NDArray[np.int64]:
    """Where the best scores of each row stand, (n, width), best first; ties by place.

    Args:
        scores: (n, m); -inf is allowed.
        width: at most m.
    """
    if not width:
        return np.zeros((len(scores), 0), np.int64)
    last = scores.shape[1] - width
    least = np.partition(scores, last, axis=1)[:, last : last + 1]
    above, equal = scores > least, scores == least
    # Of those as good as the last one, the first by place.
    wanted = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= width - above.sum(axis=1, keepdims=True)))
    place = np.nonzero(wanted)[1].reshape(len(scores), width)
    order = np.argsort(-np.take_along_axis(scores, place, axis=1), axis=1, kind="stable")
    best: NDArray[np.int64] = np.take_along_axis(place, order, axis=1)
    return best


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A batch with what was found for its products, in the order of `batch.products`.

    Args:
        batch: the products.
        hits: what each named vector that votes has found; the first is the main one.
        failures: how many pictures could not be used, by reason.
    """

    batch: Batch
    hits: Mapping[str, Hits]
    failures: Mapping[str, int]


def search_products(
    index: Index, products: Products, pictures: PictureFolder | None = None, top_k: int | None = None
) -> Iterator[SearchResult]:
    """Yield every batch with its hits.

    Args:
        index: an open index.
        products: labelled or not; labels are not looked at.
        pictures: where their pictures are, if anywhere.
        top_k: how many hits of each vector, by default as many as vote.
    """
    names, top_k = index.manifest.vote.weights, top_k or index.manifest.vote.top_k
    for batch in products:
        encoded = index.encoders.encode(batch.products, pictures, names)
        hits = {name: search(index.store, name, encoded.vectors[name], top_k) for name in names}
        yield SearchResult(batch, hits, Counter(encoded.failures.values()))


def search(store: Store, name: str, vectors: FloatArray, top_k: int) -> Hits:
    """Search with rows (n, size); one of zeros is a product that lacks this vector, and finds nothing."""
    there = vectors.any(axis=1)
    if there.all():
        return store.search(name, vectors, top_k)
    found, hits = store.search(name, vectors[there], top_k), Hits.none(len(vectors), top_k)
    hits.ids[there], hits.scores[there], hits.categories[there] = found.ids, found.scores, found.categories
    return hits


@dataclass(frozen=True)
class Query:
    """What is known of the product.

    Args:
        title: empty when there is only a picture.
        vectors: those that vote, float32 (1, size) by name; zeros for one that it lacks.
        picture: its `image` vector (1, size), if the index has such vectors; zeros when it has no picture.
        product_id: its id, when it is stored.
        labelled: the path of the category that it is stored with.
    """

    title: str
    vectors: Mapping[str, FloatArray]
    picture: Mapping[str, FloatArray] = field(default_factory=dict)
    product_id: int | None = None
    labelled: str | None = None

    @classmethod
    def of_product(cls, index: Index, product_id: int) -> "Query":
        """A stored product.

        Raises:
            RubrikaError: it is not stored, or has none of the vectors that vote.
        """
        point = index.store.fetch([product_id], vectors=True).get(product_id)
        if point is None:
            raise RubrikaError(f"product {product_id} is not in {index.folder}; ask by --title instead")
        sizes, names = index.manifest.sizes, _voting(index)
        vectors = {name: np.zeros((1, sizes[name]), np.float32) for name in {*names, IMAGE} if name in sizes}
        vectors |= {name: point.vectors[name][None] for name in vectors.keys() & point.vectors.keys()}
        query = cls(
            point.shown("title"),
            {name: vectors[name] for name in names},
            {IMAGE: vectors[IMAGE]} if IMAGE in vectors else {},
            product_id,
            point.shown("category_path"),
        )
        return query._checked(index, f"product {product_id}", "ask by --title instead")

    @classmethod
    def described(cls, index: Index, title: str = "", picture: Path | None = None) -> "Query":
        """A product with a title, a picture, or both.

        Raises:
            RubrikaError: the picture cannot be used, or nothing here makes any of the vectors that vote.
        """
        title = shortened(one_line(title), MAX_TITLE)
        sizes, names = index.manifest.sizes, _voting(index)
        if picture and IMAGE not in sizes:
            raise RubrikaError(f"{index.folder} has no image vector, so a picture says nothing; ask with --title")
        if not title and not picture:
            raise RubrikaError("the title has no text; give a --title with words, or --image FILE")
        encoded = index.encoders.encode(
            [Product(0, title, title, 0)],
            PictureFolder(picture.parent, {0: picture.name}) if picture else None,
            {*names, IMAGE} & sizes.keys(),
            # The vector of no text would find what is like nothing.
            given={} if title else {TEXT: np.zeros((1, sizes[TEXT]), np.float32)},
        )
        for reason in encoded.failures.values():
            raise RubrikaError(f"{picture} {reason}; give a JPEG, PNG or WEBP picture")
        vectors = encoded.vectors
        query = cls(title, {name: vectors[name] for name in names}, {IMAGE: vectors[IMAGE]} if IMAGE in vectors else {})
        what, instead = ("a picture", "--title") if picture else ("a title", "--image FILE")
        return query._checked(index, what, f"ask with {instead}")

    def retold(self, index: Index, titles: list[str]) -> dict[str, FloatArray]:
        """The vectors that vote, (n, size) by name, had the product one of these titles and its picture."""
        products = [Product(0, title, title, 0) for title in titles]
        given = {name: np.repeat(row, len(titles), axis=0) for name, row in self.picture.items()}
        return dict(index.encoders.encode(products, None, _voting(index), given=given).vectors)

    def hits(self, store: Store, vectors: Mapping[str, FloatArray], vote: VoteSettings) -> dict[str, Hits]:
        """What each named vector finds that votes, the main one first; the product itself is never among it."""
        if self.product_id is None:
            return {name: search(store, name, vectors[name], vote.top_k) for name in vote.weights}
        own = np.array([self.product_id], np.uint64)
        return {
            name: search(store, name, vectors[name], vote.top_k + 1).without(own).first(vote.top_k)
            for name in vote.weights
        }

    def _checked(self, index: Index, what: str, instead: str) -> "Query":
        if not any(row.any() for row in self.vectors.values()):
            raise RubrikaError(f"{index.folder} votes by {' and '.join(self.vectors)}, which {what} lacks; {instead}")
        return self


def _voting(index: Index) -> list[str]:
    return list(index.manifest.vote.weights)


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
    hits = asked.hits(index.store, asked.vectors, VoteSettings({name: 1.0}, top_k))[name]
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
