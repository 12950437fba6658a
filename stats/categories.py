"""How products are spread over categories: sizes, the long tail, and the depth of the tree."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rubrika.products.product import Category
from rubrika.stats.lengths import Numbers, Spread

# A category with fewer products than this is the tail: little can be learned of it.
TAIL_BELOW = 10
HEAD = 0.1
LISTED = 10


@dataclass(frozen=True, slots=True)
class Listed:
    """One category and how many products it has."""

    category_id: int
    category_name: str
    products: int


@dataclass(frozen=True, slots=True)
class Categories:
    """The categories of labelled products.

    Args:
        count: how many there are.
        sizes: products a category.
        singletons: categories of one product.
        tail: categories of fewer than TAIL_BELOW products.
        tail_products: the part of the products that is in the tail.
        head_products: the part of the products that is in the largest tenth of the categories.
        top: names at the top of the tree.
        depths: categories by the number of their levels, the shared root not counted.
        largest: the largest of them, ties by id.
    """

    count: int
    sizes: Spread
    singletons: int
    tail: int
    tail_products: float
    head_products: float
    top: int
    depths: dict[int, int]
    largest: list[Listed]

    @classmethod
    def of(cls, ids: Numbers, paths: Mapping[int, str]) -> "Categories":
        """Of the products' category ids (n,), at least one, and the path of each id."""
        known, sizes = np.unique(ids, return_counts=True)
        order = np.argsort(-sizes, kind="stable")
        levels = [Category(id, paths[id]).levels for id in known.tolist()]
        head = sizes[order][: -int(-HEAD * len(sizes) // 1)]
        return cls(
            count=len(known),
            sizes=Spread.doubling(sizes),
            singletons=int((sizes == 1).sum()),
            tail=int((sizes < TAIL_BELOW).sum()),
            tail_products=round(float(sizes[sizes < TAIL_BELOW].sum() / len(ids)), 4),
            head_products=round(float(head.sum() / len(ids)), 4),
            top=len({path[0] for path in levels}),
            depths=dict(sorted(Counter(map(len, levels)).items())),
            largest=[Listed(int(known[i]), paths[int(known[i])], int(sizes[i])) for i in order[:LISTED]],
        )
