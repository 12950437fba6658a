"""Fine-tunes a text encoder for categories: a linear head names the category, and the vectors under it are kept.

Imports torch: import it where used.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rubrika.encode.base import identity_of
from rubrika.encode.modules import Pooled, best_device
from rubrika.encode.text import RECIPE
from rubrika.errors import EncoderError
from rubrika.products.product import Products
from rubrika.progress import Progress
from rubrika.train.checkpoint import CHECKPOINT, State
from rubrika.train.curve import Moment
from rubrika.train.labelled import read_labelled
from rubrika.train.loop import fit, seeded
from rubrika.train.model import StandardisedLinear, load_text_base
from rubrika.train.schedule import IntArray
from rubrika.train.settings import FinetuneSettings
from rubrika.train.task import Task
from rubrika.train.validation import hold_out

# Products whose vectors show how the base's lie.
SAMPLE = 256


@dataclass(frozen=True, slots=True)
class Finetuned:
    """What came out of a fine-tuning.

    Args:
        folder: what an encoder is loaded from.
        learnt, held_out: how many products it learnt from, and was measured on.
        steps: how many it took.
        f1: weighted F1 of the best head on the held-out products.
        neighbours_f1: weighted F1 of a vote among their neighbours, by the same weights.
        history: the measurements on the way.
        failures: pictures that could not be used.
    """

    folder: Path
    learnt: int
    held_out: int
    steps: int
    f1: float
    neighbours_f1: float
    history: list[Moment]
    failures: int = 0


class TextClassifier(nn.Module):
    """A text encoder and a linear head."""

    def __init__(self, encoder: Pooled, head: StandardisedLinear) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (n, size) and scores of categories (n, categories) of texts (n, tokens)."""
        vectors = self.encoder(ids, mask)
        return vectors, self.head(vectors)


def finetune_text(
    products: Products, base: str, output: Path, settings: FinetuneSettings, progress: Progress
) -> Finetuned:
    """Fine-tune a text encoder; run again with the same arguments, it goes on where a killed run was.

    Args:
        products: labelled products, read once.
        base: `rubert`, or the name or folder of a transformers encoder.
        output: a folder that `--text-encoder` then takes, with `history.json` and `curve.svg` beside the model.
        settings: how.
        progress: where to show how far it is.

    Raises:
        EncoderError: the base cannot be used, the products do not suffice, or the folder is taken.
    """
    check_free(output, RECIPE)
    text = load_text_base(base, settings)
    labelled = read_labelled(products, progress)
    held_out = hold_out(labelled.groups, settings.holdout, settings.seed)
    tokens = text.tokenise(labelled.texts)
    device = best_device()
    sample = text.vectors([tokens[row] for row in np.flatnonzero(~held_out)[:SAMPLE]], device)
    with seeded(settings.seed):
        module = TextClassifier(text.module, StandardisedLinear(sample, labelled.categories))

    def forward(rows: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = text.padded([tokens[row] for row in rows])
        vectors, scores = module(ids.to(device), mask.to(device))
        return vectors, scores

    task = Task(
        module=module,
        forward=forward,
        fresh=("head.",),
        lengths=np.array([len(row) for row in tokens]),
        labels=labelled.labels,
        held_out=held_out,
        identity=identity_of("finetune", text.identity, labelled.identity, json.dumps(settings.training())),
    )
    output.mkdir(parents=True, exist_ok=True)
    state = fit(task, settings, output, progress)
    text.save(output)
    (output / CHECKPOINT).unlink(missing_ok=True)
    return result(output, task, state)


def check_free(output: Path, mark: str) -> None:
    """Refuse a folder that holds a finished model.

    Raises:
        EncoderError: it does.
    """
    if (output / mark).exists():
        raise EncoderError(f"{output}: a model is already here; choose another folder or delete it")


def result(output: Path, task: Task, state: State) -> Finetuned:
    """Sum a finished fine-tuning up."""
    held_out = int(task.held_out.sum())
    learnt = len(task.labels) - held_out
    return Finetuned(output, learnt, held_out, state.step, state.best_f1, task.neighbours_f1(), state.history)
