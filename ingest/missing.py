"""Deletes stored products that a catalogue no longer has; a row that was set aside still stands for its product."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from rubrika.products.product import Reject
from rubrika.store.store import Point, Store

MAX_DIGITS = 20


def doubt(seen: Collection[int], rejects: Sequence[Reject], place: str) -> str | None:
    """Why it is uncertain which products a catalogue has, so that none may be deleted; None: it is certain.

    Args:
        seen: the ids of its good rows.
        rejects: its other rows.
        place: where it is, for people.
    """
    if not seen:
        # An empty export is a mistake, not an empty shop.
        return f"{place}: no product can be read there, so none was deleted; export it again"
    for reject in rejects:
        if _id(reject) is None:
            return (
                f"{reject.file} row {reject.row}: its product_id cannot be read, so nobody knows which product it "
                f"stands for, and none was deleted; mend it and run the same command again"
            )
    return None


def delete_missing(store: Store, seen: Collection[int], rejects: Sequence[Reject]) -> int:
    """Delete the stored products that have no row, when there is no `doubt`; gives how many."""
    stored = np.concatenate([np.zeros(0, np.uint64), *(_ids(page) for page in store.scroll(payload=False))])
    aside = (id for id in map(_id, rejects) if id is not None)
    kept = np.fromiter((id for id in (*seen, *aside) if id < 2**64), np.uint64)
    missing = np.setdiff1d(stored, kept).tolist()
    if missing:
        store.delete(missing)
    return len(missing)


def _id(reject: Reject) -> int | None:
    """The id of a row that was set aside, where it can be read to the last digit."""
    text = reject.product_id
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else None


def _ids(page: list[Point]) -> NDArray[np.uint64]:
    return np.array([point.id for point in page], np.uint64)
