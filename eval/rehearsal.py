"""A rehearsal within the training part, where whatever has to be chosen can be chosen without a look at held-out rows.

Some products are kept apart and the others learned from, encoders included: vectors of products that an encoder has
learned from are too good, and what is chosen by them is chosen wrongly.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rubrika.baselines.baseline import BaselineError, Part
from rubrika.encode.learned import LearnedEncoder
from rubrika.eval.split import Rows, fitting
from rubrika.index.encoders import Encoders
from rubrika.index.folder import LEARNED, Choice, Index
from rubrika.index.manifest import JOINT, TEXT
from rubrika.ingest.ingest import prepare
from rubrika.products.images import PictureFolder
from rubrika.products.product import Products, Selection
from rubrika.progress import Progress

# Enough to choose on, and no longer to wait for with millions of products.
MOST = 40_000
APART = 0.1


@dataclass(frozen=True)
class Rehearsal:
    """Two parts of the training part: one to learn from, one to measure on.

    Args:
        train: the first.
        apart: the second.
        encoders: whether encoders were learned from the first.
        seconds: that it took to get them ready.
    """

    train: Part
    apart: Part
    encoders: bool
    seconds: float


def rehearsal_of(
    part: Part,
    index: Index,
    products: Products,
    pictures: PictureFolder | None,
    choice: Choice | None,
    cache: Path,
    seed: int,
    progress: Progress,
) -> Rehearsal:
    """Draw whole groups, up to 40,000 products, keep a tenth of them apart, and learn encoders from the rest.

    Args:
        part: the training part, with the stored vectors that will be looked at, and those they are made from.
        index: which has these products.
        products: the same, in the same order.
        pictures: theirs, if any.
        choice: how the index was made.
        cache: a folder for vectors of pretrained encoders.
        seed: of the drawing.
        progress: where to show how far it is.

    Raises:
        BaselineError: all products belong together.
        EncoderError: too little is left to learn from.
    """
    started = time.monotonic()
    train, apart = drawn(part.groups, seed)
    both = [part.rows(rows) for rows in (train, apart)]
    learned = {name for name in part.vectors if index.manifest.vectors[name].encoder == LEARNED}
    if learned:
        choice = choice or Choice()
        if JOINT not in learned:
            # Nobody looks at it, so that none is learned.
            choice = replace(choice, image=None, vote=None)
        chosen = np.zeros(len(part), bool)
        chosen[train] = True
        encoders = prepare(Selection(products, chosen), pictures, choice, cache, progress, index.store)
        both = [_encoded(each, encoders, learned) for each in both]
    return Rehearsal(both[0], both[1], bool(learned), time.monotonic() - started)


def _encoded(part: Part, encoders: Encoders, learned: Collection[str]) -> Part:
    """The same products with the vectors of other learned encoders."""
    vectors = dict(part.vectors)
    if TEXT in learned and isinstance(encoders.text, LearnedEncoder):
        vectors[TEXT] = encoders.text.encode(part.texts)
    if JOINT in learned and encoders.joint:
        given = {name: part.vectors[name] for name in encoders.joint.config.inputs}
        vectors[JOINT] = encoders.joint.encode(part.texts, given)
    return replace(part, vectors=vectors)


def drawn(groups: Rows, seed: int) -> tuple[Rows, Rows]:
    """Which rows are learned from and which are kept apart, both ascending; a group is whole on one side, or left out.

    Raises:
        BaselineError: there is only one group.
    """
    code = np.unique(groups, return_inverse=True)[1]
    size = np.bincount(code)
    if len(size) < 2:
        raise BaselineError("all products to learn from belong to one group, so none can be kept apart")
    order = np.random.default_rng(seed).permutation(len(size))
    both = fitting(size, order, MOST)
    if len(both) < 2:
        both = order[np.argsort(size[order], kind="stable")[:2]]
    apart = fitting(size, both, size[both].sum() * APART)
    return np.flatnonzero(np.isin(code, np.setdiff1d(both, apart))), np.flatnonzero(np.isin(code, apart))
