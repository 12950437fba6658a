"""What is kept of each product while files are read: small numbers, never its texts."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.features import MAX_CHARACTERS, features_of
from rubrika.products.product import Product, text_hash
from rubrika.stats.lengths import Numbers
from rubrika.stats.scripts import scripts_of
from rubrika.stats.sketch import Sketches, sketches_of
from rubrika.stats.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Rows:
    """n products, 176 bytes each.

    Args:
        ids: product ids, uint64 (n,).
        characters: of their texts, int64 (n,).
        tokens: of their texts, uncut, int64 (n,).
        texts: hashes of their texts, uint64 (n,).
        sketches: of their texts, uint16 (n, PLACES).
        scripts: of their texts, places in SCRIPTS, uint8 (n,).
        groups: hashes of what they are grouped by, uint64 (n,).
        categories: their ids, int64 (n,), or nothing (0,) where nothing is labelled.
    """

    ids: NDArray[np.uint64]
    characters: Numbers
    tokens: Numbers
    texts: NDArray[np.uint64]
    sketches: Sketches
    scripts: NDArray[np.uint8]
    groups: NDArray[np.uint64]
    categories: Numbers

    def __len__(self) -> int:
        """How many products there are."""
        return len(self.ids)

    @classmethod
    def of(cls, products: Sequence[Product], tokens: Tokens) -> "Rows":
        """Of products, at least one."""
        texts = [product.text for product in products]
        # What a sketch sees of a text is what the learned encoder reads.
        features = features_of([text[:MAX_CHARACTERS] for text in texts])
        return cls(
            np.array([product.id for product in products], np.uint64),
            np.array([len(text) for text in texts], np.int64),
            tokens.count(texts, features),
            _hashed(texts),
            sketches_of(features),
            scripts_of(texts),
            _hashed([product.group for product in products]),
            np.array([product.category.id for product in products if product.category], np.int64),
        )

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """Those of several batches, in order, at least one."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def _hashed(texts: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(text_hash(text), 16) for text in texts], np.uint64)
