"""The learned encoder as a module of sentence-transformers, which opens the folders that `rubrika export` writes.

Imports torch and sentence-transformers: import it where used.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule

from rubrika.encode.learned import LearnedEncoder
from rubrika.errors import EncoderError

# What says where the files of a model are.
_PLACE = ("token", "cache_folder", "revision", "local_files_only")


class LearnedText(InputModule):  # type: ignore[misc]
    """A learned encoder, which is run and not trained: the vectors are those of the index that it comes from."""

    def __init__(self, encoder: LearnedEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def preprocess(self, inputs: Sequence[str], prompt: str | None = None, **_: object) -> dict[str, torch.Tensor]:
        """Vectors of n texts, (n, size): all is done here, by numpy; the caller moves them to the model's device."""
        texts = [f"{prompt or ''}{text}" for text in inputs]
        return {"sentence_embedding": torch.from_numpy(self.encoder.encode(texts))}

    def forward(self, features: dict[str, torch.Tensor], **_: object) -> dict[str, torch.Tensor]:
        """What `preprocess` gave."""
        return features

    def get_embedding_dimension(self) -> int:
        """The width of a vector."""
        return self.encoder.size

    def save(self, output_path: str, *_: object, **__: object) -> None:
        """Write config.json and model.safetensors, as in an index."""
        self.encoder.save(Path(output_path))

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> "LearnedText":  # noqa: ANN401
        """Read a folder, or a model of a hub by its name; EncoderError when its files are missing or damaged."""
        at = {name: options[name] for name in _PLACE if name in options}
        folder = cls.load_dir_path(model_name_or_path, subfolder, **at)
        if folder is None:
            raise EncoderError(f"{model_name_or_path}: no model here; name a folder that `rubrika export` wrote")
        return cls(LearnedEncoder.load(Path(folder)))


def sentence_transformer(folder: str | Path) -> SentenceTransformer:
    """The model of a folder that `rubrika export` wrote; no code that the folder names is run."""
    return SentenceTransformer(modules=[LearnedText.load(str(folder))])
