"""Encodes texts with any transformers encoder, RuBERT first of all, from a model hub or a folder."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from rubrika.encode.batching import CPU_TOKENS, GPU_TOKENS, INT8_TOKENS, Run, encode_batches
from rubrika.encode.encoder import FloatArray
from rubrika.encode.hub import model_folder, quiet_transformers
from rubrika.encode.pretrained import fingerprint, identity_of, unit_vectors
from rubrika.encode.recipe import Recipe

Backend = Literal["torch", "onnx-int8"]


@dataclass(frozen=True)
class TransformerSettings:
    """Which model, and how to run it.

    Args:
        model: a name on the hub, or a folder.
        recipe: how its vectors are made.
        backend: `torch`, or `onnx-int8` for a CPU.
        batch_tokens: tokens a batch, padding included; None: what suits the CPU or GPU.
    """

    model: str
    recipe: Recipe = field(default_factory=Recipe)
    backend: Backend = "torch"
    batch_tokens: int | None = None


class TransformerEncoder:
    """A transformers encoder as a `PretrainedEncoder`."""

    def __init__(self, settings: TransformerSettings, cache: Path | None = None) -> None:
        """Load the model.

        Args:
            settings: which, and how.
            cache: where exported models are kept; `onnx-int8` needs it.

        Raises:
            EncoderError: it cannot be found, or cannot be used so.
        """
        folder = model_folder(settings.model)
        self.identity = identity_of("transformer", fingerprint(folder), settings.backend, *astuple(settings.recipe))
        self._settings = settings
        self._load_tokenizer(folder)
        self._budget = settings.batch_tokens or (CPU_TOKENS if settings.backend == "torch" else INT8_TOKENS)
        self._run = self._load_model(folder, cache)
        self.size: int = self._vectors([""]).shape[1]

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts into float32 (n, size), every row of length 1."""
        return unit_vectors(self._vectors(texts)) if len(texts) else np.empty((0, self.size), np.float32)

    def _vectors(self, texts: Sequence[str]) -> FloatArray:
        return encode_batches(texts, self._tokenise, self._run, self._pad, self._budget)

    def _tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        prompted = [self._settings.recipe.prompt + text for text in texts]
        ids: list[list[int]] = self._tokenizer(prompted, truncation=True, max_length=self._max_tokens)["input_ids"]
        return ids

    def _load_tokenizer(self, folder: Path) -> None:
        from transformers import AutoConfig, AutoTokenizer

        quiet_transformers()
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self._pad: int = self._tokenizer.pad_token_id or 0
        limits = [self._settings.recipe.max_tokens, self._tokenizer.model_max_length]
        if positions := getattr(config, "max_position_embeddings", 0):
            # RoBERTa and its kin number positions from behind the padding token's.
            limits.append(positions - (self._pad + 1 if "roberta" in config.model_type else 0))
        self._max_tokens = min(limits)

    def _load_model(self, folder: Path, cache: Path | None) -> Run:
        from rubrika.encode.device import best_device
        from rubrika.encode.pooling import load_pooled, run_with_torch

        load = partial(load_pooled, folder, self._settings.recipe.pooling)
        if self._settings.backend == "torch":
            device = best_device()
            if device.type != "cpu":
                self._budget = self._settings.batch_tokens or GPU_TOKENS
            return run_with_torch(load(), device)
        from rubrika.encode.quantised import run_with_onnx

        return run_with_onnx(self.identity, cache, load)
