"""Category names for the ids that won a vote, asked from the store once each."""

from collections.abc import Mapping

import numpy as np

from rubrika.retrieve.vote import Votes
from rubrika.store.store import Hits, Store


class CategoryNames:
    """Paths of categories by id, learned from the payloads of the hits that voted for them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._paths: dict[int, str] = {}

    def of(self, hits: Mapping[str, Hits], votes: Votes) -> list[str | None]:
        """The path of the winning category of each product, None where nothing was found."""
        ids = np.concatenate([found.ids for found in hits.values()], axis=1)
        categories = np.concatenate([found.categories for found in hits.values()], axis=1)
        witnesses = ids[np.arange(len(ids)), (categories == votes.winners[:, None]).argmax(axis=1)]
        unknown = {
            category: witness
            for category, witness in zip(votes.winners.tolist(), witnesses.tolist(), strict=True)
            if category not in self._paths and category >= 0
        }
        for point in self._store.fetch(list(unknown.values())).values() if unknown else ():
            self._paths[point.payload["category_id"]] = point.payload["category_path"]
        return [self._paths.get(category) for category in votes.winners.tolist()]
