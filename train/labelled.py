"""Reads labelled products into memory for fine-tuning, which sees each several times."""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import EncoderError
from rubrika.products.product import Products
from rubrika.progress import Progress


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled products, one a place: product ids, texts, categories coded 0 … `categories` - 1, and groups."""

    ids: list[int]
    texts: list[str]
    labels: NDArray[np.int64]
    groups: list[str]
    categories: int

    @property
    def identity(self) -> str:
        """16 hexadecimal digits that change when a product, its text, category or group does."""
        digest = blake2b(digest_size=8)
        for product in zip(self.ids, self.texts, self.labels.tolist(), self.groups, strict=True):
            digest.update(repr(product).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def read_labelled(products: Products, progress: Progress) -> Labelled:
    """Read all labelled products.

    Raises:
        EncoderError: fewer than two categories to tell apart.
    """
    ids, texts, groups, categories = list[int](), list[str](), list[str](), list[int]()
    with progress.stage("reading products to learn from", len(products)) as advance:
        for batch in products:
            for product in batch.products:
                if product.category is not None:
                    ids.append(product.id)
                    texts.append(product.text)
                    groups.append(product.group)
                    categories.append(product.category.id)
            advance(batch.rows)
    known, labels = np.unique(np.asarray(categories, np.int64), return_inverse=True)
    if len(known) < 2:
        raise EncoderError(
            f"fine-tuning needs at least 2 categories, the products have {len(known)}; add products of others"
        )
    return Labelled(ids, texts, labels, groups, len(known))
