"""Late fusion: how much the vote by text and the vote by picture count, found on products held back for that."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rubrika.index.create import Choice, create_index
from rubrika.index.index import Index
from rubrika.index.manifest import IMAGE, TEXT, VoteSettings
from rubrika.ingest.prepare import prepare
from rubrika.ingest.write import IngestReport, Writer
from rubrika.products.pictures import PictureFolder
from rubrika.products.selection import Products, Selection
from rubrika.progress import Progress
from rubrika.retrieve.search import find
from rubrika.retrieve.vote import fused_vote, weighted_vote

HELD_BACK = 10
WEIGHTS = np.linspace(0, 1, 21)


def late_fusion(
    products: Products, pictures: PictureFolder | None, choice: Choice, cache: Path, progress: Progress
) -> VoteSettings:
    """Hold every tenth product back, classify it by the others, and take the weights that are right most often."""
    count = sum(len(batch.products) for batch in products)
    held_back = np.arange(count) % HELD_BACK == 0
    rest = Selection(products, ~held_back)
    both = VoteSettings({TEXT: 0.5, IMAGE: 0.5})
    with TemporaryDirectory(prefix="rubrika-late-") as folder:
        encoders = prepare(rest, pictures, choice, cache, progress)
        create_index(Path(folder), choice, encoders, both)
        with Index.open(Path(folder), cache) as index:
            writer = Writer(index, pictures, IngestReport(), "")
            for batch in rest:
                writer.write(batch)
            found = list(find(index, Selection(products, held_back), pictures))
    truth = [product.category.id for one in found for product in one.batch.products if product.category]
    right = np.zeros(len(WEIGHTS))
    for place, share in enumerate(WEIGHTS):
        parts = [
            fused_vote([(weighted_vote(one.hits[name], both.temperature), w) for name, w in _pair(share).items()])
            for one in found
        ]
        right[place] = np.mean(np.concatenate([votes.winners for votes in parts]) == truth)
    # Among equals the middle one, as far from trusting one side alone as the others allow.
    best = np.flatnonzero(right == right.max())
    return VoteSettings(_pair(WEIGHTS[best[len(best) // 2]]))


def _pair(image: float) -> dict[str, float]:
    return {TEXT: round(1 - float(image), 2), IMAGE: round(float(image), 2)}
