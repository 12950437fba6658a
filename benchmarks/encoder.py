"""What each choice in the learned encoder is worth: learn with one thing changed, find neighbours exactly, vote.

    python benchmarks/encoder.py FILE --group-by COLUMN [--only PART] [--seeds 0,1]

Prints a Markdown row a variant: weighted and macro F1 on the held-out groups (mean over seeds), seconds to learn.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from rubrika.encode import hashing as features
from rubrika.eval.heldout import read_labels
from rubrika.eval.split import group_split
from rubrika.metrics import metrics_of
from rubrika.products.product import Selection
from rubrika.products.reader import Reader
from rubrika.progress import Silent
from rubrika.store.base import Hits
from rubrika.train.embed import LearnSettings, Loss, cosine_softmax, learn
from rubrika.vote import weighted_vote

Variant = tuple[str, LearnSettings, Loss | None, dict[str, object]]
DEFAULT = LearnSettings()


def contrastive(scale: float, temperature: float, share: float) -> Loss:
    """The cosine softmax and, with a share, supervised contrast within the batch (Khosla et al. 2020)."""
    softmax = cosine_softmax(scale)

    def loss(products: torch.Tensor, categories: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        unit = F.normalize(products)
        alike = (truth[:, None] == truth[None]) & ~torch.eye(len(truth), dtype=torch.bool)
        similarity = (temperature * unit @ unit.T).masked_fill(torch.eye(len(truth), dtype=torch.bool), -1e9)
        log = similarity - torch.logsumexp(similarity, 1, keepdim=True)
        contrast = -(log * alike).sum(1) / alike.sum(1).clamp(min=1)
        return softmax(products, categories, truth) + share * contrast.sum()

    return loss


def variants() -> Iterator[Variant]:
    """One thing changed at a time."""
    yield "as it is", DEFAULT, None, {}
    for scale in (5.0, 14.0, 20.0, 32.0):
        yield f"scale {scale:g}", replace(DEFAULT, scale=scale), None, {}
    for size in (64, 256):
        yield f"{size} wide", replace(DEFAULT, size=size), None, {}
    for epochs in (2, 6):
        yield f"{epochs} epochs", replace(DEFAULT, epochs=epochs), None, {}
    for rate in (0.01, 0.1):
        yield f"rate {rate:g}", replace(DEFAULT, rate=rate), None, {}
    for bits in (16,):
        yield f"2^{bits} rows", replace(DEFAULT, bits=bits), None, {}
    yield "label smoothing 0.1", DEFAULT, cosine_softmax(DEFAULT.scale, 0.1), {}
    yield "with supervised contrast", DEFAULT, contrastive(DEFAULT.scale, 10.0, 0.5), {}
    yield "words, pairs and parts count the same", DEFAULT, None, {"WORD_WEIGHT": 1.0, "PAIR_WEIGHT": 1.0}
    yield "words count 6, pairs 4", DEFAULT, None, {"WORD_WEIGHT": 6.0, "PAIR_WEIGHT": 4.0}
    yield "no pairs", DEFAULT, None, {"PAIR_WEIGHT": 0.0}
    yield "no sub-words", DEFAULT, None, {"GRAM_WEIGHT": 0.0}
    yield "sub-words of 3 and 4", DEFAULT, None, {"GRAM_LENGTHS": (3, 4)}
    yield "sub-words of 2 to 6", DEFAULT, None, {"GRAM_LENGTHS": (2, 3, 4, 5, 6)}


@contextmanager
def changed(constants: dict[str, object]) -> Iterator[None]:
    """Features built with other constants, for a while."""
    kept = {name: getattr(features, name) for name in constants}
    try:
        for name, value in constants.items():
            setattr(features, name, value)
        yield
    finally:
        for name, value in kept.items():
            setattr(features, name, value)


def neighbours(known: np.ndarray, asked: np.ndarray, categories: np.ndarray, top_k: int) -> Hits:
    """Exact neighbours of each asked vector."""
    table, scores, places = torch.from_numpy(known).T.contiguous(), [], []
    for start in range(0, len(asked), 512):
        best = (torch.from_numpy(asked[start : start + 512]) @ table).topk(top_k, 1)
        scores.append(best.values.numpy())
        places.append(best.indices.numpy())
    place = np.concatenate(places)
    return Hits(place.astype(np.uint64), np.concatenate(scores), categories[place])


def main() -> None:
    """Try every variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--group-by", required=True)
    parser.add_argument("--only", default="", help="variants whose name holds this")
    parser.add_argument("--seeds", default="0")
    options = parser.parse_args()
    reader = Reader([options.file], labelled=True, group_by=options.group_by)
    labels = read_labels(reader, Silent())
    held_out = group_split(labels.ids, labels.groups, 0.1, 0, options.group_by).held_out
    texts = [product.text for batch in reader for product in batch.products]
    known, asked = ([texts[i] for i in np.flatnonzero(part)] for part in (~held_out, held_out))
    print("| variant | weighted F1 | macro F1 | learn s |\n|---|---|---|---|")
    for name, settings, loss, constants in variants():
        if options.only in name:
            runs = []
            for seed in map(int, options.seeds.split(",")):
                with changed(constants):
                    runs.append(
                        _run(Selection(reader, ~held_out), known, asked, labels, held_out, settings, loss, seed)
                    )
            weighted, macro, seconds = np.mean(runs, axis=0)
            print(f"| {name} | {weighted:.4f} | {macro:.4f} | {seconds:.0f} |", flush=True)


def _run(
    products: Selection,
    known: list[str],
    asked: list[str],
    labels: object,
    held_out: np.ndarray,
    settings: LearnSettings,
    loss: Callable[..., torch.Tensor] | None,
    seed: int,
) -> tuple[float, float, float]:
    started = time.monotonic()
    encoder = learn(products, Silent(), replace(settings, seed=seed), loss)
    seconds = time.monotonic() - started
    hits = neighbours(encoder.encode(known), encoder.encode(asked), labels.categories[~held_out], 10)
    found = metrics_of(labels.categories[held_out], weighted_vote(hits, 60.0).winners)
    return found.weighted_f1, found.macro_f1, seconds


if __name__ == "__main__":
    main()
