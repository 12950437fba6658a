"""Encodes texts with a sentence-transformers model, which says itself how it pools, scales and prompts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rubrika.encode.batching import INT8_TOKENS, encode_batches
from rubrika.encode.encoder import FloatArray
from rubrika.encode.hub import model_folder, quiet_transformers
from rubrika.encode.pretrained import fingerprint, identity_of, unit_vectors
from rubrika.encode.transformer import Backend

MODULES = "modules.json"
BATCH_TEXTS = 32
# Longer texts are cut, and sooner when the model says so.
MAX_TOKENS = 300


class SentenceEncoder:
    """A sentence-transformers model as a `PretrainedEncoder`."""

    def __init__(
        self,
        model: str,
        *,
        prompt: str | None = None,
        backend: Backend = "torch",
        cache: Path | None = None,
    ) -> None:
        """Load the model.

        Args:
            model: a name on the hub, or a folder.
            prompt: precedes every text; None: the model's own for queries, as products are compared with their like.
            backend: `torch`, or `onnx-int8` for a CPU.
            cache: where exported models are kept; `onnx-int8` needs it.

        Raises:
            EncoderError: it cannot be found, or cannot be used so.
        """
        from sentence_transformers import SentenceTransformer

        from rubrika.encode.device import best_device, placed

        quiet_transformers()
        folder = model_folder(model)
        self._device = best_device()
        self._model: Any = SentenceTransformer(
            str(folder),
            device=str(self._device),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": "float32"},
        ).eval()
        self._model.max_seq_length = min(self._model.max_seq_length or MAX_TOKENS, MAX_TOKENS)
        self._prompt = _own_prompt(self._model) if prompt is None else prompt
        self.identity = identity_of("sentence", fingerprint(folder), backend, MAX_TOKENS, self._prompt)
        self._run = None
        if backend == "onnx-int8":
            from rubrika.encode.quantised import SentenceGraph, run_with_onnx

            self._run = run_with_onnx(self.identity, cache, lambda: SentenceGraph(self._model))
        else:
            placed(self._model, self._device)
        self.size: int = self._vectors([""]).shape[1]

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts into float32 (n, size), every row of length 1."""
        return unit_vectors(self._vectors(texts)) if len(texts) else np.empty((0, self.size), np.float32)

    def _vectors(self, texts: Sequence[str]) -> FloatArray:
        if self._run is not None:
            pad = self._model.tokenizer.pad_token_id or 0
            return encode_batches(texts, self._tokenise, self._run, pad, INT8_TOKENS)
        from rubrika.encode.device import inference

        with inference(self._device):
            vectors = self._model.encode(
                list(texts), prompt=self._prompt, batch_size=BATCH_TEXTS, show_progress_bar=False, convert_to_numpy=True
            )
        return np.asarray(vectors, np.float32)

    def _tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        features = self._model.preprocess([self._prompt + text for text in texts])
        pairs = zip(features["input_ids"], features["attention_mask"], strict=True)
        return [ids[mask.bool()].tolist() for ids, mask in pairs]


def _own_prompt(model: Any) -> str:  # noqa: ANN401 - sentence-transformers is imported where used
    prompts: dict[str, str] = model.prompts
    return prompts.get("query") or prompts.get(model.default_prompt_name or "") or ""
