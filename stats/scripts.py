"""Which letters texts are written in: a hint at their language that needs no model."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SCRIPTS = ("cyrillic", "latin", "other", "mixed", "none")
# A text is of one script when so much of its letters is.
MOSTLY = 0.9

_CYRILLIC, _LATIN, _OTHER, _MIXED, _NONE = range(5)
_LAST = 0xFFFF


def scripts_of(texts: Sequence[str]) -> NDArray[np.uint8]:
    """The script of each text, a place in SCRIPTS, uint8 (n,); `none` is a text without letters."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), np.uint32)
    kinds = _letters()[np.minimum(codes, _LAST)]
    owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    counts = np.bincount(owners * len(SCRIPTS) + kinds, minlength=len(texts) * len(SCRIPTS))
    letters = counts.reshape(len(texts), len(SCRIPTS))[:, :_MIXED]
    total = letters.sum(axis=1)
    found = np.where(letters.max(axis=1) >= MOSTLY * total, letters.argmax(axis=1), _MIXED)
    return np.where(total == 0, _NONE, found).astype(np.uint8)


@lru_cache(maxsize=1)
def _letters() -> NDArray[np.uint8]:
    """The script of each character of the basic plane, by its name in Unicode."""
    names = {"CYRILLIC": _CYRILLIC, "LATIN": _LATIN}
    return np.array(
        [
            names.get(unicodedata.name(chr(code), "").partition(" ")[0], _OTHER) if chr(code).isalpha() else _NONE
            for code in range(_LAST + 1)
        ],
        np.uint8,
    )
