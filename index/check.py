"""Reads a whole index and says what is wrong with it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rubrika.index.index import Index
from rubrika.index.manifest import IMAGE
from rubrika.store.store import Payload, Point

# A vector's length may differ so much from 1.
TOLERANCE = 1e-3
_CATEGORY = {"category_id": int, "category": str, "category_path": str, "category_levels": list}


@dataclass
class Checked:
    """What was found.

    Args:
        products: how many were read.
        problems: what is wrong, and with how many products, or once with the index itself.
        damaged: the ids of products that have a problem.
    """

    products: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    damaged: set[int] = field(default_factory=set)

    def add(self, what: str, ids: Sequence[int]) -> None:
        """Note the same problem of several products."""
        if ids:
            self.problems[what] += len(ids)
            self.damaged.update(ids)


def check(index: Index) -> Checked:
    """Read every point, some thousands at a time."""
    found = Checked()
    for page in index.store.scroll(payload=True, vectors=True):
        found.products += len(page)
        for name, size in index.manifest.sizes.items():
            _check_vectors(found, page, name, size)
        _check_payloads(found, page)
    expected = index.manifest.contents.products
    if expected is None:
        found.problems["the last change of the index was interrupted; run it again"] += 1
    elif expected != found.products:
        found.problems[f"it held {expected:,} products when it was last changed, and holds {found.products:,}"] += 1
    return found


def _check_vectors(found: Checked, page: Sequence[Point], name: str, size: int) -> None:
    there = [point for point in page if name in point.vectors]
    if len(there) < len(page):
        lacking = (point for point in page if name not in point.vectors)
        found.add(f"without a vector {name}", [point.id for point in lacking if _needs(name, point.payload)])
    fitting = [point for point in there if point.vectors[name].shape == (size,)]
    found.add(
        f"with a vector {name} of another size", [point.id for point in there if point.vectors[name].shape != (size,)]
    )
    if fitting:
        rows = np.stack([point.vectors[name] for point in fitting])
        finite = np.asarray(np.isfinite(rows).all(axis=1))
        length = np.linalg.norm(np.where(finite[:, None], rows, 0), axis=1)
        found.add(f"with a vector {name} that is not finite", _ids(fitting, ~finite))
        found.add(
            f"with a vector {name} that is not of length 1", _ids(fitting, finite & (abs(length - 1) > TOLERANCE))
        )


def _needs(vector: str, payload: Payload) -> bool:
    """A product without a usable picture has no picture vector."""
    return vector != IMAGE or ("image_hash" in payload and "image_error" not in payload)


def _check_payloads(found: Checked, page: Sequence[Point]) -> None:
    found.add("without a category", [point.id for point in page if not _has_category(point.payload)])
    found.add("without the hash of its text", [point.id for point in page if "text_hash" not in point.payload])
    found.add("under the id of another", [point.id for point in page if point.payload.get("product_id") != point.id])


def _has_category(payload: Mapping[str, object]) -> bool:
    return all(isinstance(payload.get(key), kind) for key, kind in _CATEGORY.items())


def _ids(points: Sequence[Point], chosen: NDArray[np.bool_]) -> list[int]:
    return [point.id for point, it in zip(points, chosen, strict=True) if it]
