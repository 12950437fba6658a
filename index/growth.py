"""How an index has grown since its encoder learned, and whether learning again would pay."""

from dataclasses import dataclass

from rubrika.index.index import Index

# Products of new categories are found, but less surely than after learning again: see docs/ingesting.md.
NEW_SHARE = 0.01
GROWN = 1.5


@dataclass(frozen=True, slots=True)
class Growth:
    """What has come since the encoder learned.

    Args:
        learned_from: how many products it learned from.
        products: how many there are more (or fewer) now.
        categories: how many categories it has never seen.
        unseen: how many products are in those.
        learning_pays: whether they are many enough to learn again.
    """

    learned_from: int
    products: int
    categories: int
    unseen: int
    learning_pays: bool


def growth(index: Index) -> Growth | None:
    """Compare an open index with what its encoder learned from; None when no encoder of it is learned."""
    config = next(iter(index.learned.values()), None)
    if config is None:
        return None
    known = set(config.categories)
    unseen = {category: count for category, count in index.store.facet("category_id").items() if category not in known}
    total, count = sum(unseen.values()), index.store.count()
    pays = total > NEW_SHARE * count or count > GROWN * config.products
    return Growth(config.products, count - config.products, len(unseen), total, pays)
