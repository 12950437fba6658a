"""Puts the batches of a run together as predictions in memory; of their products only the ids stay."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rubrika.api.predictions import Predictions
from rubrika.index.calibration import Calibration
from rubrika.index.manifest import VoteSettings
from rubrika.retrieve.classify import Classified
from rubrika.retrieve.vote import NO_CATEGORY, Votes
from rubrika.store.store import Hits


def collect(batches: Iterable[Classified], calibration: Calibration, vote: VoteSettings) -> Predictions:
    """All batches of a run as one.

    Args:
        batches: as `classify` yields them.
        calibration: of the index.
        vote: what they were voted by.
    """
    parts, rows = list[Predictions](), 0
    for one in batches:
        parts.append(_part(one, rows, calibration))
        rows += one.batch.rows
    return _joined(parts) if parts else _none(calibration, vote)


def _part(one: Classified, start: int, calibration: Calibration) -> Predictions:
    """One batch, `start` rows having come before it."""
    products, rejects, votes = one.batch.products, one.batch.rejects, one.votes
    numbers = [product.row for product in products]
    winners = np.where(votes.shares[:, 0] > 0, votes.winners, NO_CATEGORY)
    return Predictions(
        product_ids=np.array([product.id for product in products], np.uint64),
        categories=winners,
        names=np.array([one.tree.path(id) for id in winners.tolist()], object),
        confidences=one.decided.confidences,
        decisions=one.decided.decisions,
        rejects=tuple(rejects),
        places=start + np.searchsorted(np.sort(numbers + [reject.row for reject in rejects]), numbers),
        votes=votes,
        hits=one.hits,
        unusable=one.failures,
        calibration=calibration,
    )


def _joined(parts: Sequence[Predictions]) -> Predictions:
    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    return Predictions(
        product_ids=joined("product_ids"),
        categories=joined("categories"),
        names=joined("names"),
        confidences=joined("confidences"),
        decisions=joined("decisions"),
        rejects=tuple(reject for part in parts for reject in part.rejects),
        places=joined("places"),
        votes=Votes(
            np.concatenate([part.votes.categories for part in parts]),
            np.concatenate([part.votes.shares for part in parts]),
        ),
        hits={name: Hits.joined([part.hits[name] for part in parts]) for name in parts[0].hits},
        unusable=sum((Counter(part.unusable) for part in parts), Counter[str]()),
        calibration=parts[0].calibration,
    )


def _none(calibration: Calibration, vote: VoteSettings) -> Predictions:
    """Of no rows at all."""
    whole, real = np.zeros(0, np.int64), np.zeros(0, np.float32)
    votes = Votes(np.zeros((0, 1), np.int64), np.zeros((0, 1), np.float32))
    ids, names, decisions = whole.astype(np.uint64), whole.astype(object), whole.astype("U6")
    hits = {name: Hits.none(0, vote.top_k) for name in vote.weights}
    return Predictions(ids, whole, names, real, decisions, (), whole, votes, hits, {}, calibration)
