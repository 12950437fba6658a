"""Loads the pretrained model that fine-tuning starts from, keeps some of its layers as they are, and saves it again.

Imports torch: import it where used.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rubrika.encode.device import inference
from rubrika.encode.hub import model_folder, quiet_transformers
from rubrika.encode.pooling import Pooled, load_pooled
from rubrika.encode.pretrained import fingerprint
from rubrika.encode.recipe import RECIPE, Recipe
from rubrika.encode.specs import RUBERT
from rubrika.errors import EncoderError
from rubrika.train.settings import FinetuneSettings

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
            with inference(device):
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
        recipe = Recipe(recipe.pooling, _limit(recipe, tokenizer, module.model.config), recipe.prompt)
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


def _limit(recipe: Recipe, tokenizer: Any, config: Any) -> int:  # noqa: ANN401 - transformers' own
    limits = [recipe.max_tokens, tokenizer.model_max_length]
    if positions := getattr(config, "max_position_embeddings", 0):
        # RoBERTa and its kin number positions from behind the padding token's.
        limits.append(positions - (tokenizer.pad_token_id + 1 if "roberta" in config.model_type else 0))
    return int(min(limits))
