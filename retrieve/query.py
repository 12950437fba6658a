"""One product that is asked about: stored under an id, or described by a title and a picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rubrika.errors import RubrikaError
from rubrika.index.index import Index
from rubrika.index.manifest import IMAGE, TEXT, VoteSettings
from rubrika.products.pictures import PictureFolder
from rubrika.products.product import Product
from rubrika.products.row import MAX_TITLE
from rubrika.products.text import one_line, shortened
from rubrika.retrieve.search import search
from rubrika.store.store import FloatArray, Hits, Store


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

    def find(self, store: Store, vectors: Mapping[str, FloatArray], vote: VoteSettings) -> dict[str, Hits]:
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
