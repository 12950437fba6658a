"""Gets the encoders of a new index ready: loads those that were chosen, and learns the others from the products."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.specs import picture_encoder, text_encoder
from rubrika.index.create import Choice
from rubrika.index.encoders import Encoders
from rubrika.index.index import LEARNED
from rubrika.index.manifest import IMAGE, TEXT
from rubrika.ingest.stored import stored_vectors
from rubrika.products.pictures import PictureFolder
from rubrika.products.selection import Products
from rubrika.progress import Progress
from rubrika.store.store import Store

Vectors = Mapping[str, NDArray[np.float16]]


def prepare(
    products: Products,
    pictures: PictureFolder | None,
    choice: Choice,
    cache: Path,
    progress: Progress,
    store: Store | None = None,
) -> Encoders:
    """Load and learn.

    Args:
        products: labelled products.
        pictures: where their pictures are, if anywhere.
        choice: what the user asked for.
        cache: a folder for vectors of pretrained encoders.
        progress: where to show how far it is.
        store: has these products already, and their vectors by encoders that are not learned.

    Raises:
        EncoderError: an encoder cannot be loaded, or there is too little to learn from.
    """
    # Imported here: learning needs torch, which takes seconds to load, and a daily ingest needs no learning.
    from rubrika.train.inputs import Input
    from rubrika.train.learn import learn

    image = picture_encoder(choice.image, cache) if choice.image else None
    learned = choice.text in (None, LEARNED)
    text = learn(products, progress) if learned else text_encoder(str(choice.text), backend=choice.backend, cache=cache)
    encoders = Encoders(text, image, None, cache)
    if not choice.learns_joint:
        return encoders
    # A learned text vector has seen the labels already: among its inputs it would drown out the pictures.
    names = [*([IMAGE] if image else []), *([] if learned else [TEXT])]
    vectors = _vectors(products, pictures, encoders, names, progress, store)
    inputs = {name: Input.of(rows) for name, rows in vectors.items()}
    return Encoders(text, image, learn(products, progress, inputs=inputs), cache)


def _vectors(
    products: Products,
    pictures: PictureFolder | None,
    encoders: Encoders,
    names: list[str],
    progress: Progress,
    store: Store | None,
) -> Vectors:
    parts: dict[str, list[NDArray[np.float16]]] = {name: [] for name in names}
    with progress.stage(f"encoding {' and '.join(names) or 'nothing'}", len(products)) as advance:
        for batch in products if names else ():
            if store is None:
                made = encoders.encode(batch.products, pictures, names).vectors
            else:
                sizes = {name: encoders.sizes[name] for name in names}
                made = stored_vectors(store, [product.id for product in batch.products], sizes)
            for name in names:
                parts[name].append(made[name].astype(np.float16))
            advance(batch.rows)
    return {name: np.concatenate(rows) for name, rows in parts.items()}
