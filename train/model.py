"""The models that are fine-tuned: a text or picture encoder with a head, alone or together."""

from collections.abc import Iterator, Sequence
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
from rubrika.encode.modules import JointVision, Pooled, inference_mode, load_joint_vision, load_pooled
from rubrika.encode.registry import RUBERT, VIT
from rubrika.encode.text import RECIPE, Recipe
from rubrika.errors import EncoderError
from rubrika.products.images import PictureError, open_picture
from rubrika.train.settings import FinetuneSettings


class StandardisedLinear(nn.Module):
    """Vectors (n, width) to (n, size)."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, sample: torch.Tensor, size: int) -> None:
        """Measure how vectors lie, once.

        Args:
            sample: vectors (m, width) of the untrained encoder.
            size: how many numbers come out.
        """
        super().__init__()
        self.register_buffer("mean", sample.mean(0))
        self.register_buffer("spread", sample.std(0, correction=0).clamp(min=1e-6))
        self.linear = nn.Linear(sample.shape[1], size)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """What comes out."""
        out: torch.Tensor = self.linear((vectors.float() - self.mean) / self.spread).float()
        return out


# Texts tokenised at once: what comes out as lists of numbers takes ten times the memory of what is kept.
CHUNK = 4_096
BATCH = 32


@dataclass(frozen=True)
class TextBase:
    """A text encoder with weights, words and recipe."""

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
            tokens += [torch.tensor(row or [self._pad], dtype=torch.int32) for row in rows]
        return tokens

    def padded(self, tokens: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and attention mask, both (n, longest), of texts that were tokenised."""
        ids = nn.utils.rnn.pad_sequence(list(tokens), batch_first=True, padding_value=self._pad)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in tokens], batch_first=True)
        return ids.long(), mask.long()

    def vectors(self, tokens: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
        """Vectors (n, size) of texts that were tokenised, as they are now."""
        self.module.to(device).eval()
        parts = []
        for start in range(0, len(tokens), BATCH):
            with inference_mode(device):
                ids, mask = self.padded(tokens[start : start + BATCH])
                parts.append(self.module(ids.to(device), mask.to(device)).float().cpu())
        return torch.cat(parts).clone()

    def save(self, folder: Path) -> None:
        """Write a folder that `--text-encoder` takes; its recipe comes last, as it marks the folder as complete."""
        self.module.model.save_pretrained(folder)  # type: ignore[operator]
        self.tokenizer.save_pretrained(folder)
        self.recipe.save(folder)

    @property
    def _pad(self) -> int:
        return self.tokenizer.pad_token_id or 0


def load_text_base(base: str, settings: FinetuneSettings) -> TextBase:
    """Load a text encoder to train.

    Args:
        base: `rubert`, or the name or folder of a transformers encoder.
        settings: what of its recipe to change, and which layers to freeze.

    Raises:
        EncoderError: it cannot be found, or cannot be used so.
    """
    from transformers import AutoTokenizer

    quiet_transformers()
    with explained(base):
        folder = model_folder(RUBERT if base == "rubert" else base)
        recipe = _recipe(base, folder, settings)
        module = load_pooled(folder, recipe.pooling)
        if recipe.pooling != "pooler" and getattr(module.model, "pooler", None) is not None:
            # It would be saved as it is, beside layers that it no longer fits.
            module.model.pooler = None  # type: ignore[assignment]
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        limit = min(recipe.max_tokens, tokenizer.model_max_length, max_positions(module.model.config))
        recipe = Recipe(recipe.pooling, int(limit), recipe.prompt)
    freeze(module.model, settings.freeze_layers)
    return TextBase(module, tokenizer, recipe, fingerprint(folder))


def freeze(model: nn.Module, layers: int | None) -> None:
    """Keep the embeddings and the first layers of a transformer as they are; None: keep nothing.

    Raises:
        EncoderError: it has fewer layers, or they cannot be found.
    """
    if layers is None:
        return
    name = Path(str(model.config.name_or_path)).name  # type: ignore[union-attr]
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
    """Turn whatever goes wrong while a base is loaded into one sentence.

    Raises:
        EncoderError: which base, and why.
    """
    instead = "give the name or the folder of a transformers encoder"
    try:
        yield
    except EncoderError as error:
        raise EncoderError(f"{base}: {error}; {instead}") from None
    except ImportError as error:
        raise EncoderError(f"{base}: the package {error.name} is not installed; {instead}") from None
    except Exception as error:  # The loaders of others raise whatever they stumble over in a stranger's folder.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise EncoderError(f"{base}: it cannot be loaded ({reason}); {instead}") from None


def _recipe(base: str, folder: Path, settings: FinetuneSettings) -> Recipe:
    usual = Recipe("pooler") if base == "rubert" else Recipe()
    own = Recipe.load(folder) if (folder / RECIPE).is_file() else usual
    return Recipe(
        settings.pooling or own.pooling,
        settings.max_tokens or own.max_tokens,
        own.prompt if settings.prompt is None else settings.prompt,
    )


PICTURE_BATCH = 32


@dataclass(frozen=True)
class PictureBase:
    """A picture encoder with weights and what prepares pictures for it.

    Args:
        module: the model and its pooling.
        processor: pictures to pixels.
        identity: changes with the model.
        failures: pictures that could not be used so far, and why.
    """

    module: JointVision
    processor: Any
    identity: str
    failures: dict[Path, str] = field(default_factory=dict)

    def pixels(self, paths: Sequence[Path | None]) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Pixels of the pictures that can be used, None when there are none, and which of the paths they are."""
        with ThreadPoolExecutor(THREADS) as threads:
            opened = list(threads.map(self._open, paths))
        pictures = [picture for picture in opened if picture is not None]
        seen = torch.tensor([picture is not None for picture in opened])
        if not pictures:
            return None, seen
        pixels: torch.Tensor = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        return pixels, seen

    def vectors(self, paths: Sequence[Path | None], device: torch.device) -> torch.Tensor:
        """Vectors (m, size) of the pictures that can be used, as they are now.

        Raises:
            EncoderError: there is none.
        """
        self.module.to(device).eval()
        parts = []
        for start in range(0, len(paths), PICTURE_BATCH):
            pixels, _ = self.pixels(paths[start : start + PICTURE_BATCH])
            if pixels is not None:
                with inference_mode(device):
                    parts.append(self.module(pixels.to(device)).float().cpu())
        if not parts:
            raise EncoderError("none of the products has a picture that can be used; give the folder of their pictures")
        return torch.cat(parts).clone()

    def save(self, folder: Path) -> None:
        """Write a folder that `--image-encoder` takes."""
        self.module.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def _open(self, path: Path | None) -> Image.Image | None:
        if path is None or path in self.failures:
            return None
        try:
            return open_picture(path, MAX_SIDE)
        except PictureError as error:
            self.failures[path] = str(error)
            return None


def load_picture_base(base: str, settings: FinetuneSettings) -> PictureBase:
    """Load a picture encoder to train.

    Args:
        base: `vit`, or the name or folder of a transformers vision model.
        settings: for the layers to freeze.

    Raises:
        EncoderError: it cannot be found, or cannot be used so.
    """
    with explained(base):
        folder = model_folder(VIT if base == "vit" else base)
        sight, processor = load_joint_vision(folder)
        if sight.has_token and getattr(sight.model, "pooler", None) is not None:
            # It would be saved as it is, beside layers that it no longer fits.
            sight.model.pooler = None
    freeze(sight.model, settings.freeze_layers)
    return PictureBase(sight, processor, fingerprint(folder))
