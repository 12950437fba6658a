"""What callers may write, and what it comes to: files or a DataFrame, pictures, a query, a choice of encoders."""

import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from getpass import getuser
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from rubrika.encode.text import Backend, Pooling
from rubrika.errors import InputError, ParameterError
from rubrika.index.folder import Choice, completed
from rubrika.index.location import Location
from rubrika.products.images import PictureFolder
from rubrika.products.product import Products
from rubrika.products.reader import Frame, Reader, read_ids
from rubrika.products.row import MAX_ID, MAX_PERSON, MAX_SIGNED, shown_id
from rubrika.products.text import one_line, shortened
from rubrika.store.connection import Connection

if TYPE_CHECKING:
    import pandas as pd

    Files = str | Path | Sequence[str | Path]
    Source = Files | pd.DataFrame

Place = str | Path
Vote = Literal["joint", "text", "image", "late"]


def location_of(folder: Place, url: str | None, collection: str | None, api_key: str | None, cache: Place) -> Location:
    """Where an index is; the key comes from the environment unless it is given."""
    if collection and not url:
        raise ParameterError(f"collection {collection} is on a server: say which with `url` or QDRANT_URL")
    key = api_key or os.environ.get("QDRANT_API_KEY") or None
    server = Connection(url, collection or "products", key, assumed=not collection) if url else None
    return Location(Path(folder), server, Path(cache).expanduser(), key)


def products_of(source: "Source", labelled: bool, group_by: str | None = None) -> Products:
    """Products of a parquet file, of several, or of a DataFrame; `group_by` is the column of their groups."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return Frame(source, labelled, group_by)
    return Reader(paths_of(source), labelled, group_by=group_by)


def paths_of(source: object) -> list[Path]:
    """One path or several."""
    files = [source] if isinstance(source, str | os.PathLike) else source
    if not isinstance(files, Sequence) or not files or not all(isinstance(file, str | os.PathLike) for file in files):
        what = "products are the path of a parquet file, a list of paths, or a DataFrame"
        raise InputError(f"{what}, not {type(source).__name__}")
    return [Path(file) for file in files]


def pictures_of(images: str | Path | None) -> PictureFolder | None:
    """The pictures of a folder, if one is given."""
    return PictureFolder.scan(Path(images)) if images else None


def choice_of(
    text: str | None,
    image: str | None,
    backend: Backend,
    pooling: Pooling | None,
    vote: Vote | None,
    pictures: bool,
    folder: Path | None,
    note: Callable[[str], None],
) -> Choice:
    """The encoders and the vote of a new index; with pictures, the best picture encoder that is installed."""
    for name, value, kind in (("vote", vote, Vote), ("backend", backend, Backend), ("pooling", pooling, Pooling)):
        # Only the backend has no «as the model was made».
        if value not in get_args(kind) and (value is not None or kind is Backend):
            raise ParameterError(f"`{name}` is one of {', '.join(get_args(kind))}, not {value}")
    if not pictures and (image or vote in ("image", "late")):
        option = "`image_encoder`" if image else f"`vote` {vote}"
        raise ParameterError(f"{option} needs `images`, the folder of the pictures")
    return completed(Choice(text, image, backend, pooling, vote), folder, pictures, note)


def person_of(by: object) -> str:
    """Who sets labels: the name given, or else that of the user as the system knows it."""
    if by is None:
        try:
            by = getuser()
        except (OSError, KeyError, ImportError):  # As in a container whose user has no name.
            by = "unknown"
    name = shortened(one_line(by), MAX_PERSON) if isinstance(by, str) else ""
    if not name:
        raise ParameterError("`by` is the name of a person, and not empty")
    return name


def query_of(product_id: object, title: object, image: object) -> int | str | Path:
    """The one thing whose neighbours are wanted."""
    if sum(each is not None for each in (product_id, title, image)) != 1:
        raise ParameterError("give one of `product_id`, `title` and `image`")
    if image is not None:
        if not isinstance(image, str | os.PathLike):
            raise ParameterError(f"`image` is the path of a picture, not {type(image).__name__}")
        return Path(image)
    if title is not None:
        if not isinstance(title, str):
            raise ParameterError(f"`title` is a text, not {type(title).__name__}")
        return title
    return product_id_of(product_id)


def product_id_of(value: object) -> int:
    """A product id."""
    return id_of("product_id", value, MAX_ID)


def id_of(name: str, value: object, largest: int = MAX_SIGNED) -> int:
    """An id, by default of a category."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not 0 <= int(value) <= largest:
        raise ParameterError(f"`{name}` is a whole number from 0 to {largest}, not {shown_id(value)}")
    return int(value)


def ids_of(value: object) -> list[int]:
    """A product id, or those in a file."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return read_ids(Path(value)) if isinstance(value, str | os.PathLike) else [product_id_of(value)]


def count_of(name: str, value: object) -> int | None:
    """A number of hits, where one is given."""
    if value is None:
        return None
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ParameterError(f"`{name}` is a whole number, not {value}")
    if value < 1:
        raise ParameterError(f"`{name}` is at least 1, not {value}")
    return int(value)


def bounds_of(texts: Sequence[str]) -> dict[str, float]:
    """The least that figures of an evaluation are to be, each as `weighted_f1=0.9`."""
    from rubrika.eval.evaluate import NUMBERS

    bounds = dict[str, float]()
    for text in texts:
        name, _, number = text.partition("=")
        if name not in NUMBERS:
            raise ParameterError(f"`fail_below` knows no figure {shown_id(name)}; it is one of {', '.join(NUMBERS)}")
        with suppress(ValueError):
            bounds[name] = float(number)
        if not math.isfinite(bounds.get(name, math.nan)):
            raise ParameterError(f"`fail_below` is as {name}=0.9, not {shown_id(text)}")
    return bounds
