"""Predictions in memory, as arrays, with all that they rest on: another bound of errors needs no other search."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import RubrikaError
from rubrika.index.calibration import Calibration
from rubrika.products.product import Reject
from rubrika.retrieve.decide import NEW, REVIEW, rethreshold
from rubrika.retrieve.vote import NO_CATEGORY, Votes
from rubrika.store.store import FloatArray, Hits

if TYPE_CHECKING:
    import pandas as pd

MAX_SIGNED = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was found for n products that could be read, in their order; rows that could not are in `rejects`.

    Args:
        product_ids: uint64 (n,).
        categories: the predicted category ids, int64 (n,); -1 where the index found nothing.
        names: the paths of these categories, str (n,); None where there is none.
        confidences: how likely each prediction is right, float32 (n,).
        decisions: `auto`, `review` or `new`, str (n,).
        rejects: rows that are no products, with their reasons.
        places: where each product stands among all rows, good and bad, from 0, int64 (n,).
        votes: every category that was voted for, and its share, (n, k).
        hits: the neighbours that voted, (n, top_k), by named vector.
        unusable: how many pictures could not be used, by reason.
        calibration: of the index.
    """

    product_ids: NDArray[np.uint64]
    categories: NDArray[np.int64]
    names: NDArray[np.object_]
    confidences: FloatArray
    decisions: NDArray[np.str_]
    rejects: tuple[Reject, ...]
    places: NDArray[np.int64] = field(repr=False)
    votes: Votes = field(repr=False)
    hits: Mapping[str, Hits] = field(repr=False)
    unusable: Mapping[str, int]
    calibration: Calibration = field(repr=False)

    def decide(self, max_error: float) -> "Predictions":
        """The same predictions, decided anew; nothing is searched again.

        Args:
            max_error: the part of automatic answers that may be wrong, 0 … 1.

        Raises:
            RubrikaError: it is no such part.
        """
        auto_from = self.calibration.auto_from(checked(max_error))
        return replace(self, decisions=rethreshold(self.confidences, self.decisions == NEW, auto_from))

    def to_frame(self) -> "pd.DataFrame":
        """A row an input row, in its order; one that could not be read has no prediction and is for `review`.

        Its columns are those of details.parquet that hold one value: product_id, predicted_category_id,
        predicted_category_name, confidence, decision.
        """
        import pandas as pd

        count = len(self.product_ids) + len(self.rejects)
        ids, categories, names = (np.full(count, None, object) for _ in range(3))
        confidences, decisions = np.full(count, np.nan, np.float32), np.full(count, REVIEW, object)
        known = self.categories != NO_CATEGORY
        ids[self.places] = self.product_ids
        ids[np.setdiff1d(np.arange(count), self.places)] = [_id(reject) for reject in self.rejects]
        categories[self.places[known]] = self.categories[known]
        names[self.places], confidences[self.places] = self.names, self.confidences
        decisions[self.places] = self.decisions
        large = any(id is not None and id > MAX_SIGNED for id in ids)
        return pd.DataFrame(
            {
                "product_id": pd.array(ids, "UInt64" if large else "Int64"),
                "predicted_category_id": pd.array(categories, "Int64"),
                "predicted_category_name": names,
                "confidence": confidences,
                "decision": decisions,
            }
        )


def checked(max_error: float) -> float:
    """A part of errors that can be asked for.

    Raises:
        RubrikaError: it is none.
    """
    if not isinstance(max_error, Real) or not 0 <= max_error <= 1:
        raise RubrikaError(f"max_error is a part of the answers, from 0 to 1, not {max_error}")
    return max_error


def _id(reject: Reject) -> int | None:
    """The id of an unreadable row, where it has one."""
    said = reject.product_id
    # A longer one is no id, and might be too long to read.
    return int(said) if said.isdecimal() and len(said) <= 20 and int(said) < 2**64 else None
