"""Search: the query that a product makes, the hits of each named vector, and the nearest neighbours of one product."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubrika.errors import RubrikaError
from rubrika.files import table_file
from rubrika.index.encoders import EncodedProducts
from rubrika.index.folder import Index
from rubrika.index.manifest import IMAGE, TEXT, VoteSettings
from rubrika.index.owned import Owned
from rubrika.products.images import PictureFolder
from rubrika.products.product import Batch, Product, Products
from rubrika.products.row import MAX_TITLE
from rubrika.products.text import MAX_TEXT, one_line, shortened
from rubrika.store.base import FloatArray, Hits, Store
from rubrika.store.streams import in_order

if TYPE_CHECKING:
    import pandas as pd


# Of products, searched at once; each has several requests under way.
BATCHES = 2


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A batch with the hits of its products, in their order, by each named vector that votes, the main one first."""

    batch: Batch
    hits: Mapping[str, Hits]
    vectors: Mapping[str, FloatArray]  # of the products, (n, size)
    failures: Mapping[str, int]  # how many pictures could not be used, by reason


def search_products(
    index: Index,
    products: Products,
    pictures: PictureFolder | None = None,
    top_k: int | None = None,
    include_self: bool = False,
) -> Iterator[SearchResult]:
    """Yield every batch with its hits, of each vector `top_k`, by default as many as vote; labels are ignored.

    A product that is stored, by its id, is no hit of itself, unless `include_self`; its exact duplicates are.
    """
    names, top_k = index.manifest.vote.weights, top_k or index.manifest.vote.top_k

    def found(encoded: tuple[Batch, EncodedProducts]) -> SearchResult:
        batch, (vectors, failures) = encoded[0], (encoded[1].vectors, encoded[1].failures)
        own = None if include_self else np.array([product.id for product in batch.products], np.uint64)
        hits = {name: search(index.store, name, vectors[name], top_k, own) for name in names}
        return SearchResult(batch, hits, vectors, Counter(failures.values()))

    # While a server searches, the next batch is encoded.
    encoded = ((batch, index.encoders.encode(batch.products, pictures, names)) for batch in products)
    yield from in_order(found, encoded, min(index.store.streams, BATCHES))


def search(store: Store, name: str, vectors: FloatArray, top_k: int, without: NDArray[np.uint64] | None = None) -> Hits:
    """The hits of vectors (n, size); a row of zeros is a product that lacks this vector, and finds nothing.

    `without` is an id to leave out, the same for all (1,) or one for each (n,).
    """
    if without is not None:
        # Among many exact duplicates a product may not find itself: then the last of them is dropped instead.
        return search(store, name, vectors, top_k + 1).without(without).first(top_k)
    there = vectors.any(axis=1)
    if there.all():
        return store.search(name, vectors, top_k)
    found, hits = store.search(name, vectors[there], top_k), Hits.none(len(vectors), top_k)
    hits.ids[there], hits.scores[there], hits.categories[there] = found.ids, found.scores, found.categories
    return hits


@dataclass(frozen=True)
class Query:
    """One product to search with."""

    title: str
    vectors: Mapping[str, FloatArray]  # by name, the picture's among them, (1, size); zeros for one that it lacks
    product_id: int | None = None  # of a stored one, its number
    labelled: str | None = None  # the path of its category
    text: str = ""  # the whole text, a fact a line, its title first; empty where the title is all that is known

    @classmethod
    def of_product(cls, index: Index, product_id: int, vector: str | None = None, own_id: str = "") -> "Query":
        """A stored product, to search by one named vector or by all that vote; RubrikaError if it has none of them."""
        names = _names(index, vector)
        point = index.store.fetch([product_id], vectors=True).get(product_id)
        if point is None:
            shown = own_id or product_id
            raise RubrikaError(f"product {shown} is not in {index.folder}; give a title or an image instead")
        needed = index.encoders.with_inputs([*names, IMAGE])
        sizes = {name: size for name, size in index.manifest.sizes.items() if name in needed}
        vectors = {name: point.vectors.get(name, np.zeros(size, np.float32))[None] for name, size in sizes.items()}
        if not any(vectors[name].any() for name in names):
            raise _lacking(index, names, f"product {product_id}", f"it has {', '.join(point.vectors) or 'none'}")
        text = str(point.payload.get("text", ""))[:MAX_TEXT]
        return cls(point.shown("title"), vectors, product_id, point.shown("category_path"), text)

    @classmethod
    def of_content(
        cls, index: Index, title: str = "", image: Path | bytes | None = None, vector: str | None = None
    ) -> "Query":
        """A product with a title, a picture or both, to search by one named vector or by all that vote."""
        names, sizes = _names(index, vector), index.manifest.sizes
        title = shortened(one_line(title), MAX_TITLE)
        if image and IMAGE not in sizes:
            raise RubrikaError(f"{index.folder} has no image vector, so an image cannot be used; give a title")
        if not title and not image:
            raise RubrikaError("the title has no text; give a title with words, or an image")
        encoded = index.encoders.encode(
            [Product(0, title, title, 0, image=image if isinstance(image, bytes) else "")],
            PictureFolder(image.parent, {"0": image.name}) if isinstance(image, Path) else PictureFolder(None),
            {*names, IMAGE} & sizes.keys(),
            # The vector of an empty text would find what resembles nothing.
            given={} if title else {TEXT: np.zeros((1, sizes[TEXT]), np.float32)},
        )
        for reason in encoded.failures.values():
            shown = image if isinstance(image, Path) else "the picture"
            raise RubrikaError(f"{shown} {reason}; give a JPEG, PNG or WEBP picture")
        if not any(encoded.vectors[name].any() for name in names):
            raise _lacking(index, names, *(("an image", "give a title") if image else ("a title", "give an image")))
        return cls(title, encoded.vectors)

    @classmethod
    def of_whole(cls, index: Index, product: Product) -> "Query":
        """A product that need not be stored, as `classify` would ask with it: a picture in it, if any, is used."""
        names = {*_names(index, None), IMAGE} & index.manifest.sizes.keys()
        encoded = index.encoders.encode([product], PictureFolder(None), names)
        if not any(encoded.vectors[name].any() for name in index.manifest.vote.weights):
            raise _lacking(index, list(index.manifest.vote.weights), f"product {product.own_id}", "give it a title")
        labelled = product.category.path if product.category else None
        return cls(product.title, encoded.vectors, product.id, labelled, product.text)

    def with_texts(self, index: Index, texts: list[str]) -> Mapping[str, FloatArray]:
        """The vectors that vote, (n, size) by name, if the product had these n texts, and the picture it has."""
        products = [Product(0, "", text, 0) for text in texts]
        given = {IMAGE: np.repeat(self.vectors[IMAGE], len(texts), axis=0)} if IMAGE in self.vectors else {}
        return index.encoders.encode(products, None, _names(index, None), given=given).vectors

    def hits(self, store: Store, vectors: Mapping[str, FloatArray], vote: VoteSettings) -> dict[str, Hits]:
        """The hits of each named vector that votes, the main one first, without the product itself."""
        own = None if self.product_id is None else np.array([self.product_id], np.uint64)
        return {name: search(store, name, vectors[name], vote.top_k, own) for name in vote.weights}


def _names(index: Index, vector: str | None) -> list[str]:
    """The named vectors to search by."""
    names = index.manifest.vectors
    if vector is not None and vector not in names:
        raise RubrikaError(f"{index.folder} has no vector {vector}; it has {', '.join(names)}")
    return [vector] if vector else list(index.manifest.vote.weights)


def _lacking(index: Index, names: list[str], what: str, instead: str) -> RubrikaError:
    return RubrikaError(f"{what} has no {' or '.join(names)} vector to search {index.folder} by; {instead}")


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A labelled product near the one searched with; similarity is a cosine, at most 1."""

    similarity: float
    product_id: int | str
    category_id: int | str
    category: str
    category_path: str
    title: str


@dataclass(frozen=True)
class Neighbours(Sequence[Neighbour]):
    """The labelled products most like one, best first."""

    hits: list[Neighbour]
    page: str | None = None  # where the server's web UI shows them, if that was asked for

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401 - a neighbour, or a list of them for a slice
        return self.hits[place]

    def __len__(self) -> int:
        return len(self.hits)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `rubrika neighbours --json` prints them."""
        return {"neighbours": [asdict(hit) for hit in self.hits]} | ({"open": self.page} if self.page else {})

    def write(self, path: Path) -> None:
        """Write a row a neighbour, in the format of the name's end; ids are numbers where all are."""
        ids = ("product_id", "category_id")
        is_text = {name: any(isinstance(getattr(hit, name), str) for hit in self.hits) for name in ids}
        kinds = {name: pa.string() if is_text[name] else pa.uint64() for name in ids} | {"similarity": pa.float64()}
        schema = pa.schema([(it.name, kinds.get(it.name, pa.string())) for it in fields(Neighbour)])
        rows = [asdict(hit) for hit in self.hits]
        rows = [row | {name: str(row[name]) for name in ids if is_text[name]} for row in rows]
        with table_file(path, schema) as target:
            target.write_table(pa.Table.from_pylist(rows, schema))

    def to_frame(self) -> "pd.DataFrame":
        """A row a neighbour."""
        import pandas as pd

        return pd.DataFrame([asdict(hit) for hit in self.hits])


def neighbours(
    index: Index, query: int | str | Path | bytes, vector: str | None = None, top_k: int = 10, own_id: str = ""
) -> Neighbours:
    """The `top_k` products most similar to a stored product (without itself), a title, or a picture.

    A stored product is given by its number in the store, and messages call it by its `own_id`.

    `vector` is the named vector to search by, by default `image` for a picture, else `text`.
    """
    vector = vector or (IMAGE if isinstance(query, Path | bytes) else TEXT)
    if isinstance(query, int):
        product = Query.of_product(index, query, vector, own_id)
    else:
        title, image = (query, None) if isinstance(query, str) else ("", query)
        product = Query.of_content(index, title, image, vector)
    hits = product.hits(index.store, product.vectors, VoteSettings({vector: 1.0}, top_k))[vector]
    there = np.isfinite(hits.scores[0])
    ids, scores = hits.ids[0, there].tolist(), hits.scores[0, there].tolist()
    points, shown = index.store.fetch(ids), ("category", "category_path", "title")
    # On a server, another process may delete a hit in between.
    found = [(score, points[id]) for id, score in zip(ids, scores, strict=True) if id in points]
    category = index.remembered(Owned.of).category
    return Neighbours(
        [Neighbour(score, at.own_id, category(at.category_id), *map(at.shown, shown)) for score, at in found]
    )
