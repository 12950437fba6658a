"""Fine-tunes a text and a picture encoder together."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from rubrika.encode.base import identity_of
from rubrika.products.images import PictureFolder
from rubrika.products.product import Product, Products
from rubrika.progress import Progress
from rubrika.train.finetune import Finetuned, Inputs, Labelled, Task, check_free, fit, read_labelled
from rubrika.train.model import (
    FinetuneSettings,
    PictureBase,
    StandardisedLinear,
    TextBase,
    load_picture_base,
    load_text_base,
    seeded,
)

TEXT, IMAGE, CONFIG = "text", "image", "config.json"


@dataclass(frozen=True, slots=True)
class JointSettings(FinetuneSettings):
    """As FinetuneSettings, which freeze layers of both encoders, and for the vector of both."""

    size: int = 128  # of the vector of both
    modality_dropout: float = 0.3  # how often a product with a picture is shown without its text or without the picture
    scale: float = 10.0  # of the cosine between products and categories in the softmax


class JointClassifier(nn.Module):
    """Both encoders, the projections of their vectors of length 1, and a vector of each category."""

    def __init__(
        self,
        text: nn.Module,
        vision: nn.Module,
        samples: tuple[torch.Tensor, torch.Tensor],  # vectors of length 1 that the encoders give before training
        categories: int,
        settings: JointSettings,
    ) -> None:
        super().__init__()
        self.text, self.vision = text, vision
        self.text_projection = StandardisedLinear(samples[0], settings.size)
        self.picture_projection = StandardisedLinear(samples[1], settings.size)
        self.categories = nn.Parameter(torch.randn(categories, settings.size))
        self._dropout, self._scale = settings.modality_dropout, settings.scale

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, pixels: torch.Tensor | None, seen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (n, size) and scores of categories (n, categories) of texts (n, tokens) and pictures.

        The pixels are (m, 3, height, width), of the products that have a picture; `seen`, bool (n,), says which.
        """
        texts = self.text_projection(F.normalize(self.text(ids, mask).float()))
        pictures = torch.zeros_like(texts)
        if pixels is not None:
            pictures[seen] = self.picture_projection(F.normalize(self.vision(pixels).float()))
        if self.training:
            drawn = torch.rand(len(seen), device=seen.device)
            texts = texts.masked_fill((seen & (drawn < self._dropout / 2))[:, None], 0)
            pictures = pictures.masked_fill((drawn > 1 - self._dropout / 2)[:, None], 0)
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
    """Train a text and a picture encoder together; the same call goes on where a run was stopped or killed.

    A product without a usable picture is trained on its text. The bases are `rubert` and `vit`, or names or folders of
    transformers models; `output` gets `text/` and `image/`, the folders of the two encoders.
    """
    check_free(output, CONFIG)
    text, vision = load_text_base(text_base, settings), load_picture_base(image_base, settings)
    with TemporaryDirectory(prefix="rubrika-pictures-") as folder:
        spool = Path(folder)
        labelled = read_labelled(products, settings, progress, partial(_picture, pictures, spool))
        return _finetuned(labelled, spool, text, vision, output, settings, progress)


def _picture(pictures: PictureFolder, spool: Path, product: Product) -> Path | None:
    """The file of a product's picture; one that its row holds is kept in a folder, not in memory."""
    found = pictures.find(product.own_id, product.image)
    if not isinstance(found, bytes):
        return found
    path = spool / blake2b(found, digest_size=16).hexdigest()
    path.write_bytes(found)
    return path


def _finetuned(
    labelled: Labelled,
    spool: Path,
    text: TextBase,
    vision: PictureBase,
    output: Path,
    settings: JointSettings,
    progress: Progress,
) -> Finetuned:
    tokens, paths = text.tokenise(labelled.texts), labelled.pictures
    learnt = np.flatnonzero(~labelled.held_out)
    seen = text.sample([tokens[row] for row in learnt]), vision.sample([paths[row] for row in learnt])
    samples = F.normalize(seen[0]), F.normalize(seen[1])
    with seeded(settings.seed):
        module = JointClassifier(text.module, vision.module, samples, labelled.categories, settings)

    def collate(rows: Sequence[int]) -> Inputs:
        ids, mask = text.padded([tokens[row] for row in rows])
        pixels, seen = vision.pixels([paths[row] for row in rows])
        return {"ids": ids, "mask": mask, "pixels": pixels, "seen": seen}

    def save(folder: Path) -> None:
        text.save(folder / TEXT)
        vision.save(folder / IMAGE)
        config = {"format": 1, "settings": asdict(settings)}
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    # Those of rows are called as their content is, in another folder every time.
    names = [path and (path.name if path.parent == spool else path) for path in paths]
    identity = identity_of("joint", text.identity, vision.identity, labelled.identity, names)
    head = ("text_projection.", "picture_projection.", "categories")
    task = Task(module, head, labelled, [len(row) for row in tokens], collate, identity)
    return replace(fit(task, settings, output, progress, save), failures=len(vision.failures))
