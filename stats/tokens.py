"""Counts the tokens of texts as an encoder sees them, without loading its weights."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from rubrika.encode.features import WORD_WEIGHT, Features
from rubrika.encode.specs import RUBERT, explained
from rubrika.errors import EncoderError
from rubrika.stats.lengths import Numbers

LEARNED = "learned"
LIMIT = 300


class Tokens(Protocol):
    """Counts the tokens of an `encoder`; `unit` is what they are, `limit` to how many of them a text is cut."""

    encoder: str
    unit: str
    limit: int

    def count(self, texts: Sequence[str], features: Features) -> Numbers:
        """The tokens of each text, uncut, int64 (n,); `features` are those of the texts."""


class Words:
    """The words and numbers of the learned encoder, of the characters that it reads."""

    encoder, unit = LEARNED, "words"
    limit = LIMIT

    def count(self, texts: Sequence[str], features: Features) -> Numbers:
        """As in Tokens."""
        before = np.concatenate([[0], np.cumsum(features.weights == WORD_WEIGHT)])
        counts: Numbers = np.diff(before[features.offsets])
        return counts


class Pieces:
    """What a transformer's own tokenizer makes of texts, with the marks that it adds."""

    def __init__(self, spec: str) -> None:
        """Load a tokenizer.

        Args:
            spec: `rubert`, or the name or folder of a sentence-transformers or transformers model.

        Raises:
            EncoderError: it has none, or it cannot be loaded.
        """
        from rubrika.encode.hub import model_folder, quiet_transformers
        from rubrika.encode.recipe import RECIPE, Recipe

        folder = model_folder(RUBERT if spec == "rubert" else spec)
        from transformers import AutoTokenizer

        quiet_transformers()
        recipe = Recipe.load(folder) if (folder / RECIPE).is_file() else Recipe(max_tokens=LIMIT)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self._prompt = recipe.prompt
        self.encoder, self.unit = spec, "tokens"
        self.limit = min(recipe.max_tokens, self._tokenizer.model_max_length)

    def count(self, texts: Sequence[str], features: Features) -> Numbers:
        """As in Tokens."""
        ids = self._tokenizer([self._prompt + text for text in texts], truncation=False)["input_ids"]
        return np.array([len(each) for each in ids], np.int64)


def tokens_of(spec: str | None) -> Tokens:
    """What counts the tokens of a text encoder, named as for `--text-encoder`.

    Raises:
        EncoderError: its tokens cannot be counted, why, and what works.
    """
    if spec is None or spec == LEARNED:
        return Words()
    instead = "leave --text-encoder out to count words, or give a transformer's name or folder"
    if spec == "use":
        raise EncoderError(f"use: it has no tokenizer of its own; {instead}")
    with explained(spec, instead, "its tokenizer"):
        return Pieces(spec)
