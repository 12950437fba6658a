"""The encoders of an index: products and their pictures in, named vectors out, nothing encoded twice."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rubrika.encode.base import Encoder, FloatArray, PretrainedEncoder
from rubrika.encode.cache import VectorCache, cached_encode
from rubrika.encode.image import PictureEncoder, cached_pictures
from rubrika.encode.learned import LearnedEncoder
from rubrika.index.manifest import IMAGE, JOINT, TEXT
from rubrika.products.images import PictureError, PictureFolder, picture_hash
from rubrika.products.product import Product, text_hash


@dataclass(frozen=True)
class EncodedProducts:
    """Named vectors of n products, and by row why a picture cannot be used."""

    vectors: Mapping[str, FloatArray]  # float32 (n, size); a row of zeros is a product that lacks this vector
    failures: Mapping[int, str]

    def of(self, row: int) -> dict[str, FloatArray]:
        """The vectors that one product has."""
        return {name: rows[row] for name, rows in self.vectors.items() if rows[row].any()}


class PictureHashes(NamedTuple):
    """The hash of each product's picture, None where there is none to use; and which cannot be used, and why."""

    hashes: list[str | None]
    failures: dict[int, str]


@dataclass(frozen=True)
class Encoders:
    """The encoders behind the named vectors of an index."""

    text: Encoder | PretrainedEncoder
    image: PictureEncoder | None = None
    joint: LearnedEncoder | None = None  # takes the others' vectors as inputs
    cache: Path = field(default_factory=Path)  # for vectors of pretrained ones

    @property
    def sizes(self) -> dict[str, int]:
        """The width of each named vector."""
        named = {TEXT: self.text, IMAGE: self.image, JOINT: self.joint}
        return {name: encoder.size for name, encoder in named.items() if encoder is not None}

    @property
    def readers(self) -> set[str]:
        """The named vectors that a text alone has."""
        return {TEXT, JOINT} & self.sizes.keys()

    def with_inputs(self, names: Collection[str]) -> set[str]:
        """Named vectors, and those that they are made from."""
        return {*names, *(self.joint.config.inputs if self.joint and JOINT in names else ())}

    def encode(
        self,
        products: Sequence[Product],
        pictures: PictureFolder | None,
        names: Collection[str] | None = None,
        *,
        known: PictureHashes | None = None,
        given: Mapping[str, FloatArray] | None = None,
    ) -> EncodedProducts:
        """Make the named vectors of n products, by default all, and those that they are made from.

        `known` are their `picture_hashes`, and `given` vectors that need not be made, (n, size) by name, or zeros.
        """
        wanted, texts = self.sizes if names is None else names, [product.text for product in products]
        vectors, failures = dict(given or {}), dict[int, str]()
        joint = self.joint if JOINT in wanted and JOINT not in vectors else None
        made = self.with_inputs(wanted)
        missing = (made if joint else set(wanted)) - vectors.keys()
        if TEXT in missing:
            vectors[TEXT] = self._texts(texts)
        if self.image is not None and self._picture_cache is not None and IMAGE in missing:
            known = known or self.picture_hashes(products, pictures)
            paths = [pictures.find(product.own_id, product.image) if pictures else None for product in products]
            vectors[IMAGE], failed = cached_pictures(self.image, paths, known.hashes, self._picture_cache)
            failures = known.failures | failed
        if joint is not None:
            vectors[JOINT] = joint.encode(texts, {name: vectors[name] for name in joint.config.inputs})
        return EncodedProducts({name: _finite(vectors[name]) for name in vectors if name in made}, failures)

    def unseen_words(self, products: Sequence[Product]) -> tuple[int, int] | None:
        """How many words of products a learned encoder has not learned from, of how many in all; None: not known."""
        for encoder in (self.text, self.joint):
            if isinstance(encoder, LearnedEncoder):
                return encoder.unseen_words([product.text for product in products])
        return None

    def picture_hashes(self, products: Sequence[Product], pictures: PictureFolder | None) -> PictureHashes:
        """Read the pictures of n products, to see which are the same and which cannot be read."""
        hashes, failures = list[str | None]([None] * len(products)), dict[int, str]()
        for row, product in enumerate(products if pictures and self.image else ()):
            path = pictures.find(product.own_id, product.image) if pictures else None
            try:
                hashes[row] = picture_hash(path) if path else None
            except PictureError as error:
                failures[row] = str(error)
        return PictureHashes(hashes, failures)

    def _texts(self, texts: Sequence[str]) -> FloatArray:
        if self._text_cache is None:
            return self.text.encode(texts)
        hashes = [text_hash(text) for text in texts]
        return cached_encode(self._text_cache, hashes, lambda rows: self.text.encode([texts[row] for row in rows]))

    @cached_property
    def _text_cache(self) -> VectorCache | None:
        """Of a pretrained encoder; a learned one is quicker than a cache."""
        identity = getattr(self.text, "identity", None)
        return VectorCache(self.cache / "vectors", identity, self.text.size) if identity else None

    @cached_property
    def _picture_cache(self) -> VectorCache | None:
        return VectorCache(self.cache / "vectors", self.image.identity, self.image.size) if self.image else None


def _finite(vectors: FloatArray) -> FloatArray:
    """Zeros in place of rows with NaN or infinity, which a store would find near everything or nothing."""
    good = np.isfinite(vectors).all(axis=1, keepdims=True)
    return vectors if good.all() else np.where(good, vectors, np.float32(0))
