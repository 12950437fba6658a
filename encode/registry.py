"""The table of encoders: the name in the manifest, and how its folder is loaded."""

from collections.abc import Callable, Mapping
from pathlib import Path

from rubrika.encode.encoder import Encoder
from rubrika.encode.learned import LearnedEncoder
from rubrika.errors import EncoderError

LEARNED = "learned"

_LOADERS: Mapping[str, Callable[[Path], Encoder]] = {LEARNED: LearnedEncoder.load}


def load_encoder(spec: str, folder: Path) -> Encoder:
    """Load the encoder that an index was made with.

    Raises:
        EncoderError: nothing by that name, or its files are damaged.
    """
    if spec not in _LOADERS:
        raise EncoderError(f"{folder}: no encoder is called {spec}; known: {', '.join(_LOADERS)}")
    return _LOADERS[spec](folder)
