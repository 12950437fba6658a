"""What fine-tuning starts from: its settings, and a text or picture encoder that is loaded, frozen and saved."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from rubrika.encode.base import fingerprint, max_positions
from rubrika.encode.hub import model_folder, quiet_transformers
from rubrika.encode.image import MAX_SIDE, THREADS
from rubrika.encode.modules import JointVision, Pooled, best_device, inference_mode, load_joint_vision, load_pooled
from rubrika.encode.registry import RUBERT, VIT
from rubrika.encode.text import RECIPE, Pooling, Recipe
from rubrika.errors import EncoderError
from rubrika.products.images import PictureError, open_picture

CHUNK = 4_096  # texts tokenised at once: what comes out as lists of numbers takes ten times the memory of what is kept
# Products whose vectors show how an encoder's lie, and how many of them are encoded at once.
SAMPLE, BATCH = 256, 32


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """What to train, and how."""

    epochs: int = 3  # how often every product is seen
    minutes: float | None = None  # stop after so long, with the learning rate at zero; None: after the epochs
    batch_size: int = 32  # maximum number of products a step
    batch_tokens: int = 4_096  # maximum number of tokens a step, padding included
    max_tokens: int | None = None  # longer texts are cut; None: as the base says
    pooling: Pooling | None = None  # how a vector is made of tokens; None: as the base says
    prompt: str | None = None  # precedes every text; None: as the base says
    learning_rate: float = 5e-5  # of pretrained weights
    head_learning_rate: float = 5e-3  # of weights that start from random numbers
    warmup: float = 0.1  # the part of the run in which learning rates rise; in the rest they fall to zero
    weight_decay: float = 0.01  # of matrices; biases and the scales of norms have none
    max_grad_norm: float = 1.0  # longer gradients are shortened to this
    contrast: float = 0.0  # weight of a supervised contrastive term beside cross-entropy (Khosla et al. 2020)
    temperature: float = 0.1  # of that term
    freeze_layers: int | None = None  # embeddings and so many first layers stay as they are; None: train everything
    mixed_precision: bool | None = None  # compute in half precision where layers bear it; None: on a GPU only
    holdout: float = 0.1  # the part of the products that is held out to measure on, in whole groups
    validate_steps: int | None = None  # measure after so many steps; None: ten times during the run
    patience: int | None = 4  # stop after so many measurements without a better F1; None: never
    checkpoint_minutes: float = 10.0  # save what a run resumes from so often, and at every measurement
    checkpoint_steps: int | None = None  # also after so many steps
    seed: int = 0  # of the held-out part, the first weights, the order of products, and dropout


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers from a seed, and leave those of the caller as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


class StandardisedLinear(nn.Module):
    """A linear layer (n, width) to (n, size) over vectors of mean 0 and deviation 1, as measured on a sample, once."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, sample: torch.Tensor, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", sample.mean(0))
        self.register_buffer("deviation", sample.std(0, correction=0).clamp(min=1e-6))
        self.linear = nn.Linear(sample.shape[1], size)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """What comes out, in full precision."""
        out: torch.Tensor = self.linear((vectors.float() - self.mean) / self.deviation).float()
        return out


def _encoded(module: nn.Module, batches: Iterable[tuple[torch.Tensor, ...]]) -> torch.Tensor:
    """Vectors (n, size) of batches of inputs, by the weights of now."""
    device = best_device()
    module.to(device).eval()
    with inference_mode(device):
        parts = [module(*(part.to(device) for part in batch)).float().cpu() for batch in batches]
    return torch.cat(parts).clone()


@dataclass(frozen=True)
class TextBase:
    """A text encoder with its tokenizer and recipe; `identity` changes with the model's files."""

    module: Pooled
    tokenizer: Any
    recipe: Recipe
    identity: str

    def tokenise(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """Token ids of each text, cut to what the recipe and the model take."""
        tokens = []
        for start in range(0, len(texts), CHUNK):
            prompted = [self.recipe.prompt + text for text in texts[start : start + CHUNK]]
            rows = self.tokenizer(prompted, truncation=True, max_length=self.recipe.max_tokens)["input_ids"]
            tokens += [torch.tensor(row or [self.tokenizer.pad_token_id or 0], dtype=torch.int32) for row in rows]
        return tokens

    def padded(self, tokens: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and attention mask, both (n, longest), of tokenised texts."""
        ids = nn.utils.rnn.pad_sequence(list(tokens), batch_first=True, padding_value=self.tokenizer.pad_token_id or 0)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in tokens], batch_first=True)
        return ids.long(), mask.long()

    def sample(self, tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Vectors of some tokenised texts."""
        starts = range(0, min(len(tokens), SAMPLE), BATCH)
        return _encoded(self.module, (self.padded(tokens[start : start + BATCH]) for start in starts))

    def save(self, folder: Path) -> None:
        """Write a folder that a text encoder is loaded from; the recipe comes last, as it marks it as complete."""
        self.module.model.save_pretrained(folder)  # type: ignore[operator]
        self.tokenizer.save_pretrained(folder)
        self.recipe.save(folder)


def load_text_base(base: str, settings: FinetuneSettings) -> TextBase:
    """Load a text encoder to train: `rubert`, or the name or folder of one of transformers."""
    with explained(base):
        from transformers import AutoTokenizer

        quiet_transformers()
        folder = model_folder(RUBERT if base == "rubert" else base)
        own = Recipe.load(folder) if (folder / RECIPE).is_file() else Recipe("pooler" if base == "rubert" else "mean")
        pooling = settings.pooling or own.pooling
        module = load_pooled(folder, pooling)
        if pooling != "pooler" and getattr(module.model, "pooler", None) is not None:
            # Unused, it would be saved untrained, beside layers that it no longer fits.
            module.model.pooler = None  # type: ignore[assignment]
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        limits = (settings.max_tokens or own.max_tokens, tokenizer.model_max_length, max_positions(module.model.config))
        recipe = Recipe(pooling, int(min(limits)), own.prompt if settings.prompt is None else settings.prompt)
    freeze(module.model, settings.freeze_layers)
    return TextBase(module, tokenizer, recipe, fingerprint(folder))


def freeze(model: Any, layers: int | None) -> None:  # noqa: ANN401 - transformers' own
    """Keep the embeddings and the first layers of a transformer as they are; None: train everything."""
    if layers is None:
        return
    name = Path(str(model.config.name_or_path)).name
    count = getattr(model.config, "num_hidden_layers", None)
    stacks = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    embeddings = getattr(model, "embeddings", None)
    if not stacks or embeddings is None:
        raise EncoderError(f"the layers of {name} cannot be told apart; fine-tune it without freezing any")
    if not 0 <= layers <= len(stacks[0]):
        raise EncoderError(f"{layers} layers cannot be frozen, {name} has {len(stacks[0])}; freeze fewer")
    for part in (embeddings, *stacks[0][:layers]):
        part.requires_grad_(False)


@contextmanager
def explained(base: str) -> Iterator[None]:
    """Turn whatever goes wrong while a base is loaded into one EncoderError."""
    try:
        yield
    except Exception as error:  # The loaders raise whatever a foreign folder makes them stumble over.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if isinstance(error, ImportError):
            reason = f"the package {error.name} is not installed"
        elif not isinstance(error, EncoderError):
            reason = f"it cannot be loaded ({reason})"
        raise EncoderError(f"{base}: {reason}; give the name or the folder of a transformers encoder") from None


@dataclass(frozen=True)
class PictureBase:
    """A picture encoder with its processor; `identity` changes with the model's files."""

    module: JointVision
    processor: Any
    identity: str
    failures: dict[Path | bytes, str] = field(default_factory=dict)  # pictures that could not be used so far, and why

    def pixels(self, paths: Sequence[Path | bytes | None]) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Pixels of the pictures that can be used, None when there are none, and which of the paths they are."""
        with ThreadPoolExecutor(THREADS) as threads:
            opened = list(threads.map(self._open, paths))
        pictures = [picture for picture in opened if picture is not None]
        usable = torch.tensor([picture is not None for picture in opened])
        return self.processor(images=pictures, return_tensors="pt")["pixel_values"] if pictures else None, usable

    def sample(self, paths: Sequence[Path | bytes | None]) -> torch.Tensor:
        """Vectors of some pictures, those that can be used."""
        some = [path for path in paths if path][:SAMPLE]
        parts = (self.pixels(some[start : start + BATCH])[0] for start in range(0, len(some), BATCH))
        batches = [(part,) for part in parts if part is not None]
        if not batches:
            raise EncoderError("none of the products has a picture that can be used; give the folder of their pictures")
        return _encoded(self.module, batches)

    def save(self, folder: Path) -> None:
        """Write a folder that a picture encoder is loaded from."""
        self.module.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def _open(self, path: Path | bytes | None) -> Image.Image | None:
        if path is None or path in self.failures:
            return None
        try:
            return open_picture(path, MAX_SIDE)
        except PictureError as error:
            self.failures[path] = str(error)
            return None


def load_picture_base(base: str, settings: FinetuneSettings) -> PictureBase:
    """Load a picture encoder to train: `vit`, or the name or folder of a vision model of transformers."""
    with explained(base):
        folder = model_folder(VIT if base == "vit" else base)
        vision, processor = load_joint_vision(folder)
        if vision.has_token and getattr(vision.model, "pooler", None) is not None:
            vision.model.pooler = None  # as above
    freeze(vision.model, settings.freeze_layers)
    return PictureBase(vision, processor, fingerprint(folder))
