"""Fine-tunes a text and a picture encoder together."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from rubrika.encode.base import identity_of
from rubrika.encode.modules import best_device
from rubrika.products.images import PictureFolder
from rubrika.products.product import Products
from rubrika.progress import Progress
from rubrika.train.checkpoint import CHECKPOINT
from rubrika.train.finetune import SAMPLE, Finetuned, check_free, result
from rubrika.train.labelled import Labelled, read_labelled
from rubrika.train.loop import fit, seeded
from rubrika.train.model import PictureBase, StandardisedLinear, TextBase, load_picture_base, load_text_base
from rubrika.train.schedule import IntArray
from rubrika.train.settings import FinetuneSettings
from rubrika.train.task import Task
from rubrika.train.validation import hold_out

TEXT, IMAGE, CONFIG = "text", "image", "config.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class JointSettings(FinetuneSettings):
    """As FinetuneSettings, which freeze layers of both encoders, and for the vector of both.

    Args:
        size: its width.
        left_out: how often a product with a picture is shown without its text or without its picture.
        scale: of the cosine between products and categories in the softmax.
    """

    size: int = 128
    left_out: float = 0.3
    scale: float = 10.0


class JointClassifier(nn.Module):
    """Both encoders, the projections of their vectors of length 1, and a vector of each category."""

    def __init__(
        self,
        text: nn.Module,
        sight: nn.Module,
        samples: tuple[torch.Tensor, torch.Tensor],
        count: int,
        by: JointSettings,
    ) -> None:
        """Join the encoders.

        Args:
            text: token ids and mask to vectors.
            sight: pixels to vectors.
            samples: vectors of length 1 that the two give before training.
            count: how many categories there are.
            by: settings.
        """
        super().__init__()
        self.text, self.sight = text, sight
        self.text_projection = StandardisedLinear(samples[0], by.size)
        self.picture_projection = StandardisedLinear(samples[1], by.size)
        self.categories = nn.Parameter(torch.randn(count, by.size))
        self._left_out, self._scale = by.left_out, by.scale

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, pixels: torch.Tensor | None, seen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (n, size) and scores of categories (n, categories).

        Args:
            ids: tokens (n, longest).
            mask: attention mask of them.
            pixels: of the products that have a picture (m, 3, height, width).
            seen: bool (n,), which these are.
        """
        texts = self.text_projection(F.normalize(self.text(ids, mask).float()))
        pictures = torch.zeros_like(texts)
        if pixels is not None:
            pictures[seen] = self.picture_projection(F.normalize(self.sight(pixels).float()))
        if self.training:
            drawn = torch.rand(len(seen), device=seen.device)
            texts = texts.masked_fill((seen & (drawn < self._left_out / 2))[:, None], 0)
            pictures = pictures.masked_fill((drawn > 1 - self._left_out / 2)[:, None], 0)
        vectors = F.normalize(texts + pictures)
        return vectors, self._scale * vectors @ F.normalize(self.categories).T


def finetune_joint(
    products: Products,
    pictures: PictureFolder,
    text_base: str,
    image_base: str,
    output: Path,
    settings: JointSettings,
    progress: Progress,
) -> Finetuned:
    """Train a text and a picture encoder together; run again with the same arguments, it resumes after a kill.

    Args:
        products: labelled products, read once.
        pictures: theirs; a product without a usable one is trained on its text.
        text_base: `rubert`, or the name or folder of a transformers encoder.
        image_base: `vit`, or the name or folder of a transformers vision model.
        output: gets `text/` for `--text-encoder` and `image/` for `--image-encoder`.
        settings: how.
        progress: where to show how far it is.

    Raises:
        EncoderError: a base cannot be used, the products do not suffice, or the folder is taken.
    """
    check_free(output, CONFIG)
    text, sight = load_text_base(text_base, settings), load_picture_base(image_base, settings)
    labelled = read_labelled(products, progress)
    task = _task(labelled, pictures, text, sight, settings)
    output.mkdir(parents=True, exist_ok=True)
    state = fit(task, settings, output, progress)
    text.save(output / TEXT)
    sight.save(output / IMAGE)
    config = {"format": FORMAT, "settings": asdict(settings)}
    (output / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (output / CHECKPOINT).unlink(missing_ok=True)
    return replace(result(output, task, state), failures=len(sight.failures))


def _task(
    labelled: Labelled, pictures: PictureFolder, text: TextBase, sight: PictureBase, settings: JointSettings
) -> Task:
    device = best_device()
    tokens = text.tokenise(labelled.texts)
    paths = [pictures.find(product) for product in labelled.ids]
    held_out = hold_out(labelled.groups, settings.holdout, settings.seed)
    learnt = np.flatnonzero(~held_out)
    texts = F.normalize(text.vectors([tokens[row] for row in learnt[:SAMPLE]], device))
    looks = F.normalize(sight.vectors([paths[row] for row in learnt if paths[row]][:SAMPLE], device))
    with seeded(settings.seed):
        module = JointClassifier(text.module, sight.module, (texts, looks), labelled.categories, settings)

    def forward(rows: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = text.padded([tokens[row] for row in rows])
        pixels, seen = sight.pixels([paths[row] for row in rows])
        shown = None if pixels is None else pixels.to(device)
        vectors, scores = module(ids.to(device), mask.to(device), shown, seen.to(device))
        return vectors, scores

    return Task(
        module=module,
        forward=forward,
        fresh=("text_projection.", "picture_projection.", "categories"),
        lengths=np.array([len(row) for row in tokens]),
        labels=labelled.labels,
        held_out=held_out,
        identity=identity_of(
            "together", text.identity, sight.identity, labelled.identity, paths, json.dumps(settings.training())
        ),
    )
