"""How many products have a picture, and how many of those can be used."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rubrika.products.pictures import PictureError, PictureFolder, open_picture
from rubrika.progress import Advance

# Enough to see whether a picture is whole: a JPEG is decoded at an eighth, its end is read all the same.
SIDE = 32


@dataclass(frozen=True, slots=True)
class Pictures:
    """Products by their picture; `broken` says how many cannot be used, by reason."""

    usable: int
    missing: int
    broken: dict[str, int]


def look_at(folder: PictureFolder, ids: Iterable[int], advance: Advance = lambda steps: None) -> Pictures:
    """Open the picture of every product."""
    counts: Counter[str] = Counter()
    usable = missing = 0
    for id in ids:
        path = folder.find(id)
        if path is None:
            missing += 1
        else:
            try:
                open_picture(path, SIDE)
                usable += 1
            except PictureError as error:
                counts[str(error)] += 1
        advance(1)
    return Pictures(usable, missing, dict(sorted(counts.items())))
